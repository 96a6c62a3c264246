"""Which values are corrupted: the sparse part s = u∘u − v∘v, with a rate and a start of (u, v) for every value.

Let P be a prediction of y made without seeing the value, b how far off it may be in the mean (the network says it of
every value, the residuals |y − P| of trusted values around correct it), π the share of corrupted values and c(q) the
density of the level q among them. Then (u, v) move on the residual P + s − y

    at the rate    α = 1 / (4b)                what is hard to predict is slow to be called corrupted,
    from           γ² = 2b·c(y)·π / (1 − π)    what looks like known corruption is quick to be,

so that λ = −log γ / (2α) = b·log((1 − π) / (2b·c·π)). While s is small the flow makes

    u² or v² = γ²·exp(|y − P| / b) = π·c(y) / ((1 − π)·exp(−|y − P| / b) / 2b),

the posterior odds of corruption of a two-component mixture, Laplace residual against c: the multiplicative growth of
u, v *is* Bayes' rule. Once s explains a part of the residual, u and v feel only the rest of it, and the odds are
max(u, v)²·exp(|s| / b). π and c are fitted to what was found, round by round (expectation maximization), which is how
fixed values (black and white specks, the colour of a lettering) are recognized without a word about them.

Three things would be false alarms, and are left alone: a value at either end of the range where the network expects it
there (it stands for all that was clipped); a row or column that is wrong as a whole (its b is enlarged until it is
trusted); and what covers much of a picture in connected pieces, print or drawing (structure.py tells).
"""

import math
from typing import Any

import torch
from torch import Tensor

from dipsop.pictures.tiles import TILE, tiles
from dipsop.restoration import structure
from dipsop.restoration.config import DetectionConfig
from dipsop.restoration.local_stats import LEAST_TRUST, bands, first_guess, ring, weighted_mean
from dipsop.sop import SparseCorruption, effective_lambda

LEVELS = 256
# How much of the level density stays uniform: a level that was never seen corrupted may still be.
UNIFORM = 0.005
MOST_RESIDUAL = 0.3  # where nothing can be predicted
# Of corrupted values. Were the least as large as 0.005, it would flag some values of every clean picture.
LEAST_SHARE, MOST_SHARE = 1e-5, 0.8
# What covers more than this share of the pixels in connected pieces is print or drawing, not damage.
MOST_CLUSTERED = 0.1
# Of the strokes found, a network that learns the picture finds 95 % once more, of print that it took for them 15 %.
LASTING = 0.8
_STATE = ("trust", "scale", "share", "density", "by_row", "by_column", "by_level", "by_pixel", "rounds_done")


class Detection:
    """The posterior of every value of an observation, by the sparse part that its prediction asks for.

    Parameters
    ----------
    y : Tensor (1, C, H, W) in [0, 1]
        The observation.
    config : DetectionConfig
    mask : Tensor or None, bool, the shape of y
        Where the values are corrupted, if that is known: then nothing else is looked for.
    protected : Tensor or None, bool, the shape of y
        Values that are clean, whatever the evidence.
    first_rounds : int
        How many rounds go before the network has learned from this picture.

    Attributes
    ----------
    trust : Tensor, the shape of y, in [0, 1]
        The posterior probability that a value is clean.
    scale : Tensor, the shape of y
        b.
    by_pixel : bool
        Whether the channels of a pixel are corrupted together, and have to be hidden together.
    """

    def __init__(
        self,
        y: Tensor,
        config: DetectionConfig,
        mask: Tensor | None = None,
        protected: Tensor | None = None,
        first_rounds: int = 0,
    ) -> None:
        self.y, self.config, self.first_rounds = y, config, first_rounds
        self.known, self._protected = mask is not None, protected
        self.trust = _first_trust(y, mask, protected)
        self.scale = torch.full_like(y, config.least_residual)
        self.share = torch.tensor(0.3, device=y.device)
        self.density = torch.ones(y.shape[1], LEVELS, device=y.device)
        self.by_level = True  # whether the density of the levels counts
        self.by_row, self.by_column = torch.ones_like(y[..., :1]), torch.ones_like(y[..., :1, :])
        self.rounds_done = 0
        # What is connected is content in a drawing, however little it is; in a photograph, a page of print is.
        self._most_clustered = 0.0 if structure.is_drawn(y) else MOST_CLUSTERED
        self.by_pixel = self._hits_pixels()
        self._window = ring(2.0, 5, y.device)

    def round(self, predicted: Tensor, scale: Tensor) -> None:
        """Take one round: let (u, v) follow the residuals, and set aside what is print or drawing.

        Parameters
        ----------
        predicted, scale : Tensor, the shape of y; overwritten
            See `update`.
        """
        learned = self.rounds_done >= max(1, self.first_rounds)  # else there is nothing yet that could be forgotten
        self.update(predicted, scale, lasting=self._lasting() if learned else math.inf)
        self.rounds_done += 1
        # The first rounds still have many false alarms.
        if self.rounds_done >= self.first_rounds and not self.config.scratches:
            self._leave_print_alone()
        self.by_pixel = self._hits_pixels()

    def update(self, predicted: Tensor, scale: Tensor, iterations: int = 2, lasting: float = math.inf) -> None:
        """Fit (u, v), π and c anew, by the residuals against a prediction made without seeing the value.

        Parameters
        ----------
        predicted, scale : Tensor, the shape of y; overwritten
            What the values are predicted to be, and how far off that is said to be in the mean. Only what it says of
            one value against another counts: how far off it is in all, the residuals of trusted values tell.
        iterations : int
            Of expectation maximization.
        lasting : float
            Where at least this share of the corruption found before is found again, all of it stays found: u and v that
            have grown do not shrink again. A network that goes on learning from the part of a scratch that was missed
            comes to predict, by and by, the part that was found. Print and fine detail it learns at once.
        """
        before = self.found() if lasting < math.inf else None
        # A value at either end of the range stands for all beyond: it begins half a level inside, and is the more
        # likely, the further the prediction lies beyond that.
        distance = predicted.clamp_(0, 1).sub_(self.y)
        ruled_out = self._ruled_out(distance)
        distance.abs_()
        for rows in bands(self.y):
            distance[..., rows, :] -= 0.5 / (LEVELS - 1) * is_extreme(self.y[..., rows, :])
        for _ in range(iterations):
            for rows in bands(self.y):
                self.scale[..., rows, :] = self._calibrated(scale, distance, rows)
            self.by_row, self.by_column = structure.line_factors(distance, self.scale, float(1 - self.share))
            for rows in bands(self.y):
                band = self.scale[..., rows, :]
                band *= torch.maximum(self.by_row[..., rows, :], self.by_column)
                self.trust[..., rows, :] = self._posterior(self.y[..., rows, :], distance[..., rows, :], band)
                if ruled_out is not None:
                    self.trust[..., rows, :].masked_fill_(ruled_out[..., rows, :], 1)
            if before is not None and (before & self.found()).sum() >= lasting * before.sum():
                self.trust.masked_fill_(before, 0)
            self.share = (1 - self.trust.mean()).clamp(LEAST_SHARE, MOST_SHARE)
            if self.by_level:
                self.density = self._level_density(distance)

    def found(self) -> Tensor:
        """Where corruption is more likely than not, bool, the shape of y."""
        return self.trust < 0.5

    def sparse_corruption(self, network_output: Tensor) -> SparseCorruption:
        """(u, v) when their flow has run on to its end: s = y − f where the switch was thrown, 0 elsewhere."""
        s = torch.where(self.found(), self.y - network_output, 0)
        return SparseCorruption(s.clamp(min=0).sqrt_(), s.neg_().clamp_(min=0).sqrt_())

    def effective_lambda(self) -> float | None:
        """The median of λ, over at most a million values; None where the mask is known, and λ decides nothing."""
        if self.known:
            return None
        thin = slice(None, None, 1 + math.isqrt(self.y.numel() >> 20))
        y, scale = self.y[..., thin, thin], self.scale[..., thin, thin]
        init_scale = torch.exp(0.5 * (self._log_start(y, scale) + torch.logit(self.share)))
        return float(effective_lambda(1 / (4 * scale), init_scale).median().clamp(min=0))

    def state(self) -> dict[str, Any]:
        """What was found so far: tensors and numbers."""
        return {name: getattr(self, name) for name in _STATE}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        for name in _STATE:
            value = state[name]
            setattr(self, name, value.to(self.y.device) if isinstance(value, Tensor) else value)

    def _hits_pixels(self) -> bool:
        whole = self.config.scratches or self.config.shared_corruption
        return whole or structure.hits_pixels(self.trust)

    def _leave_print_alone(self) -> None:
        """Take everything for clean where print or drawing was taken for corruption, and no longer go by levels."""
        if structure.clusters(self.trust) > self._most_clustered:
            self.trust.fill_(1)
            self.share.fill_(structure.LEAST_CLUSTERED)
            self.density.fill_(1)
            self.by_level = False

    def _lasting(self) -> float:
        """Which share of what was found has to be found again for all of it to stay: strokes last, print does not."""
        if self.config.scratches:
            return 0.0
        return LASTING if self.by_level and structure.clusters(self.trust) else math.inf

    def _ruled_out(self, too_dark: Tensor) -> Tensor | None:
        """Where a value is protected, or off to the side that is not looked for; `too_dark` is P − y."""
        if self.config.polarity == "both":
            return self._protected
        other_side = too_dark > 0 if self.config.polarity == "salt" else too_dark < 0
        return other_side if self._protected is None else other_side | self._protected

    def _calibrated(self, scale: Tensor, distance: Tensor, rows: slice) -> Tensor:
        """b: the scale said, times the ratio of the trusted residuals around to what is said of them.

        Lines that are wrong as a whole do not count: all of such a line is trusted, and its residuals would enlarge b
        around, until its neighbours are trusted whatever they hold.
        """
        reach = self._window.shape[-1] // 2
        around = slice(max(0, rows.start - reach), rows.stop + reach)
        wrong = torch.maximum(self.by_row[..., around, :], self.by_column) > 1
        weight = self.trust[..., around, :].masked_fill(wrong, 0) + LEAST_TRUST
        seen, said = (weighted_mean(x[..., around, :].abs(), weight, self._window) for x in (distance, scale))
        b = scale[..., around, :] * seen / said.clamp(min=1e-4)
        return b[..., rows.start - around.start :, :][..., : rows.stop - rows.start, :].clamp(
            self.config.least_residual, MOST_RESIDUAL
        )

    def _posterior(self, y: Tensor, distance: Tensor, scale: Tensor) -> Tensor:
        """Probability that a value is clean."""
        # What is predicted to be beyond the range is so nearly for certain, whatever b says.
        log_start = self._log_start(y, scale) - torch.log(2 - torch.exp(4 * LEVELS * distance.clamp(max=0)))
        distance = distance.clamp(min=0)
        if self.config.shared_corruption:
            # A pixel's residual is the sum of its channels', each in units of its own scale.
            pixel_scale = scale.mean(1, keepdim=True)
            distance, scale = (distance * (pixel_scale / scale)).sum(1, keepdim=True), pixel_scale
            log_start = log_start.sum(1, keepdim=True)
        log_start = log_start + torch.logit(self.share) + math.log(self.config.strength)
        corruption = SparseCorruption.constant(torch.exp(0.5 * log_start))
        corruption.settle(distance, 1 / (4 * scale))
        odds = corruption.u.square() * torch.exp(corruption.value.abs() / scale)
        return (1 / (1 + odds)).expand_as(y)

    def _log_start(self, y: Tensor, scale: Tensor) -> Tensor:
        """log of 2b·c(y)."""
        # Of a value at either end, the tail beyond it is clean too: γ² is that of a scale of one level.
        spread = torch.where(is_extreme(y), 1 / LEVELS, scale)
        return torch.log(2 * spread * self.density.flatten()[cells(y)])

    def _level_density(self, distance: Tensor) -> Tensor:
        counts = torch.zeros(self.density.numel(), device=self.y.device, dtype=torch.float64)
        for rows in bands(self.y):
            # What is as predicted says nothing of the levels of corruption: it is mostly clean, and all of one level on
            # the paper of a page, which would be flagged by its own number.
            corrupted = (1 - self.trust[..., rows, :]) * (distance[..., rows, :] > self.scale[..., rows, :])
            levels = cells(self.y[..., rows, :]).flatten()
            counts += torch.bincount(levels, corrupted.double().flatten(), counts.numel())
        counts = counts.view_as(self.density).float()
        # One more of every level: a handful of values found says nothing yet of the levels of the next.
        counts = counts + 1 + UNIFORM * counts.mean(1, keepdim=True)
        return counts / counts.mean(1, keepdim=True)


def _first_trust(y: Tensor, mask: Tensor | None, protected: Tensor | None) -> Tensor:
    """What is trusted before the network has said anything."""
    if mask is not None:
        trust = (~mask).to(y.dtype)
    else:
        trust = torch.empty_like(y)
        for tile in tiles(y.shape[-2], y.shape[-1], TILE):
            trust[..., *tile.inner] = first_guess(y[..., *tile.outer])[..., *tile.inner_of_outer]
    return trust if protected is None else trust.masked_fill_(protected, 1)


def cells(y: Tensor) -> Tensor:
    """Which entry of the level density each value has: its level, counted on from channel to channel."""
    level = (y * (LEVELS - 1)).round().clamp(0, LEVELS - 1).long()
    return level + LEVELS * torch.arange(y.shape[1], device=y.device).view(1, -1, 1, 1)


def is_extreme(y: Tensor) -> Tensor:
    """Where a value is at either end of the range."""
    return (y <= 0) | (y >= 1)
