"""Accuracy and neural collapse by epoch, with cross-entropy and with SOP, at several shares of wrong labels.

    python examples/label_noise_curves.py CIFAR --out classification      # CIFAR: a folder with CIFAR-10

Cross-entropy learns the right labels first and then the wrong ones, and its test accuracy falls; with (u, v) it does
not. Below, the within-class over the between-class scatter of the features before the last layer, by the given labels
and by the true ones (neural_collapse.py): cross-entropy's collapse by the given labels. Runs that the record of
benchmark_classification.py in --out already has are not made again.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

from benchmark_classification import Record, Setting, of_images, parser_of
from classification_runs import Run, Task

METHODS = {"ce": "cross-entropy", "sop": "SOP"}


def plot(runs: Sequence[Run], fractions: Sequence[float], path: Path) -> None:
    """A column for each fraction: accuracy on the given labels, on the test images, and the scatter of the features.

    Runs of older records come without the last.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(fractions), 8), layout="constrained")
    axes = figure.subplots(3, len(fractions), sharex=True, sharey="row", squeeze=False)
    for fraction, (given, test, collapse) in zip(fractions, axes.T, strict=True):
        for (method, label), color in zip(METHODS.items(), ("C0", "C1"), strict=True):
            (run,) = (run for run in runs if (run.noise, run.method) == (noise(fraction), method))
            numbers = range(1, len(run.test_accuracy) + 1)
            given.plot(numbers, run.given_accuracy, color=color, label=label)
            test.plot(numbers, run.test_accuracy, color=color)
            if run.scatter:
                by_given, by_true = zip(*run.scatter, strict=True)
                collapse.plot(numbers, by_given, color=color, label=f"{label}, by the given labels")
                collapse.plot(numbers, by_true, color=color, linestyle="--", label=f"{label}, by the true labels")
        given.axhline(1 - fraction, color="grey", linewidth=0.8, linestyle=":")
        given.set(title=f"{fraction:.0%} wrong labels", ylim=(0, 1))
        test.set(ylim=(0, 1))
        collapse.set(xlabel="epoch", yscale="log")
        for ax in (given, test, collapse):
            ax.grid(True, alpha=0.3)
    axes[0, 0].set_ylabel("accuracy on the given labels")
    axes[1, 0].set_ylabel("test accuracy")
    axes[2, 0].set_ylabel("within / between scatter")
    axes[0, 0].legend()
    if axes[2, -1].lines:
        axes[2, -1].legend(fontsize=7)
    figure.savefig(path, dpi=110)


def noise(fraction: float) -> str:
    """As the benchmark calls it."""
    return f"symmetric:{fraction:g}" if fraction else "none"


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is not in the record, and draw."""
    parser = parser_of(__doc__)
    parser.add_argument("--fractions", nargs="+", type=float, default=[0.0, 0.2, 0.4])
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args(arguments)
    record = Record(a.out, Setting(a.cifar, a.images, of_images(a.images, a.epochs)))
    record.complete([Task(m, noise(f), a.seed) for f, m in itertools.product(a.fractions, METHODS)], a.jobs)
    plot([run for run in record.runs if run.seed == a.seed], a.fractions, a.out / "label_noise_curves.png")


if __name__ == "__main__":
    main()
