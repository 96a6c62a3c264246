"""Wrong labels: made with a seed, or those that people gave (CIFAR-10N)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dipsop.classification.dataset import Dataset, Labels
from dipsop.errors import DataError
from dipsop.files import reason, shown

# truck → automobile, bird → airplane, deer → horse, cat ↔ dog (Patrini et al., CVPR 2017)
CIFAR10_MAP = {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}
# Names of the five sets of CIFAR-10N (Wei et al., ICLR 2022), and how its file calls them.
HUMAN = {
    "aggregate": "aggre_label",
    "random1": "random_label1",
    "random2": "random_label2",
    "random3": "random_label3",
    "worse": "worse_label",
}


def apply(data: Dataset, noise: str, seed: int, human_labels: Path | None = None) -> Dataset:
    """Return the data with its true labels made wrong.

    Parameters
    ----------
    data : Dataset
    noise : str
        "symmetric:0.4", "symmetric-all:0.4", "asymmetric:0.4" (the fraction in [0, 1]), "human:worse" or another name
        in HUMAN, or "none".
    seed : int
        Fixes which labels become wrong.
    human_labels : Path or None
        The file of CIFAR-10N, where the noise is human.

    Raises
    ------
    ValueError
        There is no such noise.
    DataError
        The true labels are not known; the file of CIFAR-10N is not named or is no such file.
    """
    check(noise)
    if noise == "none":
        return data
    if data.true is None:
        raise DataError(f"--noise {noise} is for data whose labels are right: leave it out for your own.")
    kind, _, detail = noise.partition(":")
    if kind in DRAWN:
        given = DRAWN[kind](data.true, len(data.classes), _fraction(noise, detail), seed)
    elif human_labels is None:
        raise DataError("--noise human needs the labels of CIFAR-10N: name the file with --human-labels.")
    else:
        given = human(human_labels, detail, data.true)
    return replace(data, given=given, noise=noise)


def check(noise: str) -> None:
    """Check that there is such a noise, whatever the data.

    Parameters
    ----------
    noise : str
        As `apply` takes it.

    Raises
    ------
    ValueError
        There is none.
    """
    kind, _, detail = noise.partition(":")
    if kind in DRAWN:
        _fraction(noise, detail)
    elif noise != "none" and not (kind == "human" and detail in HUMAN):
        raise ValueError(f"{noise} is no kind of label noise.")


def _fraction(noise: str, detail: str) -> float:
    try:
        value = float(detail)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ValueError(f"{noise} needs a fraction between 0 and 1, as in symmetric:0.4.")
    return value


def symmetric(true: Labels, classes: int, fraction: float, seed: int) -> Labels:
    """Replace each label with probability `fraction` by another class, each of the others equally likely.

    Parameters
    ----------
    true : int64 (N,), from 0 to classes − 1
    fraction : float in [0, 1]
        Of wrong labels: one that is hit always becomes another, never by chance the same.
    """
    random = np.random.default_rng(seed)
    hit = random.random(true.shape) < fraction
    return np.where(hit, (true + random.integers(1, classes, true.shape)) % classes, true)


def symmetric_all(true: Labels, classes: int, fraction: float, seed: int) -> Labels:
    """Draw a fraction of the labels anew among all classes, as the code of DivideMix, ELR and SOP does.

    Parameters
    ----------
    true : int64 (N,), from 0 to classes − 1
    fraction : float in [0, 1]
        Of labels drawn anew, exact to one label: by chance one of `classes` of them is the right one again, so that of
        ten classes 0.5 makes 45 % of the labels wrong.
    """
    random = np.random.default_rng(seed)
    hit = random.permutation(len(true)) < round(fraction * len(true))
    return np.where(hit, random.integers(0, classes, true.shape), true)


def asymmetric(true: Labels, classes: int, fraction: float, seed: int) -> Labels:
    """Replace labels with probability `fraction` by the class that theirs is mistaken for.

    CIFAR-10: the usual pairs, the other classes stay. Others: the next of each five, the last of them the first, as
    the usual code for CIFAR-100 has it (its fives are of label numbers, which are not the superclasses).
    """
    random = np.random.default_rng(seed)
    hit = random.random(true.shape) < fraction
    mistaken = np.arange(classes)
    if classes == 10:
        mistaken[list(CIFAR10_MAP)] = list(CIFAR10_MAP.values())
    else:
        first = mistaken - mistaken % 5
        mistaken = first + (mistaken - first + 1) % np.minimum(5, classes - first)
    return np.where(hit, mistaken[true], true)


# Noises that are drawn by chance, from a seed.
DRAWN = {"symmetric": symmetric, "symmetric-all": symmetric_all, "asymmetric": asymmetric}


def human(path: Path, which: str, true: Labels) -> Labels:
    """Read one of the five label sets of CIFAR-10N for the 50,000 training images, in their order.

    Raises
    ------
    DataError
        The file is missing, is no CIFAR-10N file, holds anything but arrays, or its clean labels are not `true`.
    """
    reconstruct = np._core.multiarray._reconstruct  # type: ignore[attr-defined]
    # The published file calls it as numpy 1 did.
    admitted = [
        reconstruct,
        (reconstruct, "numpy.core.multiarray._reconstruct"),
        np.ndarray,
        np.dtype,
        np.dtypes.Int64DType,
    ]
    try:
        with torch.serialization.safe_globals(admitted):
            content = torch.load(path, map_location="cpu", weights_only=True)
        labels, clean = (np.asarray(content[key]).astype(np.int64) for key in (HUMAN[which], "clean_label"))
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read ({reason(error)}): name the file of CIFAR-10N.") from None
    except Exception as error:  # a broken file may raise anything
        raise DataError(f"{shown(path)} is no file of CIFAR-10N ({type(error).__name__}): fetch it anew.") from None
    if labels.shape != clean.shape or labels.min() < 0 or labels.max() > 9:
        raise DataError(f"{shown(path)} holds labels outside 0 to 9: fetch CIFAR-10N anew.")
    if clean.shape != true.shape or (clean != true).any():
        raise DataError(f"{shown(path)} labels other images than these, or in another order: use CIFAR-10's own.")
    return labels
