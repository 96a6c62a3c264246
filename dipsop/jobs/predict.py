"""What a trained model sees in images."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from dipsop.classification import image_folder, run_folder
from dipsop.classification.classifier import Classifier
from dipsop.classification.config import TrainConfig
from dipsop.compute import DeviceName, pick_device
from dipsop.errors import DataError
from dipsop.files import shown
from dipsop.jobs.events import Stop, never


@dataclass(frozen=True, kw_only=True)
class PredictJob:
    """The folder of a training run, and the images to classify."""

    run: Path
    images: tuple[Path, ...]
    device: DeviceName = "auto"


@dataclass(frozen=True)
class Prediction:
    """The class of one image, and the probability that the model gives it."""

    image: Path
    label: str
    probability: float


def run(job: PredictJob, stop: Stop = never) -> Iterator[Prediction]:
    """Classify images in their order.

    Parameters
    ----------
    job : PredictJob
    stop : callable
        Asked before every image: true leaves it and the others out.

    Yields
    ------
    Prediction

    Raises
    ------
    DataError
        There is no trained model, or an image cannot be read; those before it have been classified.
    """
    config = run_folder.load_config(job.run)
    state, _ = run_folder.load_checkpoint(job.run)
    try:
        classes, size, train = config["classes"], config["size"], TrainConfig(**config["train"])
        classifier = Classifier(train.network, len(classes), train.dtype, pick_device(job.device))
        classifier.load_state_dict(state["network"])
    except (KeyError, TypeError, ValueError, RuntimeError):
        raise DataError(f"{shown(job.run)} holds no model that this version can use: train anew.") from None
    for path in job.images:
        if stop():
            return
        probabilities = classifier.probabilities(torch.from_numpy(image_folder.read([path], size)))[0]
        label = int(probabilities.argmax())
        yield Prediction(path, classes[label], float(probabilities[label]))
