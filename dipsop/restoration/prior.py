"""What is known of corruption before any residual: how much there is and of which levels, which is the start of (u, v).

Let π be the share of corrupted values and c(q) the density of the level q among them, 1 in the mean. Against a Laplace
residual of the scale b the odds of corruption begin at

    γ² = 2b·c(y)·π / (1 − π).

π and c are fitted to what was found (expectation maximization), which is how fixed values (black and white specks, the
colour of a lettering) are recognized without a word about them.
"""

from typing import Any

import torch
from torch import Tensor

from dipsop.pictures.tiles import TILE, tiles
from dipsop.restoration.local_stats import bands, first_guess
from dipsop.sop import SparseCorruption

LEVELS = 256
# How much of the level density stays uniform: a level that was never seen corrupted may still be.
UNIFORM = 0.005
# Dense noise of few levels: from which share on, what density makes a level one of them, and how much of all of it they
# hold. Then others have a tenth of that, and next to nothing until the network has seen the picture.
DENSE, COMMON, MOSTLY, OTHERS, NEARLY_NONE = 0.28, 5.0, 0.9, 0.1, 1e-7
FIRST_SHARE = 0.3
# Of corrupted values. Were the least as large as 0.005, it would flag some values of every clean picture.
LEAST_SHARE, MOST_SHARE = 1e-5, 0.8
# How far off, in units of b, a value has to be to say something of the levels of corruption. In a drawing most values
# are of a few levels, and those beside a line, off by a little, would make paper of all of it.
FAR, FAR_IN_DRAWING = 1.0, 3.0


class Prior:
    """π and c, and the start that they amount to.

    Parameters
    ----------
    y : Tensor (1, C, H, W) in [0, 1]
        The observation.
    strength : float
        What the odds are multiplied by.
    adds_up : bool
        Whether the log-odds of a pixel's channels add.
    drawn : bool
        Whether it is a drawing (`content.is_drawn`).

    Attributes
    ----------
    share : Tensor ()
        π.
    density : Tensor (C, LEVELS)
        c.
    by_level : bool
        Whether the density of the levels counts.
    """

    def __init__(self, y: Tensor, strength: float = 1.0, adds_up: bool = False, drawn: bool = False) -> None:
        self.y, self._strength, self._adds_up = y, strength, adds_up
        self._far = FAR_IN_DRAWING if drawn else FAR
        self.share = torch.tensor(FIRST_SHARE, device=y.device)
        self.density = torch.ones(y.shape[1], LEVELS, device=y.device)
        self.by_level = True

    def start(self, y: Tensor, scale: Tensor) -> Tensor:
        """γ of values y, predicted with the scale b."""
        odds = self._strength * self.share / (1 - self.share)
        if self._adds_up:  # the channels of a pixel, whose odds multiply, have these once
            odds = odds ** (1 / y.shape[1])
        # Of a value at either end, the tail beyond it is clean too: γ² is that of a scale of one level.
        spread = torch.where(is_extreme(y), 1 / LEVELS, scale)
        return (2 * odds * spread).mul_(self.density.flatten()[cells(y)]).sqrt_()

    def fit(self, corruption: SparseCorruption, residual: Tensor, scale: Tensor, early: bool = False) -> None:
        """Take π, and c if levels count, from what u and v say of every value, given P − y and b.

        Where dense noise is of few levels, a value of another level that is hard to predict is detail, of which hardly
        any is left to see. Once it is taken for corruption it teaches nothing, and stays hard to predict: so early,
        while there are rounds to come, it is not.
        """
        share = torch.zeros_like(self.share)
        exact = torch.float32 if self.y.device.type == "mps" else torch.float64  # which mps does not have
        counts = torch.zeros(self.density.numel(), device=self.y.device, dtype=exact)
        for rows in bands(self.y):
            corrupted = 1 - trust_of(corruption[..., rows, :])
            share += corrupted.sum() / self.y.numel()
            # What is as predicted says nothing of the levels of corruption: it is mostly clean, and all of one level on
            # the paper of a page, which would be flagged by its own number.
            corrupted.mul_(residual[..., rows, :].abs() > self._far * scale[..., rows, :])
            levels = cells(self.y[..., rows, :]).flatten()
            counts += torch.bincount(levels, corrupted.to(exact).flatten(), counts.numel())
        self.share = share.clamp(LEAST_SHARE, MOST_SHARE)
        if self.by_level:
            counts = counts.view_as(self.density).float()
            # One more of every level: a handful of values found says nothing yet of the levels of the next.
            of_others = 1 + UNIFORM * counts.mean(1, keepdim=True)
            self.density = _relative(counts + of_others)
            common = self.density > COMMON
            if self.share > DENSE and self.density[common].sum() > MOSTLY * self.density.sum():
                self.density = _relative(counts + OTHERS * of_others)
                if early:
                    self.density = torch.where(common, self.density, self.density.clamp(max=NEARLY_NONE))

    def state(self) -> dict[str, Any]:
        """What was fitted so far: tensors and a number."""
        return {"share": self.share, "density": self.density, "by_level": self.by_level}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.share, self.density = (state[name].to(self.y.device, copy=True) for name in ("share", "density"))
        self.by_level = state["by_level"]

    def forget(self, share: float) -> None:
        """Set π, and go by levels no longer."""
        self.share.fill_(share)
        self.density.fill_(1)
        self.by_level = False


def _relative(counts: Tensor) -> Tensor:
    return counts / counts.mean(1, keepdim=True)


def before_any_prediction(
    y: Tensor, mask: Tensor | None, protected: Tensor | None, marks: Tensor | None = None
) -> SparseCorruption:
    """Return u = v by what is known, or guessed, before the network has said anything.

    Parameters
    ----------
    y : Tensor (1, C, H, W) in [0, 1]
    mask, protected : Tensor or None, bool, the shape of y
        Where values are corrupted for certain, u = v = ∞, and all others clean; where they are clean for certain, 0.
    marks : Tensor (1, 1, H, W) or None
        The odds that a mark lies over a pixel.
    """
    if mask is not None:
        trust = (~mask).to(y.dtype)
    else:
        trust = torch.empty_like(y)
        for tile in tiles(y.shape[-2], y.shape[-1], TILE):
            trust[..., *tile.inner] = first_guess(y[..., *tile.outer])[..., *tile.inner_of_outer]
    odds = trust.reciprocal_().sub_(1)  # ∞ where the mask says corrupted
    start = (odds if marks is None else odds.add_(marks)).sqrt_()
    return SparseCorruption.constant(start if protected is None else start.masked_fill_(protected, 0))


def trust_of(corruption: SparseCorruption) -> Tensor:
    """Return the posterior probability that a value is clean, by its odds max(u, v)² of being corrupted."""
    return corruption.odds.add_(1).reciprocal_()


def level(y: Tensor) -> Tensor:
    """The level of each value, from 0 to LEVELS − 1."""
    return (y * (LEVELS - 1)).round().clamp(0, LEVELS - 1).long()


def cells(y: Tensor) -> Tensor:
    """Which entry of the level density each value has: its level, counted on from channel to channel."""
    return level(y) + LEVELS * torch.arange(y.shape[1], device=y.device).view(1, -1, 1, 1)


def is_extreme(y: Tensor) -> Tensor:
    """Where a value is at either end of the range."""
    return (y <= 0) | (y >= 1)
