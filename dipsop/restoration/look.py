"""The look: networks that have seen what goes wrong with pictures judge a value by what is around it.

A residual speaks of its value alone. What is around says more: the other channels, how dense the noise is, what content
looks like. At a round of detection `Look` sees what the residuals came to, and answers what is to be added to
the log-odds of corruption. It was trained in rounds of whole fits, for the error of p·f + (1 − p)·y and for p, on
noise, dead pixels, scratches, hairs, dust and lettering laid over photographs, and on clean photographs and print
(examples/look_rounds.py, train_look.py). detection.py has when it is heeded.

`Marks` looks at the picture alone, before any round, for what an eye sees at once by its shape: scratches, hairs,
cracks, lettering, dust (examples/train_marks.py). Pixels of one colour then agree on whether they are a mark, and the
odds are added to those of noise.
"""

import functools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

from dipsop.compute import Dtype, autocast
from dipsop.pictures.tiles import LARGE, TILE, tiles
from dipsop.restoration.local_stats import bands
from dipsop.restoration.networks import PredictorUNet
from dipsop.restoration.predictor import load_weights
from dipsop.sop import SparseCorruption

WIDTHS = (32, 48, 64, 64)
MARKS_WIDTHS = (32, 64, 96, 128, 128)
CHANNELS = 3
MOST_ALONE = 8.0  # log-odds, of either sign, that residuals alone come to: the network is to be able to overrule them
MOST_RATIO = 10.0  # in units of b
# (y, P − y, b, u and v by residuals alone) → what is to be added to the log-odds: a TiledLook, or its stand-in.
Asked = Callable[[Tensor, Tensor, Tensor, SparseCorruption], Tensor]
_SHIPPED = Path(__file__).with_name("look.npz")
_SHIPPED_MARKS = Path(__file__).with_name("marks.npz")
CALIBRATION = -1.6  # of the log-odds of marks, before any residual: by logistic regression on fits to 21 damaged crops
TOLD, MOST_RAISED = 0.01, 3.0  # share of pixels that are marked where there are marks; how far they are raised for it
POSSIBLE = -4.5  # log-odds from which on a pixel may be part of a mark that stands out beside it
MARKS_MARGIN = 96  # pixels beyond its border that a tile sees
# How much it counts what the network says of a pixel, and what it says of those that look alike, by logistic regression
# on marks of noise.py and damage.py over 23 photographs; and what is left to the residuals over marks, by fits to four.
OF_SAID, OF_ALIKE, OF_ALL, OF_RESIDUALS = 0.5, 0.55, 1.2, 1.5
AGREEING = 3  # times
ALIKE = 0.03  # standard deviation of a channel among what looks alike
REACH, ASKED = 32, 200  # how far in pixels others are asked, and how many of them; most are near
LEAST_SHARE, LEAST_WEIGHT = 1e-4, 1e-3
ROWS = 32  # at a time, so that all of it stays in the cache
LEAST_SURE = 6  # pixels of a piece that are more likely marked than not


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


class Marks(nn.Module):
    """y → the log-odds that a mark lies over a pixel: a scratch, a hair, a crack, lettering, dust.

    It looks at the picture alone. An eye sees a stroke at once, by its shape; residuals see what is hard to predict.

    Parameters
    ----------
    dtype : "auto", "bfloat16" or "float32"
        What the network computes in.
    """

    def __init__(self, dtype: Dtype = "auto") -> None:
        super().__init__()
        self.dtype = dtype
        self.network = PredictorUNet(CHANNELS, 1, MARKS_WIDTHS)

    def forward(self, y: Tensor) -> Tensor:
        """Return the log-odds, float32 (N, 1, H, W), of pictures y (N, 3, H, W) in [0, 1]."""
        with autocast(y.device, self.dtype):
            said: Tensor = self.network((y - 0.5).contiguous(memory_format=torch.channels_last)).float()
        return said


def _trained(network: nn.Module, weights: Path, device: torch.device) -> nn.Module:
    """The network with those weights, there, to look with."""
    network.load_state_dict(load_weights(weights))
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.requires_grad_(False)


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
        self._look = _trained(Look(dtype), weights, device)

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


@torch.no_grad()
def marks_over(y: Tensor, dtype: Dtype, told: bool = False) -> Tensor | None:
    """Return the odds that a mark lies over a pixel, (1, 1, H, W), 0 where none stands out; None if none does at all.

    Parameters
    ----------
    y : Tensor (1, C, H, W) in [0, 1]
        It is looked at in colour if it has three channels, else as grey.
    dtype : "auto", "bfloat16" or "float32"
        What the network computes in.
    told : bool
        That there are marks. Then the most conspicuous of the pixels are, even where the network would not say so.
    """
    network = _trained(Marks(dtype), _SHIPPED_MARKS, y.device)
    # In large scans marks are wide, and half the size shows them as well, in a fourth of the time.
    seen = F.avg_pool2d(y, 2, ceil_mode=True) if y.shape[-2:].numel() > LARGE else y
    seen = seen if seen.shape[1] == CHANNELS else seen.mean(1, keepdim=True).expand(-1, CHANNELS, -1, -1)
    log_odds = _log_odds_of_marks(network, seen)
    shift = CALIBRATION
    if told:
        usual = log_odds.flatten().kthvalue(max(1, round((1 - TOLD) * log_odds.numel()))).values
        shift = max(shift, min(MOST_RAISED, -float(usual)))
    log_odds += shift
    if not _stand_out(log_odds).any():
        return None
    log_odds = _agreed(seen, log_odds)
    odds = log_odds.exp().masked_fill_(~_stand_out(log_odds), 0)
    if seen.shape[-2:] != y.shape[-2:]:
        odds = F.interpolate(odds, scale_factor=2)[..., : y.shape[-2], : y.shape[-1]].contiguous()
    return odds if odds.any() else None


def _log_odds_of_marks(network: nn.Module, y: Tensor) -> Tensor:
    """In the mean of four views, where that takes no time: of strokes 72 instead of 67 % at one false alarm in 100."""
    views = 4 if y.shape[-2:].numel() <= LARGE else 1
    log_odds = torch.zeros_like(y[:, :1])
    for tile in tiles(y.shape[-2], y.shape[-1], TILE, MARKS_MARGIN):
        for turn in range(views):
            said = network(y[..., *tile.outer].rot90(turn, (2, 3))).rot90(-turn, (2, 3))
            log_odds[..., *tile.inner] += said[..., *tile.inner_of_outer] / views
    return log_odds


def _agreed(y: Tensor, said: Tensor) -> Tensor:
    """The log-odds of marks, when pixels that look alike have come to agree.

    A mark is of one colour, mostly: a pixel of which those of its colour around are marked is so, too, and where most
    of them are not, it only looks like one. A mean field of the dense conditional random field, without its smoothness.

    References
    ----------
    Krähenbühl, Koltun, "Efficient inference in fully connected CRFs with Gaussian edge potentials", NeurIPS 2011.
    """
    log_odds = said
    for _ in range(AGREEING):
        marked = _share_of_those_alike(y, log_odds.sigmoid()).clamp(LEAST_SHARE, 1 - LEAST_SHARE)
        log_odds = OF_SAID * said + OF_ALIKE * marked.logit() + OF_ALL
    return log_odds - OF_RESIDUALS


def _share_of_those_alike(y: Tensor, probability: Tensor) -> Tensor:
    """The mean probability over pixels around, by how much they are of the same colour."""
    height, width = y.shape[-2:]
    # Beyond the border is a colour that none is like.
    y = F.pad(y / (math.sqrt(2) * ALIKE), [REACH] * 4, value=99.0)
    counted = F.pad(torch.cat([probability, torch.ones_like(probability)], 1), [REACH] * 4)
    sums = torch.zeros_like(counted[..., :height, :width])
    for top in range(0, height, ROWS):
        rows = min(ROWS, height - top)
        here = y[..., top + REACH : top + REACH + rows, REACH : REACH + width]
        for dy, dx in _around():
            there = (..., slice(top + REACH + dy, top + REACH + dy + rows), slice(REACH + dx, REACH + dx + width))
            weight = (y[there] - here).square_().sum(1, keepdim=True).neg_().exp_()
            sums[..., top : top + rows, :].addcmul_(weight, counted[there])
    # Where none is alike, a pixel is left with its own.
    return (sums[:, :1] + LEAST_WEIGHT * probability) / (sums[:, 1:] + LEAST_WEIGHT)


@functools.cache
def _around() -> list[tuple[int, int]]:
    """Offsets (dy, dx), Gaussian of σ = REACH / 2, in a sunflower's order: on a grid, rows would never ask the next."""
    golden = math.pi * (3 - math.sqrt(5))
    offsets = set()
    for k in range(ASKED):
        radius = REACH / 2 * math.sqrt(-2 * math.log(1 - (k + 0.5) / ASKED * (1 - math.exp(-2))))
        offsets.add((round(radius * math.sin(k * golden)), round(radius * math.cos(k * golden))))
    return sorted(offsets - {(0, 0)})


def _stand_out(log_odds: Tensor) -> Tensor:
    """Where marks are, by pieces: a stroke of which some pixels are sure is what is possible beside them (hysteresis).

    A piece of which none is sure is what only looks like a mark: a twig, a letter on a page.
    """
    said = log_odds[0, 0].cpu().numpy()
    pieces, count = ndimage.label(said > POSSIBLE, np.ones((3, 3)))
    stands_out = np.bincount(pieces[said > 0], minlength=count + 1) >= LEAST_SURE
    return torch.from_numpy(stands_out[pieces])[None, None].to(log_odds.device)
