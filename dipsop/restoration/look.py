"""The look: a network that has seen what goes wrong with pictures corrects the odds of a value by what is around it.

A residual speaks of its value alone. What is around says more: the other channels, how dense the noise is, what content
looks like. At a round of detection `Look` sees what the residuals came to, and answers what is to be added to
the log-odds of corruption. It was trained in rounds of whole fits, for the error of p·f + (1 − p)·y and for p, on
noise, dead pixels, scratches, hairs, dust and lettering laid over photographs, and on clean photographs and print
(examples/look_rounds.py, train_look.py). detection.py has when it is heeded.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from dipsop.compute import Dtype, autocast
from dipsop.pictures.tiles import TILE, tiles
from dipsop.restoration.local_stats import bands
from dipsop.restoration.networks import PredictorUNet
from dipsop.restoration.predictor import with_weights
from dipsop.sop import SparseCorruption

WIDTHS = (32, 48, 64, 64)
CHANNELS = 3
MOST_ALONE = 8.0  # log-odds, of either sign, that residuals alone come to: the network is to be able to overrule them
MOST_RATIO = 10.0  # in units of b
# (y, P − y, b, u and v by residuals alone) → what is to be added to the log-odds: a TiledLook, or its stand-in.
Asked = Callable[[Tensor, Tensor, Tensor, SparseCorruption], Tensor]
_SHIPPED = Path(__file__).with_name("look.npz")


class Look(nn.Module):
    """(y, P, b, log-odds by residuals alone) → what is to be added to the log-odds of every value.

    Parameters
    ----------
    dtype : "auto", "bfloat16" or "float32"
        What the network computes in.
    """

    def __init__(self, dtype: Dtype = "auto") -> None:
        super().__init__()
        self.dtype = dtype
        self.network = PredictorUNet(5 * CHANNELS, CHANNELS, WIDTHS)

    def forward(self, y: Tensor, predicted: Tensor, scale: Tensor, alone: Tensor) -> Tensor:
        """Return what is to be added to log-odds that are kept within ±MOST_ALONE, float32 of the shape of y.

        Parameters
        ----------
        y : Tensor (N, 3, H, W) in [0, 1]
        predicted, scale : Tensor of that shape
            P, what every value is predicted to be while it is hidden, and b, how far off that may be in the mean.
        alone : Tensor of that shape
            The log-odds that the residuals come to, −∞ to ∞.
        """
        residual = ((y - predicted) / scale).clamp(-MOST_RATIO, MOST_RATIO)
        alone = alone.clamp(-MOST_ALONE, MOST_ALONE)
        parts = [residual / 2, scale.log() / 2 + 2, alone / 2, predicted - 0.5, y - 0.5]
        with autocast(y.device, self.dtype):
            context: Tensor = self.network(torch.cat(parts, 1).contiguous(memory_format=torch.channels_last)).float()
        return context


def confirmed(context: Tensor, corruption: SparseCorruption) -> float:
    """Return which share of what is corrupted by residuals alone is so with the look, too; what is certain stays so.

    Parameters
    ----------
    context : Tensor (1, C, H, W)
        What the look adds to the log-odds.
    corruption : SparseCorruption of that shape
        u and v as residuals alone moved them.
    """
    found = kept = 0.0
    for rows in bands(context):
        odds = corruption[..., rows, :].odds
        both = odds.log().clamp_(-MOST_ALONE, MOST_ALONE).add_(context[..., rows, :]) > 0
        found += float((odds > 1).sum())
        kept += float(((both & (odds > 1)) | odds.isposinf()).sum())
    return kept / max(1.0, found)


class TiledLook:
    """A trained network that looks at a whole picture, tile by tile.

    Parameters
    ----------
    dtype : "auto", "bfloat16" or "float32"
        What it computes in.
    device : torch.device
    weights : Path
        The shipped ones, or others.
    """

    def __init__(self, dtype: Dtype, device: torch.device, weights: Path = _SHIPPED) -> None:
        self._look = with_weights(Look(dtype), weights, device)

    def __call__(self, y: Tensor, residual: Tensor, scale: Tensor, corruption: SparseCorruption) -> Tensor:
        """Return what is to be added to the log-odds of every value.

        Parameters
        ----------
        y : Tensor (1, 3, H, W) in [0, 1]
        residual, scale : Tensor of that shape
            P − y, and b.
        corruption : SparseCorruption of that shape
            u and v as residuals alone moved them.
        """
        context = torch.empty_like(y)
        for tile in tiles(y.shape[-2], y.shape[-1], TILE):
            seen = y[..., *tile.outer]
            alone = corruption[..., *tile.outer].odds.log_()
            said = self._look(seen, seen + residual[..., *tile.outer], scale[..., *tile.outer], alone)
            context[..., *tile.inner] = said[..., *tile.inner_of_outer]
        return context
