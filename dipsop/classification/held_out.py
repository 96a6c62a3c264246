"""Probabilities of each sample by a model that was trained without it: what a label is to be judged by."""

import hashlib
from collections.abc import Callable, Generator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from dipsop.classification.config import TrainConfig
from dipsop.classification.dataset import Dataset, Labels
from dipsop.classification.trainer import Epoch, Step, Trainer

FOLDS = 5


def steps(
    data: Dataset, config: TrainConfig, device: torch.device, stop: Callable[[], bool] | None = None
) -> Generator[Step, None, NDArray[np.float32] | None]:
    """Train as many models as there are folds, each on the other folds.

    Parameters
    ----------
    data : Dataset
    config : TrainConfig
        Of each training; its seed deals the samples to the folds, as `deal` says.
    device : torch.device
    stop : callable or None
        Asked before every step: true ends it.

    Yields
    ------
    Step
        After every step of every model.

    Returns
    -------
    (N, classes), or None where `stop()` ended it
    """
    fold = deal(data, config.seed)
    out = np.zeros((len(data.given), len(data.classes)), np.float32)
    untested = replace(data, test_images=data.test_images[:0], test_labels=data.test_labels[:0])
    for k in range(FOLDS):
        trainer = Trainer(untested.at(np.flatnonzero(fold != k)), config, device)
        for done in trainer.steps(stop):
            if not isinstance(done, Epoch):
                yield done
        if trainer.epochs_done < config.epochs:
            return None
        unseen = torch.from_numpy(data.images[fold == k])
        out[fold == k] = trainer.network.probabilities(unseen).cpu().numpy()
    return out


def deal(data: Dataset, seed: int) -> Labels:
    """Return the fold of each sample, (N,), from 0.

    Samples that are the same to the byte go to one fold: a copy of a wrongly labelled image among those that a model
    is trained on would teach it the wrong label. Each class is dealt round the folds: one of a few images that lay in
    a single fold would be unknown to the model that judges them, and its labels would all look wrong.
    """
    digests = [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in data.images]
    places: dict[bytes, int] = {}
    group = np.array([places.setdefault(digest, k) for k, digest in enumerate(digests)])
    if len(places) == 1:  # nothing would be left to train on
        group = np.arange(len(group))
    # Not the numbers that label noise of the same seed is made of.
    first = np.random.default_rng((seed, FOLDS)).permutation(np.unique(group))
    first = first[np.argsort(data.given[first], kind="stable")]
    dealt = np.zeros(len(group), np.int64)
    dealt[first] = np.arange(len(first)) % FOLDS
    fold: Labels = dealt[group]
    return fold


def probabilities(data: Dataset, config: TrainConfig, device: torch.device) -> NDArray[np.float32]:
    """Return what `steps` comes to."""
    going = steps(data, config, device)
    while True:
        try:
            next(going)
        except StopIteration as end:
            result: NDArray[np.float32] = end.value
            return result
