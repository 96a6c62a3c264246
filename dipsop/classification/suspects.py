"""Which labels of a training are suspect, and what there is to say of the list."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dipsop.classification import held_out, report
from dipsop.classification.dataset import Dataset
from dipsop.classification.posterior import posterior
from dipsop.classification.trainer import Step, Trainer


@dataclass(frozen=True)
class Found:
    """The list, and what there is to say of it."""

    listed: list[report.Suspect]
    figures: dict[str, Any]


def find(trainer: Trainer, data: Dataset, stop: Callable[[], bool]) -> Generator[Step, None, Found | None]:
    """Rank every label: by models that have not seen it where that is cheap, else by the one that was trained on it.

    Parameters
    ----------
    trainer : Trainer
        At its end.
    data : Dataset
        What it was trained on.
    stop : callable
        Asked before every step.

    Yields
    ------
    Step
        Of the models that have not seen a label.

    Returns
    -------
    Found or None
        None where `stop()` ended it.
    """
    looks_wrong: float | None = None
    error = None
    if trainer.config.network == "pretrained":
        probabilities = yield from held_out.steps(data, trainer.config, trainer.device, stop)
        if probabilities is None:
            return None
        # What a person has decided says nothing about the others: it was no random choice.
        open_ = np.ones(len(data.given), bool) if data.trusted is None else ~data.trusted
        true = np.eye(len(data.classes))[data.given]
        if open_.any():
            known = posterior(probabilities[open_], data.given[open_])
            true[open_] = known.true
        listed = report.suspects_by_posterior(true, probabilities, data.given, data.classes, data.names)
        scores = report.doubt(true, data.given)
        if data.trusted is None:  # the plain ones have been put right: what is left tells too little of their number
            looks_wrong, error = known.wrong, known.error
    else:
        probabilities = trainer.network.probabilities(torch.from_numpy(data.images)).cpu().numpy()
        listed = report.suspects(probabilities, data.given, data.classes, data.names, data.trusted)
        looks_wrong = sum(suspect.wrong for suspect in listed)
        scores = report.doubt(probabilities, data.given, data.trusted)
    figures = {"labels": len(listed), "looks_wrong": looks_wrong, "looks_wrong_error": error}
    if data.true is not None:
        wrong = data.true != data.given
        figures |= {
            "wrong_labels": float(wrong.mean()),
            "auroc": report.auroc(scores, wrong),
            "average_precision": report.average_precision(scores, wrong),
        }
    return Found(listed, figures)
