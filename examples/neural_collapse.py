"""How far the features of a class have collapsed into one point: within-class over between-class scatter.

With h the features before the last layer, μ_c the mean of a class and μ that of all,

    tr Σ_W / tr Σ_B,    Σ_W the mean of (h − μ_c)(h − μ_c)ᵀ over the samples,    Σ_B that of (μ_c − μ)(μ_c − μ)ᵀ.

A network that has fitted its labels to the end drives it to 0 for these, whether they are right or not (Papyan, Han,
Donoho, PNAS 2020; there it is the trace of Σ_W times the pseudoinverse of Σ_B). Where it falls for the given labels and
rises for the true ones, the features have given up what the images are for what was written on them.
"""

from typing import cast

import torch
from torch import Tensor, nn

from dipsop.classification.classifier import Classifier
from dipsop.classification.trainer import Trainer

SAMPLES = 2000  # enough for a ratio of two traces


def scatter(trainer: Trainer) -> tuple[float, float]:
    """Return the ratio on the given and on the true labels, (NaN, NaN) where these are not known.

    By the first training images, as they are.
    """
    data, network = trainer.data, trainer.network
    if data.true is None or not isinstance(network, Classifier):
        return float("nan"), float("nan")
    h = features(network, torch.from_numpy(data.images[:SAMPLES]))
    given, true = (scatter_ratio(h, torch.from_numpy(labels[: len(h)])) for labels in (data.given, data.true))
    return given, true


def features(network: Classifier, images: Tensor) -> Tensor:
    """Return what the last layer of a network sees of images (N, 3, H, W), uint8: (N, D), float64, on the processor."""
    seen: list[Tensor] = []
    last = cast(nn.Linear, network.network.classify)
    hook = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        network.probabilities(images, flip=False)
    finally:
        hook.remove()
    return torch.cat(seen).double().cpu()


def scatter_ratio(h: Tensor, labels: Tensor) -> float:
    """Return tr Σ_W / tr Σ_B of features (N, D) by labels (N,); infinite where all means are one."""
    classes, which, count = labels.unique(return_inverse=True, return_counts=True)
    means = torch.zeros(len(classes), h.shape[1], dtype=h.dtype).index_add_(0, which, h) / count[:, None]
    within = (h - means[which]).square().sum()
    between = (count[:, None] * (means - h.mean(0)).square()).sum()
    return float(within / between)
