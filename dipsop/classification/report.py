"""Which labels are suspect: a ranked list, and how good the ranking is where the truth is known."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dipsop.classification.dataset import Labels
from dipsop.classification.posterior import of_given
from dipsop.files import csv_bytes

Scores = NDArray[np.floating]
COLUMNS = ("rank", "sample", "given_label", "suggested_label", "score", "given_probability", "wrong")


@dataclass(frozen=True)
class Suspect:
    """One line of the list."""

    rank: int  # from 1, the most suspect first
    sample: str  # path, or index in the data
    given: str
    suggested: str
    score: float  # how suspect, in [0, 1]: 1 − p of the given label, or the probability that it is wrong
    probability: float  # that the network gives to the given label

    @property
    def wrong(self) -> bool:
        """Whether the label looks wrong: another one is suggested."""
        return self.suggested != self.given


def doubt(probabilities: Scores, given: Labels, trusted: NDArray[np.bool_] | None = None) -> Scores:
    """How suspect each label is, (N,), in [0, 1]: 1 − p of the given class, what the network leaves unexplained of it.

    (u, v) have kept wrong labels from the network, and hold the large residuals; the small ones rank labels, too
    (examples/classification/NOTES.md). What a person has decided is not doubted: 0.

    Parameters
    ----------
    probabilities : (N, C)
        What the network says.
    given : (N,)
    trusted : (N,) or None
        On which labels a person decided.
    """
    scores = 1 - of_given(probabilities, given).astype(np.float64)  # in float32 all below 3e-8 would be the same
    return scores if trusted is None else np.where(trusted, 0, scores)


def auroc(scores: Scores, wrong: NDArray[np.bool_]) -> float:
    """Probability that a wrong label scores above a right one, ties counting half; NaN where either kind is missing.

    From the rank sum (Mann, Whitney 1947).
    """
    positives, negatives = int(wrong.sum()), int((~wrong).sum())
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[wrong].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(scores: Scores, wrong: NDArray[np.bool_]) -> float:
    """Mean over the wrong labels of the precision at their scores; NaN where there are none."""
    if not wrong.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.cumsum(wrong[order])
    # Ties share the precision at their end.
    last = np.append(ordered[1:] != ordered[:-1], True)
    ends = np.flatnonzero(last)
    precision, recall = hits[ends] / (ends + 1), hits[ends] / wrong.sum()
    return float(np.sum(np.diff(recall, prepend=0) * precision))


def suspects(
    probabilities: Scores,
    given: Labels,
    classes: tuple[str, ...],
    names: list[str],
    trusted: NDArray[np.bool_] | None = None,
) -> list[Suspect]:
    """Rank all samples by the doubt about their labels; suggested is the class that is believed most.

    Parameters
    ----------
    probabilities, given, trusted
        As `doubt` takes them.
    classes : C names
    names : N names of the samples
    """
    suggested = probabilities.argmax(1)
    if trusted is not None:
        suggested = np.where(trusted, given, suggested)
    scores = doubt(probabilities, given, trusted)
    order = np.lexsort((np.zeros_like(given) if trusted is None else trusted, -scores))
    return _listed(order, names, classes, given, suggested, scores, of_given(probabilities, given))


def suspects_by_posterior(
    true: Scores, probabilities: Scores, given: Labels, classes: tuple[str, ...], names: list[str]
) -> list[Suspect]:
    """Rank all samples by the probability that their labels are wrong.

    Parameters
    ----------
    true : (N, C)
        Probability of each class to be the true one, given the label, as posterior.posterior has it.
    probabilities : (N, C)
        What networks say that have not seen the label.
    given, classes, names
        As `suspects` takes them.
    """
    scores, believed = doubt(true, given), of_given(probabilities, given)
    return _listed(np.lexsort((believed, -scores)), names, classes, given, true.argmax(1), scores, believed)


def _listed(
    order: Labels,
    names: list[str],
    classes: tuple[str, ...],
    given: Labels,
    suggested: Labels,
    scores: Scores,
    believed: Scores,
) -> list[Suspect]:
    return [
        Suspect(rank, names[k], classes[given[k]], classes[suggested[k]], float(scores[k]), float(believed[k]))
        for rank, k in enumerate(order, 1)
    ]


def as_csv(listed: list[Suspect]) -> bytes:
    """The list as CSV with a heading."""
    lines = (
        (s.rank, s.sample, s.given, s.suggested, f"{s.score:.6g}", f"{s.probability:.6g}", "yes" if s.wrong else "no")
        for s in listed
    )
    return csv_bytes([COLUMNS, *lines])
