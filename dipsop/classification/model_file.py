"""A trained model as a file for other programs, with what they need to know about it.

Both kinds carry, as strings: version (of this layout), network, classes (a JSON list), size (side of an image in
pixels), input and output, in words; and, but for the network "pretrained", mean and deviation (JSON lists, of red,
green and blue). The ONNX graph takes `images`, float32 (N, 3, size, size), RGB in [0, 1], and gives `logits` (N,
classes); it normalizes by itself. The tensors of the safetensors file are those of Classifier or PretrainedClassifier,
in dipsop.classification.classifier.
"""

import json
import logging
import warnings
from typing import Any

import torch

from dipsop.classification.classifier import Classifier, PretrainedClassifier
from dipsop.errors import DipsopError

VERSION = "1"
Model = Classifier | PretrainedClassifier
INSTALL = "pip install 'dipsop[export]'"


def metadata(model: Model, network: str, classes: tuple[str, ...], size: int) -> dict[str, str]:
    """Return what goes with the weights, as strings."""
    said = {
        "version": VERSION,
        "network": network,
        "classes": json.dumps(classes),
        "size": str(size),
        "input": "images: float32, N x 3 x size x size, RGB in [0, 1], resized to cover the square and cut to its "
        "middle, not normalized",
        "output": "logits: float32, N x classes",
    }
    if isinstance(model, Classifier):
        said["mean"], said["deviation"] = (json.dumps(of.flatten().tolist()) for of in (model.mean, model.deviation))
    return said


def as_safetensors(model: Model, network: str, classes: tuple[str, ...], size: int) -> bytes:
    """Return the weights as safetensors.

    Parameters
    ----------
    model : Classifier or PretrainedClassifier
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
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    packed: bytes = save(tensors, {"format": "pt"} | metadata(model, network, classes, size))
    return packed


def as_onnx(model: Model, network: str, classes: tuple[str, ...], size: int) -> bytes:
    """Return the model as ONNX, with any number of images at a time; parameters and errors as of as_safetensors."""
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError:
        raise DipsopError(f"This needs the packages onnx and onnxscript: {INSTALL}.") from None
    graph: Any = _exported(model, size)
    onnx.helper.set_model_props(graph, metadata(model, network, classes, size))
    packed: bytes = graph.SerializeToString()
    return packed


def _exported(model: Model, size: int) -> Any:
    """The graph of a model that stands still, traced on two images."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of its own code
            program = torch.onnx.export(
                model,
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
