"""A trained model as a file for other programs, with what they need to know about it.

Both kinds carry, as strings: version (of this layout), network, classes (a JSON list), size (side of an image in
pixels), mean and deviation (JSON lists, of red, green and blue), input and output, in words. The ONNX graph takes
`images`, float32 (N, 3, size, size), RGB in [0, 1], and gives `logits` (N, classes); it normalizes by itself. The
tensors of the safetensors file are those of dipsop.classification.classifier.Classifier.
"""

import json
import logging
import warnings
from typing import Any

import torch

from dipsop.classification.classifier import Classifier
from dipsop.errors import DipsopError

VERSION = "1"
INSTALL = "pip install 'dipsop[export]'"


def metadata(classifier: Classifier, network: str, classes: tuple[str, ...], size: int) -> dict[str, str]:
    """Return what goes with the weights, as strings."""
    return {
        "version": VERSION,
        "network": network,
        "classes": json.dumps(classes),
        "size": str(size),
        "mean": json.dumps(classifier.mean.flatten().tolist()),
        "deviation": json.dumps(classifier.deviation.flatten().tolist()),
        "input": "images: float32, N x 3 x size x size, RGB in [0, 1], resized to cover the square and cut to its "
        "middle, not normalized",
        "output": "logits: float32, N x classes",
    }


def as_safetensors(classifier: Classifier, network: str, classes: tuple[str, ...], size: int) -> bytes:
    """Return the weights as safetensors.

    Parameters
    ----------
    classifier : Classifier
    network : str
        Its name.
    classes : tuple of str
    size : int
        Side of an image in pixels.

    Raises
    ------
    DipsopError
        The package is not installed.
    """
    try:
        from safetensors.torch import save
    except ImportError:
        raise DipsopError(f"This needs the package safetensors: {INSTALL}.") from None
    tensors = {name: tensor.contiguous() for name, tensor in classifier.state_dict().items()}
    packed: bytes = save(tensors, {"format": "pt"} | metadata(classifier, network, classes, size))
    return packed


def as_onnx(classifier: Classifier, network: str, classes: tuple[str, ...], size: int) -> bytes:
    """Return the model as ONNX, with any number of images at a time; parameters and errors as of as_safetensors."""
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError:
        raise DipsopError(f"This needs the packages onnx and onnxscript: {INSTALL}.") from None
    model: Any = _exported(classifier, size)
    onnx.helper.set_model_props(model, metadata(classifier, network, classes, size))
    packed: bytes = model.SerializeToString()
    return packed


def _exported(classifier: Classifier, size: int) -> Any:
    """The graph of a classifier that stands still, traced on two images."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of its own code
            program = torch.onnx.export(
                classifier,
                (torch.zeros(2, 3, size, size),),
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("images")},),
                dynamo=True,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    return program.model_proto  # type: ignore[union-attr]
