"""How what was found lies in the picture: in pixels, in clusters, in lines; and pictures that are drawn.

What is not sparse corruption shows in this: print and drawings are connected, a dead line and the frame of an old scan
are wrong as a whole. All on tensors (1, C, H, W); `trust` is the probability, in [0, 1], that a value is clean, there
as a whole or by parts (`prior.Trusts`).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from dipsop.restoration.local_stats import bands, local_sum
from dipsop.restoration.prior import LEVELS, Trusts, cells

TOGETHER = 0.25  # of the way from chance to always: from there on a pixel is taken to be hit as a whole
CLUSTERED = 0.1  # the same of a pixel's neighbours: from there on corruption is taken to come in clusters
LEAST_CLUSTERED = 0.002  # share of pixels of which that can be said
CONNECTED = 2  # neighbours of a pixel that are found with it: from there on it is part of a piece
AROUND = 2  # pixels around a piece that belong to it: anti-aliased edges, the dots of letters
# Specks lie in print as they lie beside it. A level is theirs if so much of it is found beside the print, if that is so
# much of all that is of this level there, and if it is no more than so many times as common within the print.
LEAST_SPECKS, MOSTLY, MOST_COMMON = 2e-4, 0.8, 2.0
# A row or column whose median residual is more than so many times what it ought to be is wrong as a whole.
MOST_OFF = 2.0


def hits_pixels(trust: Tensor | Trusts) -> bool:
    """Whether corruption hits the channels of a pixel together, more often than by chance.

    If each value were hit by itself with probability π, so would be all of a share π^(C−1) of what is hit.
    """
    channels = trust.shape[1]
    if channels == 1:
        return True
    hit = together = 0.0
    for rows in bands(trust):
        s = 1 - trust[..., rows, :]
        hit += float(s.sum()) / channels
        together += float(s.prod(1).sum())
    by_chance = (hit * channels / trust.shape.numel()) ** (channels - 1)
    return together / max(hit, 1e-6) > by_chance + TOGETHER * (1 - by_chance)


def clusters(trust: Tensor | Trusts) -> float:
    """Return the share of pixels found corrupted, if their neighbours are more often than by chance, else 0.

    Scratches, letters and grains of dust are so; and so is a page of print that was taken for corruption.
    """
    hit = total = beside = 0.0
    for rows in bands(trust):
        s = 1 - trust[..., rows, :].amin(1, keepdim=True)
        hit += float(s.sum())
        beside += float((s * _of_neighbours(s)).sum())
        total += s.numel()
    by_chance = hit / total
    clustered = by_chance > LEAST_CLUSTERED and beside / hit > by_chance + CLUSTERED * (1 - by_chance)
    return by_chance if clustered else 0.0


def connected(found: Tensor) -> Tensor:
    """Return where pixels are in connected pieces of what was found, bool (1, C, H, W), or beside one: (1, 1, H, W)."""
    height, margin = found.shape[-2], AROUND + 1
    pieces = torch.empty_like(found[:, :1])
    for rows in bands(found):
        top = max(0, rows.start - margin)
        hit = found[..., top : min(height, rows.stop + margin), :].any(1, keepdim=True).float()
        near = F.max_pool2d(hit * (8 * _of_neighbours(hit) >= CONNECTED), 2 * AROUND + 1, 1, AROUND) > 0
        pieces[..., rows, :] = near[..., rows.start - top :, :][..., : rows.stop - rows.start, :]
    return pieces


def levels_of_specks(y: Tensor, found: Tensor, beside: Tensor) -> tuple[Tensor, float]:
    """Return the odds, by its level alone, that a value within print is a speck, and how many specks they leave out.

    Beside the print, specks are found by what is around them. Within it a dark one cannot be told from ink, unless no
    ink is as dark: then all that is of that level is a speck. Dotted lines and the dots of letters are none: these are
    not scattered.

    Parameters
    ----------
    y : Tensor (1, C, H, W) in [0, 1]
    found : Tensor, bool, the shape of y
        Where corruption was found beside the print.
    beside : Tensor, bool (1, 1, H, W)
        Where there is no print.

    Returns
    -------
    odds : Tensor (C·LEVELS,)
        In the order of `prior.cells`; 0 for levels that are not those of specks.
    others : float
        Of the pixels beside the print, those found of which no channel is of such a level.
    """
    if not scattered(found, beside):
        return y.new_zeros(y.shape[1] * LEVELS), 0.0
    counts = y.new_zeros(3, y.shape[1] * LEVELS)  # of what is found, of all beside the print, of all within
    for rows in bands(y):
        level, apart = cells(y[..., rows, :]).flatten(), beside[..., rows, :].expand_as(y[..., rows, :])
        for count, where in zip(counts, (found[..., rows, :], apart, ~apart), strict=True):
            count += torch.bincount(level, where.flatten().float(), len(count))
    area = float(beside.sum())
    of_specks, of_all, of_print = counts / counts.new_tensor([[area], [area], [beside.numel() - area]]).clamp(min=1)
    theirs = (of_specks >= LEAST_SPECKS) & (of_specks >= MOSTLY * of_all) & (of_print <= MOST_COMMON * of_specks)
    odds = torch.where(theirs, of_specks / (of_print - of_specks).clamp(min=0.01 * of_specks), 0)
    others = 0.0
    for rows in bands(y):
        hit = found[..., rows, :]
        others += float((hit.any(1) & ~(hit & theirs[cells(y[..., rows, :])]).any(1)).sum())
    return odds, others / max(1.0, area)


def scattered(found: Tensor, where: Tensor) -> bool:
    """Whether what is found there lies anywhere there, and not in some rows or columns, as dots of lines and letters.

    By the index of dispersion of their counts: 1 for what falls independently. Specks that show better here than there
    raise it, but by less than the mean count, which stands for a density that varies by as much as it is.

    Parameters
    ----------
    found : Tensor, bool (1, C, H, W)
    where : Tensor, bool (1, 1, H, W)
    """
    hit = found.any(1, keepdim=True)
    share = float(hit.sum()) / max(1.0, float(where.sum()))
    for axis in (-1, -2):
        expected = share * where.sum(axis).flatten()
        lines = expected > 0
        index = ((hit.sum(axis).flatten() - expected).square() / expected)[lines].mean()
        if index > 1 + max(1.0, float(expected[lines].mean())):
            return False
    return True


def _of_neighbours(values: Tensor) -> Tensor:
    """The mean of the eight values around each; beyond the border they are 0."""
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
        rank = max(1, round(clean_share / 2 * ratio.shape[axis]))
        middle = ratio.kthvalue(rank, axis, keepdim=True).values / math.log(2)
        return torch.where(middle > MOST_OFF, middle, 1)

    by_row = [factor(residual[..., rows, :].abs() / scale[..., rows, :], -1) for rows in bands(residual)]
    columns = bands(residual.transpose(-1, -2))
    by_column = [factor(residual[..., c].abs() / scale[..., c], -2) for c in columns]
    return torch.cat(by_row, -2), torch.cat(by_column, -1)


def is_drawn(y: Tensor) -> bool:
    """Whether most of a picture (1, C, H, W) is areas of one colour: print, a drawing, a screenshot, no photograph.

    Photographs have up to a third of flat 2×2 squares, where they are dark, drawings four fifths.
    """
    corner = y[..., :-1, :-1]
    flat = (corner == y[..., 1:, :-1]) & (corner == y[..., :-1, 1:]) & (corner == y[..., 1:, 1:])
    return flat.numel() > 0 and float(flat.all(1).float().mean()) > 0.5
