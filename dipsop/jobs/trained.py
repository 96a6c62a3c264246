"""The model that a training run left behind."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dipsop.classification import features, run_folder
from dipsop.classification.classifier import Classifier, FeatureClassifier, PretrainedClassifier, classifier
from dipsop.classification.config import TrainConfig
from dipsop.classification.dataset import Images
from dipsop.compute import DeviceName, Dtype, pick_device
from dipsop.errors import DataError
from dipsop.files import shown


@dataclass(frozen=True)
class Trained:
    """A classifier, what its classes are called, and what it is given."""

    classifier: Classifier | FeatureClassifier
    network: str
    classes: tuple[str, ...]
    side: int  # of an image, in pixels
    seen_at: int  # the side at which features are made: smaller images are enlarged to it
    sees: features.FeatureNetwork | None  # what makes the features that the classifier takes, where it takes features

    def whole(self) -> Classifier | PretrainedClassifier:
        """Return the model of images, float32 (N, 3, side, side) in [0, 1], in one."""
        if isinstance(self.classifier, Classifier):
            return self.classifier
        assert self.sees is not None
        return PretrainedClassifier(self.sees, self.classifier, self.seen_at).eval()

    def probabilities(self, images: Images) -> Tensor:
        """Return the probabilities (N, classes) of images, uint8 (N, 3, side, side)."""
        if self.sees is None:
            return self.classifier.probabilities(torch.from_numpy(images))
        seen = features.look(self.sees, images, self.seen_at).astype("float32")
        return self.classifier.probabilities(torch.from_numpy(seen))


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
    if not (run / run_folder.CHECKPOINT).exists():
        raise DataError(f"{shown(run)} has no epoch that is done: go on with dipsop classify --resume.")
    state, _ = run_folder.load_checkpoint(run)
    try:
        classes, seen_at, train = tuple(config["classes"]), config["size"], TrainConfig(**config["train"])
        picked = pick_device(device)
        model = classifier(train.network, len(classes), dtype or train.dtype, picked)
        model.load_state_dict(state["network"])
    except (KeyError, TypeError, ValueError, RuntimeError):
        raise DataError(f"{shown(run)} holds no model that this version can use: train anew.") from None
    of_features = train.network == "pretrained"
    if of_features and config.get("features") != features.NETWORK:
        raise DataError(f"{shown(run)} needs features that this version does not make: train anew.")
    sees = features.FeatureNetwork(picked) if of_features else None
    return Trained(model.eval(), train.network, classes, config.get("side", seen_at), seen_at, sees)
