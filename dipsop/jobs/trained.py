"""The model that a training run left behind."""

from dataclasses import dataclass
from pathlib import Path

from dipsop.classification import run_folder
from dipsop.classification.classifier import Classifier
from dipsop.classification.config import TrainConfig
from dipsop.compute import DeviceName, Dtype, pick_device
from dipsop.errors import DataError
from dipsop.files import shown


@dataclass(frozen=True)
class Trained:
    """A classifier, what its classes are called, and what it is given."""

    classifier: Classifier
    network: str
    classes: tuple[str, ...]
    size: int  # side of an image in pixels


def load(run: Path, device: DeviceName, dtype: Dtype | None = None) -> Trained:
    """Read the model of a run.

    Parameters
    ----------
    run : Path
    device : "auto", "cpu", "cuda" or "mps"
    dtype : "auto", "bfloat16", "float32" or None
        What it computes in; as it was trained where it is None.

    Raises
    ------
    DataError
        There is no trained model in that folder.
    """
    config = run_folder.load_config(run)
    state, _ = run_folder.load_checkpoint(run)
    try:
        classes, size, train = tuple(config["classes"]), config["size"], TrainConfig(**config["train"])
        classifier = Classifier(train.network, len(classes), dtype or train.dtype, pick_device(device))
        classifier.load_state_dict(state["network"])
    except (KeyError, TypeError, ValueError, RuntimeError):
        raise DataError(f"{shown(run)} holds no model that this version can use: train anew.") from None
    return Trained(classifier.eval(), train.network, classes, size)
