"""Load a run's model and classify images. Imported once the command has begun."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from dipsop.classification import folder, run_folder
from dipsop.classification.classifier import Classifier
from dipsop.classification.config import TrainConfig
from dipsop.commands.device import pick_device
from dipsop.commands.options import DeviceName
from dipsop.errors import DataError
from dipsop.files import printable, shown


@dataclass(frozen=True)
class Prediction:
    """The class of one image."""

    image: Path
    label: str
    probability: float

    def in_words(self) -> str:
        """Path, class, probability."""
        return f"{shown(self.image)}  {printable(self.label)}  {self.probability:.3f}"

    def as_json(self) -> str:
        """The same as a JSON object."""
        return json.dumps({"image": str(self.image), "label": self.label, "probability": round(self.probability, 6)})


def predictions(run: Path, images: Sequence[Path], device: DeviceName) -> Iterator[Prediction]:
    """Classify images in their order.

    Raises
    ------
    DataError
        RUN holds no trained model, or an image cannot be read; those before it have been classified.
    """
    config = run_folder.load_config(run)
    state, _ = run_folder.load_checkpoint(run)
    try:
        classes, size, train = config["classes"], config["size"], TrainConfig(**config["train"])
        classifier = Classifier(train.network, len(classes), train.dtype, pick_device(device))
        classifier.load_state_dict(state["network"])
    except (KeyError, TypeError, ValueError, RuntimeError):
        raise DataError(f"{shown(run)} holds no model that this version can use: train anew.") from None
    for path in images:
        probabilities = classifier.probabilities(torch.from_numpy(folder.read([path], size)))[0]
        label = int(probabilities.argmax())
        yield Prediction(path, classes[label], float(probabilities[label]))
