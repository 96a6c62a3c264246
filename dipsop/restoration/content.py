"""Print and drawing, which are no damage however much they look like it, and the specks on them.

What covers much of a picture in connected pieces, or lies in lines in a drawing (dots), is content: there γ is less.
Specks on print are found all the same: those beside it by what is around them, those within it by their level, if no
ink has it.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dipsop.restoration import structure
from dipsop.restoration.local_stats import bands
from dipsop.restoration.prior import LEVELS, cells
from dipsop.sop import SparseCorruption

# What covers more than this share of the pixels in connected pieces is print or drawing, not damage.
MOST_CLUSTERED = 0.1
CONNECTED = 2  # neighbours of a pixel that are found with it: from there on it is part of a piece
AROUND = 2  # pixels around a piece that belong to it: anti-aliased edges, the dots of letters
# Of the values of a drawing: of a clean one a network that has learned it leaves up to a sixth of that behind, at
# corners and ends of lines, and one that has not up to all of it.
FEW = 3e-4
# Specks lie in print as they lie beside it. A level is theirs if so much of it is found beside the print, if that is so
# much of all that is of this level there, and if it is no more than so many times as common within the print.
LEAST_SPECKS, MOSTLY, MOST_COMMON = 2e-4, 0.8, 2.0
# γ of a value of print, over that of another: a network leaves parts of it behind, as it does of specks. And how many
# specks beside the print, for which no level accounts, make it worth asking.
DOUBT, LEAST_OTHERS = math.exp(-5), 1e-3
_STATE = ("pieces", "specks", "doubt")


class Content:
    """What was taken for corruption and is print or drawing, and what that says of γ.

    Parameters
    ----------
    y : Tensor (1, C, H, W) in [0, 1]
        The observation.
    marked : Tensor, bool (1, 1, H, W)
        Marks: these are damage, connected as they are.

    Attributes
    ----------
    drawn : bool
        Whether the picture is a drawing.
    pieces : Tensor, bool (2, 1, H, W), or None
        What is not corrupted by being too bright, and what is not by being too dark.
    specks, doubt : Tensor (C·LEVELS,), and float
        How a page of print may have specks all the same: what γ is by level at least, and by how much that of other
        values is less within print than beside it. Both 0 where none were seen.
    """

    def __init__(self, y: Tensor, marked: Tensor) -> None:
        self._y, self._marked, self.drawn = y, marked, is_drawn(y)
        self.pieces: Tensor | None = None
        self.specks, self.doubt = torch.zeros(y.shape[1] * LEVELS, device=y.device), 0.0

    def clusters(self, corruption: SparseCorruption) -> float:
        """`structure.clusters` of what was found, but for marks, which do not tell print from damage any more."""
        return structure.clusters(corruption, clean=self._marked)

    def recognize(self, corruption: SparseCorruption, found: Tensor) -> bool:
        """See whether what was found, but for marks, is print or drawing, and remember its connected pieces.

        In a drawing what is not connected is content as well, if it lies in lines: dots.
        """
        connected = self.clusters(corruption) > (0.0 if self.drawn else MOST_CLUSTERED)  # in a drawing, however little
        if connected:
            self.remember(corruption)
        return connected or (self.drawn and not scattered(*self._beside(found)))

    def left_behind(self, found: Tensor) -> Tensor | None:
        """Return what is content though it does not lie in lines, bool, the shape of `found`; None where nothing is.

        Where next to nothing is found beside the connected pieces of a drawing, it is corners and ends of lines. All
        but marks is content then, found or not, except for values that lie alone on one colour, and for what is within
        those pieces if specks have a level of their own there.
        """
        if not self.drawn:
            return None
        beside, where = self._beside(found)
        if float(beside.sum()) >= FEW * found.shape[1] * float(where.sum()):
            return None
        return ~(beside & alone(self._y, beside)) & (where if self.specks.any() else ~self._marked)

    def remember(self, corruption: SparseCorruption) -> None:
        """Take the connected pieces of what was found for content from now on, on the side on which they were found.

        A network that learns them leaves parts of them behind, which lie apart as specks do.
        """
        pieces = torch.cat([connected((side > 1) & ~self._marked) for side in (corruption.u, corruption.v)])
        self.pieces = pieces if self.pieces is None else self.pieces | pieces

    def learn_specks(self, found: Tensor, share: float) -> None:
        """Learn from what is found beside print, of the share π that is found, how much of that there is within."""
        if self.pieces is not None:
            odds, others = levels_of_specks(self._y, *self._beside(found))
            self.specks = odds.sqrt_()
            self.doubt = DOUBT * math.sqrt(others / share) if others > LEAST_OTHERS else 0.0

    def lower(self, start: SparseCorruption, rows: slice) -> None:
        """Lower γ of some rows where they are content, to that of specks."""
        if self.pieces is not None:
            by_level = self.specks[cells(self._y[..., rows, :])]
            for side, pieces in zip((start.u, start.v), self.pieces[..., rows, :], strict=True):
                side.copy_(torch.where(pieces, self.doubt * side, side).maximum(by_level))

    def state(self) -> dict[str, Any]:
        """What was seen so far: tensors and a number."""
        return {name: getattr(self, name) for name in _STATE}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        for name in _STATE:
            part = state[name]
            setattr(self, name, part.to(self._y.device, copy=True) if isinstance(part, Tensor) else part)

    def _beside(self, found: Tensor) -> tuple[Tensor, Tensor]:
        """What is found beside marks, print and drawing, and where that is."""
        beside = ~self._marked if self.pieces is None else ~(self._marked | self.pieces.any(0, keepdim=True))
        return found & beside, beside


def connected(found: Tensor) -> Tensor:
    """Return where pixels are in connected pieces of what was found, bool (1, C, H, W), or beside one: (1, 1, H, W)."""
    height, margin = found.shape[-2], AROUND + 1
    pieces = torch.empty_like(found[:, :1])
    for rows in bands(found):
        top = max(0, rows.start - margin)
        hit = found[..., top : min(height, rows.stop + margin), :].any(1, keepdim=True).float()
        near = F.max_pool2d(hit * (8 * structure.of_neighbours(hit) >= CONNECTED), 2 * AROUND + 1, 1, AROUND) > 0
        pieces[..., rows, :] = near[..., rows.start - top :, :][..., : rows.stop - rows.start, :]
    return pieces


def alone(y: Tensor, found: Tensor) -> Tensor:
    """Return where a found pixel has eight neighbours of one colour, not its own, bool (1, 1, H, W); made for few.

    Beyond the border the picture is mirrored.
    """
    hit = found.any(1, keepdim=True)
    _, _, row, column = hit.nonzero(as_tuple=True)
    offset = torch.tensor([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j], device=y.device)
    rows = _mirrored(row[:, None] + offset[:, 0], y.shape[-2])
    columns = _mirrored(column[:, None] + offset[:, 1], y.shape[-1])
    neighbours = y[0][:, rows, columns]  # (C, pixels, 8)
    lone = torch.zeros_like(hit)
    of_one = (neighbours == neighbours[..., :1]).all(-1).all(0)
    lone[0, 0, row, column] = of_one & (neighbours[..., 0] != y[0][:, row, column]).any(0)
    return lone


def _mirrored(at: Tensor, length: int) -> Tensor:
    at = at.abs()
    return torch.where(at >= length, 2 * (length - 1) - at, at).clamp(0, length - 1)


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


def is_drawn(y: Tensor) -> bool:
    """Whether most of a picture (1, C, H, W) is areas of one colour: print, a drawing, a screenshot, no photograph.

    Photographs have up to a third of flat 2×2 squares, where they are dark, drawings four fifths.
    """
    corner = y[..., :-1, :-1]
    flat = (corner == y[..., 1:, :-1]) & (corner == y[..., :-1, 1:]) & (corner == y[..., 1:, 1:])
    return flat.numel() > 0 and float(flat.all(1).float().mean()) > 0.5
