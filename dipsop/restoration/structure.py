"""How what was found lies in the picture: in whole pixels, in clusters, in lines.

All of pictures (1, C, H, W), band by band: of a large one the probabilities are never there as a whole.
"""

import math

import torch
from torch import Tensor

from dipsop.restoration.local_stats import bands, local_sum
from dipsop.restoration.prior import trust_of
from dipsop.sop import SparseCorruption

TOGETHER = 0.25  # of the way from chance to always: from there on a pixel is taken to be hit as a whole
CLUSTERED = 0.1  # the same of a pixel's neighbours: from there on corruption is taken to come in clusters
LEAST_CLUSTERED = 0.002  # share of pixels of which that can be said
# A row or column whose median residual is more than so many times what it ought to be is wrong as a whole.
MOST_OFF = 2.0
LEAST_LINE = 8  # values: of fewer, the median says no more than each


def hits_pixels(corruption: SparseCorruption) -> bool:
    """Whether corruption hits the channels of a pixel together, more often than by chance.

    If each value were hit by itself with probability π, so would be all of a share π^(C−1) of what is hit.
    """
    channels = corruption.u.shape[1]
    if channels == 1:
        return True
    hit = together = 0.0
    for rows in bands(corruption.u):
        s = 1 - trust_of(corruption[..., rows, :])
        hit += float(s.sum()) / channels
        together += float(s.prod(1).sum())
    by_chance = (hit * channels / corruption.u.numel()) ** (channels - 1)
    return together / max(hit, 1e-6) > by_chance + TOGETHER * (1 - by_chance)


def clusters(corruption: SparseCorruption, clean: Tensor | None = None) -> float:
    """Return the share of pixels found corrupted, if their neighbours are more often than by chance, else 0.

    Scratches, letters and grains of dust are so; and so is a page of print that was taken for corruption. `clean`, bool
    (1, 1, H, W), is where nothing counts as found.
    """
    hit = total = beside = 0.0
    for rows in bands(corruption.u):
        trust = trust_of(corruption[..., rows, :])
        if clean is not None:
            trust.masked_fill_(clean[..., rows, :], 1)
        s = 1 - trust.amin(1, keepdim=True)
        hit += float(s.sum())
        beside += float((s * of_neighbours(s)).sum())
        total += s.numel()
    by_chance = hit / total
    clustered = by_chance > LEAST_CLUSTERED and beside / hit > by_chance + CLUSTERED * (1 - by_chance)
    return by_chance if clustered else 0.0


def of_neighbours(values: Tensor) -> Tensor:
    """Return the mean of the eight values around each; beyond the border they are 0."""
    neighbours = torch.full((3, 3), 1 / 8, device=values.device)
    neighbours[1, 1] = 0
    return local_sum(values, neighbours)


def line_factors(residual: Tensor, scale: Tensor, clean_share: float) -> tuple[Tensor, Tensor]:
    """How much larger the scale b is in rows and in columns that are wrong as a whole, 1 in the others.

    Among the share 1 − π of clean values, those of smaller residuals, the median of |y − P| / b ought to be log 2.

    Parameters
    ----------
    residual, scale : Tensor (1, C, H, W)
        P − y, and b.
    clean_share : float in [0, 1]
        1 − π.

    Returns
    -------
    by_row : Tensor (1, C, H, 1)
    by_column : Tensor (1, C, 1, W)
    """

    def factor(ratio: Tensor, axis: int) -> Tensor:
        if ratio.shape[axis] < LEAST_LINE:
            return torch.ones_like(ratio.narrow(axis, 0, 1))
        rank = max(1, round(clean_share / 2 * ratio.shape[axis]))
        middle = ratio.kthvalue(rank, axis, keepdim=True).values / math.log(2)
        return torch.where(middle > MOST_OFF, middle, 1)

    by_row = [factor(residual[..., rows, :].abs() / scale[..., rows, :], -1) for rows in bands(residual)]
    columns = bands(residual.transpose(-1, -2))
    by_column = [factor(residual[..., c].abs() / scale[..., c], -2) for c in columns]
    return torch.cat(by_row, -2), torch.cat(by_column, -1)
