"""Marks: scratches, hairs, cracks, lettering and dust, seen by their shape in the picture alone, before any round.

A network says of every pixel whether a mark lies over it (examples/train_marks.py). Pixels of one colour then agree by
a mean field, pieces of which none is sure are left out, and the odds of what remains are added to those of noise.

References
----------
Krähenbühl, Koltun, "Efficient inference in fully connected CRFs with Gaussian edge potentials", NeurIPS 2011.
Canny, "A computational approach to edge detection", 1986: thresholding with hysteresis.
"""

import functools
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

from dipsop.compute import Dtype, autocast
from dipsop.pictures.tiles import LARGE, TILE, tiles
from dipsop.restoration.networks import PredictorUNet
from dipsop.restoration.predictor import with_weights

WIDTHS = (32, 64, 96, 128, 128)
CHANNELS = 3
_SHIPPED = Path(__file__).with_name("marks.npz")
MARGIN = 96  # pixels beyond its border that a tile sees
CALIBRATION = -2.75  # of the log-odds, told nothing: so that of 84 clean photographs none has a mark (examples/look.md)
# Share of pixels that are marked where it is told that there are marks; how far log-odds are raised for it at most; and
# their factor then.
TOLD, MOST_RAISED, DECIDED = 0.02, 3.0, 3.0
# The mean field: weights of what the network says of a pixel, and of what those that look alike have come to, and a
# bias, by logistic regression on marks of noise.py and damage.py over 23 photographs; and what of the log-odds is left
# to the residuals over marks, told nothing or that there are some.
UNARY, PAIRWISE, BIAS = 0.5, 0.55, 1.2
LEFT_TO_RESIDUALS, LEFT_WHEN_TOLD = 0.4, 1.25
ITERATIONS = 3
COLOUR_SIGMA = 0.03  # of a channel, among what looks alike
REACH, NEIGHBOURS = 32, 200  # how far in pixels others are asked, and how many of them; most are near
LEAST_SHARE, LEAST_WEIGHT = 1e-4, 1e-3
ROWS = 32  # at a time, so that all of it stays in the cache
# Hysteresis: log-odds from which on a pixel may be part of a mark, and how many pixels of its piece have to be more
# likely marked than not.
LOW, LEAST_SURE = -4.5, 6
GROWTH = 16  # pixels that agreement may carry a mark beyond where it stood out, unless it is sure there, too


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
        self.network = PredictorUNet(CHANNELS, 1, WIDTHS)

    def forward(self, y: Tensor) -> Tensor:
        """Return the log-odds, float32 (N, 1, H, W), of pictures y (N, 3, H, W) in [0, 1]."""
        with autocast(y.device, self.dtype):
            said: Tensor = self.network((y - 0.5).contiguous(memory_format=torch.channels_last)).float()
        return said


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
        That there are marks. Then the network is believed, which has learned that in half of all pictures there are,
        and the most conspicuous of the pixels are marked even where it would not say so.
    """
    network = with_weights(Marks(dtype), _SHIPPED, y.device)
    # In large scans marks are wide, and half the size shows them as well, in a fourth of the time.
    seen = F.avg_pool2d(y, 2, ceil_mode=True) if y.shape[-2:].numel() > LARGE else y
    seen = seen if seen.shape[1] == CHANNELS else seen.mean(1, keepdim=True).expand(-1, CHANNELS, -1, -1)
    log_odds = _log_odds(network, seen)
    shift, left, factor = CALIBRATION, LEFT_TO_RESIDUALS, 1.0
    if told:
        usual = log_odds.flatten().kthvalue(max(1, round((1 - TOLD) * log_odds.numel()))).values
        shift, left = min(MOST_RAISED, max(0, -float(usual))), LEFT_WHEN_TOLD
        factor = DECIDED  # half of a crack that is taken out is a crack still to be seen
    log_odds += shift
    stood_out = _hysteresis(log_odds)
    if not stood_out.any():
        return None
    log_odds = _mean_field(seen, log_odds) - left
    stands_out = _hysteresis(log_odds) if told else _grown(log_odds, stood_out)
    odds = (factor * log_odds).exp_().masked_fill_(~stands_out, 0)
    if seen.shape[-2:] != y.shape[-2:]:
        odds = F.interpolate(odds, scale_factor=2)[..., : y.shape[-2], : y.shape[-1]].contiguous()
    return odds if odds.any() else None


def _log_odds(network: nn.Module, y: Tensor) -> Tensor:
    """In the mean of four views, where that takes no time: of strokes 72 instead of 67 % at one false alarm in 100."""
    views = 4 if y.shape[-2:].numel() <= LARGE else 1
    log_odds = torch.zeros_like(y[:, :1])
    for tile in tiles(y.shape[-2], y.shape[-1], TILE, MARGIN):
        for turn in range(views):
            said = network(y[..., *tile.outer].rot90(turn, (2, 3))).rot90(-turn, (2, 3))
            log_odds[..., *tile.inner] += said[..., *tile.inner_of_outer] / views
    return log_odds


def _mean_field(y: Tensor, said: Tensor) -> Tensor:
    """The log-odds of marks, when pixels that look alike have come to agree.

    A mark is of one colour, mostly: a pixel of which those of its colour around are marked is so, too, and where most
    of them are not, it only looks like one. A mean field of the dense conditional random field, without its smoothness.
    """
    log_odds = said
    for _ in range(ITERATIONS):
        marked = _share_of_alike(y, log_odds.sigmoid()).clamp(LEAST_SHARE, 1 - LEAST_SHARE)
        log_odds = UNARY * said + PAIRWISE * marked.logit() + BIAS
    return log_odds


def _share_of_alike(y: Tensor, probability: Tensor) -> Tensor:
    """The mean probability over pixels around, by how much they are of the same colour."""
    height, width = y.shape[-2:]
    # Beyond the border is a colour that none is like.
    y = F.pad(y / (math.sqrt(2) * COLOUR_SIGMA), [REACH] * 4, value=99.0)
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
    for k in range(NEIGHBOURS):
        radius = REACH / 2 * math.sqrt(-2 * math.log(1 - (k + 0.5) / NEIGHBOURS * (1 - math.exp(-2))))
        offsets.add((round(radius * math.sin(k * golden)), round(radius * math.cos(k * golden))))
    return sorted(offsets - {(0, 0)})


def _grown(log_odds: Tensor, stood_out: Tensor) -> Tensor:
    """Where marks are once pixels of one colour agree: near those that stood out before, and where others do by now.

    Else a stroke in one corner would take a long edge of its colour along.
    """
    near = F.max_pool2d(stood_out.float(), 2 * GROWTH + 1, 1, GROWTH) > 0
    return (_hysteresis(log_odds) & near) | _hysteresis(log_odds.masked_fill(near, -math.inf))


def _hysteresis(log_odds: Tensor) -> Tensor:
    """Where marks are, by pieces: a stroke of which some pixels are sure is what is possible beside them.

    A piece of which none is sure is what only looks like a mark: a twig, a letter on a page.
    """
    said = log_odds[0, 0].cpu().numpy()
    pieces, count = ndimage.label(said > LOW, np.ones((3, 3)))
    stands_out = np.bincount(pieces[said > 0], minlength=count + 1) >= LEAST_SURE
    return torch.from_numpy(stands_out[pieces])[None, None].to(log_odds.device)
