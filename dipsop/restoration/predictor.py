"""What the network sees of a picture in which values are hidden, and what it says about them.

A value's filling is the mean of its trusted neighbours, or of those farther off where there are none; the detail of a
trusted value is its deviation from the filling; σ is the size of the details around. The network sees details and
answers in units of σ, so that a smooth sky and a lawn are the same task at another contrast. Without that it learns
nothing of use in the first thousand steps.

    prediction = filling + σ·first answer        scale b = σ·exp(second answer), how far off the prediction may be

Weights that know how to predict values of photographs from their surroundings are shipped beside this file, as a start:
every fit goes on from there on its own picture. examples/train_start.py made them, and says from what.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dipsop.compute import Dtype, autocast
from dipsop.restoration.local_stats import filled_means, ring
from dipsop.restoration.networks import PredictorUNet

LEAST_SIGMA = 0.006
MOST_DETAIL = 5.0  # in units of σ
MOST_RATIO = 10.0  # of an error to its scale

SHIPPED_CHANNELS = 3
_SHIPPED = Path(__file__).with_name("pretrained.npz")


class Prediction(NamedTuple):
    """What hidden values are predicted to be, how far off that may be in the mean, and the plain filling."""

    value: Tensor
    scale: Tensor
    filling: Tensor


class HeldOutPredictor(nn.Module):
    """(y, trust) → prediction of every value from the trusted values around it.

    Parameters
    ----------
    channels : int
        Of the pictures it is made for. Others go through it as well, one of fewer channel by channel, each as so many
        equal ones, one of more by so many at a time.
    widths : sequence of int
        See `PredictorUNet`.
    dtype : "auto", "bfloat16" or "float32"
        What the network computes in.
    """

    def __init__(self, channels: int, widths: Sequence[int], dtype: Dtype = "auto") -> None:
        super().__init__()
        self.channels, self.dtype = channels, dtype
        self.network = PredictorUNet(4 * channels, 2 * channels, widths)

    def forward(self, y: Tensor, trust: Tensor) -> Prediction:
        """Predict every value; those of trust 0 are hidden.

        Parameters
        ----------
        y, trust : Tensor (N, C, H, W) in [0, 1]

        Returns
        -------
        Prediction
            Of tensors of that shape, float32.
        """
        if y.shape[1] not in (1, self.channels):
            at_a_time = self.channels if y.shape[1] > self.channels else 1
            parts = zip(y.split(at_a_time, 1), trust.split(at_a_time, 1), strict=True)
            return Prediction(*(torch.cat(said, 1) for said in zip(*(self(*part) for part in parts), strict=True)))
        near, around = ring(1.0, 2, y.device), ring(1.5, 4, y.device)
        (filling,) = filled_means([y], trust, near)
        detail = trust * (y - filling)
        deviation, level = filled_means([detail.abs(), y], trust, around)
        sigma = 2 * deviation.mean(1, keepdim=True).clamp(min=LEAST_SIGMA / 2)
        slope = (filling - level) / sigma
        detail = detail / sigma
        inputs = [
            detail.clamp(-MOST_DETAIL, MOST_DETAIL),
            trust - 0.5,
            filling - 0.5,
            slope.clamp(-MOST_DETAIL, MOST_DETAIL),
        ]
        shape = (-1, self.channels, -1, -1)
        z = torch.cat([part.expand(shape) for part in inputs], 1).contiguous(memory_format=torch.channels_last)
        with autocast(y.device, self.dtype):
            answer = self.network(z)
        correction, log_scale = answer.float().chunk(2, 1)
        if y.shape[1] < self.channels:
            correction, log_scale = correction.mean(1, keepdim=True), log_scale.mean(1, keepdim=True)
        return Prediction(filling + sigma * correction, sigma * torch.exp(log_scale.clamp(-6, 4)), filling)


def loss(prediction: Prediction, truth: Tensor, weight: Tensor) -> Tensor:
    """How far the prediction is off, in units of how far the filling is, plus the Laplace likelihood of its scale.

    Parameters
    ----------
    prediction : Prediction
    truth, weight : Tensor, the shape of its tensors
        What the values are, and how much each counts; every picture of the batch counts the same.
    """
    total = weight.sum((1, 2, 3)).clamp(min=1)

    def mean(values: Tensor) -> Tensor:
        return (values * weight).sum((1, 2, 3)) / total

    error = (prediction.value - truth).abs()
    ratio = error.detach() / prediction.scale
    # Beyond MOST_RATIO the logarithm: else one value that is far off moves the scale more than all others together.
    ratio = ratio.clamp(max=MOST_RATIO) + MOST_RATIO * ((ratio - MOST_RATIO).clamp(min=0) / MOST_RATIO).log1p()
    by_filling = mean((prediction.filling - truth).abs())
    # The scale learns from the error, the prediction does not learn from the scale: an edge matters as much as a sky.
    likelihood = mean(ratio + prediction.scale.log())
    return (mean(error) / (by_filling + 0.01) + 0.05 * likelihood).mean()


def pretrained_weights() -> dict[str, Tensor]:
    """Return the shipped weights of a `HeldOutPredictor` of three channels and the widths config.SHIPPED_WIDTHS."""
    return load_weights(_SHIPPED)


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read what `save_weights` wrote, in float32."""
    with np.load(path, allow_pickle=False) as weights:
        return {name: torch.from_numpy(weights[name].astype(np.float32)) for name in weights.files}


def with_weights(network: nn.Module, path: Path, device: torch.device) -> nn.Module:
    """Return the network with the weights of that file, on the device, and not to be trained."""
    network.load_state_dict(load_weights(path))
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.requires_grad_(False)


def save_weights(predictor: nn.Module, path: Path) -> None:
    """Write the weights in half precision, half the size; the network computes in less."""
    arrays = {name: weight.detach().cpu().numpy().astype(np.float16) for name, weight in predictor.state_dict().items()}
    temporary = path.with_name(path.name + ".part.npz")
    np.savez_compressed(temporary, **arrays)
    temporary.replace(path)
