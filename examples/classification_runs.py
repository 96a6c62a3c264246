"""Runs of the classification benchmark: what there is to make, what was made, and their table.

"Last" is the last epoch, which is the result; "best" is the best epoch by the test images, which nobody could have
picked. The ceiling is what cross-entropy reaches in its last epoch on clean labels, with the same images, network and
epochs.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dipsop.classification.label_noise import HUMAN

# As the published table of training times has them (Liu et al., ICML 2022): hours on one V100, CIFAR-10, 50 % symmetric
# noise. The methods between them that it does not have are elr and cleanlab.
PUBLISHED_HOURS = {"ce": 0.9, "co-teaching+": 4.4, "dividemix": 5.4, "elr+": 2.3, "sop": 1.0, "sop+": 2.1}
METHODS = ["ce", "co-teaching+", "dividemix", "elr", "elr+", "sop", "sop+", "cleanlab"]

CLEAN = "none"
HALF = "symmetric-all:0.5"  # as the papers' code draws it: among all ten classes
OTHERS = [
    *(f"symmetric-all:{fraction}" for fraction in (0.2, 0.4, 0.6, 0.8)),
    *(f"symmetric:{fraction}" for fraction in (0.2, 0.4, 0.5, 0.6, 0.8)),  # over the other nine
    "asymmetric:0.4",
    *(f"human:{name}" for name in HUMAN),
]
HEADS = [
    "noise", "method", "last epoch, %", "ceiling, %", "below it", "best epoch, %", "AUROC", "average precision",
    "seconds", "× ce", "published: × (hours)", "seeds",
]  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A run to make."""

    method: str
    noise: str
    seed: int


@dataclass(frozen=True)
class Run(Task):
    """A run made.

    Attributes
    ----------
    given_accuracy, test_accuracy : list of float in [0, 1], one for each epoch
        Empty without a model of all samples; the first also where a method learns from mixed samples or two networks.
    auroc, average_precision : float, or None where no label is wrong
        Of the list.
    seconds : float
    threads : int
        The processor cores it had.
    scatter : list of (float, float), one for each epoch, or None
        Within-class over between-class scatter of the features, by the given and by the true labels
        (neural_collapse.py); None in older records, and of methods that the trainer does not make.
    """

    given_accuracy: list[float]
    test_accuracy: list[float]
    auroc: float | None
    average_precision: float | None
    seconds: float
    threads: int
    scatter: list[tuple[float, float]] | None = None

    @property
    def task(self) -> Task:
        """The run that was to make."""
        return Task(self.method, self.noise, self.seed)


def of_the_papers(seeds: Sequence[int]) -> list[Task]:
    """Return the runs of the papers' table, what matters most first.

    With every seed the ceiling, and the six methods of the published table at 50 %; then, with the first seed, SOP,
    SOP+ and cross-entropy at every other noise.
    """
    matter = [("ce", CLEAN), *((method, HALF) for method in PUBLISHED_HOURS)]
    others = itertools.product(("ce", "sop", "sop+"), OTHERS)
    tasks = [Task(method, noise, seed) for seed in seeds for method, noise in matter]
    return [*tasks, *(Task(method, noise, seeds[0]) for method, noise in others)]


def table(runs: Sequence[Run]) -> str:
    """Mean ± standard deviation over the seeds, and median seconds, as Markdown."""
    lines = [row_of(HEADS), row_of(["---"] * len(HEADS)).replace(" ", "")]
    noises = list(dict.fromkeys(made.noise for made in runs))
    for noise, method in itertools.product(noises, METHODS):
        row = [made for made in runs if (made.noise, made.method) == (noise, method)]
        if row:
            lines.append(row_of([noise, method, *_cells(row, runs)]))
    return "\n".join(lines)


def row_of(cells: Sequence[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def _cells(row: Sequence[Run], runs: Sequence[Run]) -> list[str]:
    """The figures of the runs of one method at one noise, among all runs."""
    last = [100 * made.test_accuracy[-1] for made in row if made.test_accuracy]
    clean = [100 * made.test_accuracy[-1] for made in runs if (made.method, made.noise) == ("ce", CLEAN)]
    ceiling = float(np.mean(clean)) if clean and last else None
    return [
        spread(last, 1),
        "" if ceiling is None else f"{ceiling:.1f}",
        "" if ceiling is None else f"{ceiling - np.mean(last):.1f}",
        spread([100 * max(made.test_accuracy) for made in row if made.test_accuracy], 1),
        spread([made.auroc for made in row if made.auroc is not None], 3),
        spread([made.average_precision for made in row if made.average_precision is not None], 3),
        f"{np.median([made.seconds for made in row]):.0f}",
        _proportion(row, runs),
        _published(row[0].method),
        str(len(row)),
    ]


def _proportion(row: Sequence[Run], runs: Sequence[Run]) -> str:
    """Median seconds, in those of cross-entropy on as many cores, whatever its labels; empty where there is no such."""
    usual = {
        threads: np.median([made.seconds for made in runs if (made.method, made.threads) == ("ce", threads)])
        for threads in {made.threads for made in runs if made.method == "ce"}
    }
    proportions = [made.seconds / usual[made.threads] for made in row if made.threads in usual]
    return f"{np.median(proportions):.1f}" if proportions else ""


def _published(method: str) -> str:
    if method not in PUBLISHED_HOURS:
        return ""
    hours = PUBLISHED_HOURS[method]
    return f"{hours / PUBLISHED_HOURS['ce']:.1f} ({hours})"


def spread(values: Sequence[float], digits: int) -> str:
    """Mean ± standard deviation."""
    if not values:
        return ""
    deviation = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{deviation}"
