"""Which values are corrupted: the sparse part s = u∘u − v∘v, with a rate and a start of (u, v) for every value.

Let P be a prediction of y made without seeing the value, b how far off it may be in the mean (the network says it of
every value, the residuals |y − P| of trusted values around correct it), π the share of corrupted values and c(q) the
density of the level q among them. Then (u, v) move on the residual P + s − y

    at the rate    α = 1 / (4b)                what is hard to predict is slow to be called corrupted,
    from           γ² = 2b·c(y)·π / (1 − π)    what looks like known corruption is quick to be,

so that λ = −log γ / (2α) = b·log((1 − π) / (2b·c·π)). While s is small the flow makes

    u² or v² = γ²·exp(|y − P| / b) = π·c(y) / ((1 − π)·exp(−|y − P| / b) / 2b),

the odds of corruption of a two-component mixture, Laplace residual against c: the multiplicative growth of u, v *is*
Bayes' rule. Once s explains a part of the residual, u and v feel only the rest of it, and the odds are
max(u, v)²·exp(|s| / b). π and c are fitted to what was found, round by round (expectation maximization), which is how
fixed values (black and white specks, the colour of a lettering) are recognized without a word about them.

Three things are not sparse corruption: a value at either end of the range where the network expects it there (it stands
for all that was clipped); a row or column that is wrong as a whole, the frame of an old scan or a dead line of a sensor
(its b is enlarged until it is left alone); and what covers much of a picture in connected pieces, print or drawing
(`clusters` tells it, held_out.py acquits it).
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from dipsop.restoration.config import Polarity
from dipsop.restoration.surroundings import LEAST_TRUST, local_sum, ring, weighted_mean
from dipsop.sop import SparseCorruption, effective_lambda

LEVELS = 256
# How much of the level density stays uniform: a level that was never seen corrupted may still be.
UNIFORM = 0.005
BAND = 1 << 20  # pixels that are worked on at a time
MOST_RESIDUAL = 0.3  # where nothing can be predicted
# Of corrupted values. Were the least as large as 0.005, it would condemn some values of every clean picture.
LEAST_SHARE, MOST_SHARE = 1e-5, 0.8
# A row or column whose median residual is more than so many times what it ought to be is wrong as a whole.
MOST_OFF = 2.0
TOGETHER = 0.25  # of the way from chance to always: from there on a pixel is taken to be hit as a whole
CLUSTERED = 0.1  # the same of a pixel's neighbours: from there on corruption is taken to come in clusters
LEAST_CLUSTERED = 0.002  # share of pixels of which that can be said


class Evidence:
    """Trust in every value of an observation, by the sparse part that its prediction asks for.

    Parameters
    ----------
    y : Tensor (1, C, H, W) in [0, 1]
        The observation.
    trust : Tensor, the shape of y, in [0, 1]
        A first guess of the probability that a value is clean.
    least_residual : float > 0
        Floor of b.
    shared : bool
        One (u, v) for all channels of a pixel: their evidence adds up, and they are found corrupted together.
    polarity : "both", "salt" or "pepper"
        Look for any corruption, for values that are too bright alone, or for values that are too dark alone.
    strength : float > 0
        Factor on the odds of corruption.
    protected : Tensor or None, bool, the shape of y
        Values that are clean, whatever the evidence.
    """

    def __init__(
        self,
        y: Tensor,
        trust: Tensor,
        least_residual: float,
        shared: bool,
        polarity: Polarity = "both",
        strength: float = 1.0,
        protected: Tensor | None = None,
    ) -> None:
        self.y, self.trust, self.least_residual, self.shared = y, trust, least_residual, shared
        self.polarity, self.strength, self.protected = polarity, strength, protected
        self.scale = torch.full_like(y, least_residual)
        self.share = torch.tensor(0.3, device=y.device)
        self.density = torch.ones(y.shape[1], LEVELS, device=y.device)
        self.by_level = torch.tensor(True)
        _, channels, height, width = y.shape
        self.by_row = torch.ones(1, channels, height, 1, device=y.device)
        self.by_column = torch.ones(1, channels, 1, width, device=y.device)
        self._window = ring(2.0, 5, y.device)

    def update(self, predicted: Tensor, scale: Tensor, rounds: int = 2, lasting: float = math.inf) -> None:
        """Judge every value anew by its residual against a prediction made without seeing it.

        Parameters
        ----------
        predicted, scale : Tensor, the shape of y; overwritten
            What the values are predicted to be, and how far off that is said to be in the mean. Only what it says of
            one value against another counts: how far off it is in all, the residuals of trusted values tell.
        rounds : int
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
        innocent = self._cannot_be_corrupted(distance)
        distance.abs_()
        for rows in bands(self.y):
            distance[..., rows, :] -= 0.5 / (LEVELS - 1) * is_extreme(self.y[..., rows, :])
        for _ in range(rounds):
            for rows in bands(self.y):
                self.scale[..., rows, :] = self._calibrated(scale, distance, rows)
            self.by_row, self.by_column = self._line_factors(distance)
            for rows in bands(self.y):
                band = self.scale[..., rows, :]
                band *= torch.maximum(self.by_row[..., rows, :], self.by_column)
                self.trust[..., rows, :] = self._trust(self.y[..., rows, :], distance[..., rows, :], band)
                if innocent is not None:
                    self.trust[..., rows, :].masked_fill_(innocent[..., rows, :], 1)
            if before is not None and (before & self.found()).sum() >= lasting * before.sum():
                self.trust.masked_fill_(before, 0)
            self.share = (1 - self.trust.mean()).clamp(LEAST_SHARE, MOST_SHARE)
            if self.by_level:
                self.density = self._level_density(distance)

    def found(self) -> Tensor:
        """Where corruption is more likely than not, bool, the shape of y."""
        return self.trust < 0.5

    def hits_pixels(self) -> bool:
        """Whether corruption hits the channels of a pixel together, more often than by chance.

        If each value were hit by itself with probability π, so would be all of a share π^(C−1) of what is hit.
        """
        channels = self.y.shape[1]
        if self.shared or channels == 1:
            return True
        suspect = together = 0.0
        for rows in bands(self.y):
            s = 1 - self.trust[..., rows, :]
            suspect += float(s.sum()) / channels
            together += float(s.prod(1).sum())
        by_chance = (suspect * channels / self.y.numel()) ** (channels - 1)
        return together / max(suspect, 1e-6) > by_chance + TOGETHER * (1 - by_chance)

    def acquit(self) -> None:
        """Trust everything, forget what corruption looked like, and no longer go by its levels."""
        self.trust.fill_(1)
        self.share.fill_(LEAST_CLUSTERED)
        self.density.fill_(1)
        self.by_level.fill_(False)

    def clusters(self) -> float:
        """Return the share of pixels found corrupted, if their neighbours are more often than by chance, else 0.

        Scratches, letters and grains of dust are so; and so is a page of print that was taken for corruption.
        """
        neighbours = torch.full((3, 3), 1 / 8, device=self.y.device)
        neighbours[1, 1] = 0
        suspect = total = beside = 0.0
        for rows in bands(self.y):
            s = 1 - self.trust[..., rows, :].amin(1, keepdim=True)
            suspect += float(s.sum())
            beside += float((s * local_sum(s, neighbours)).sum())
            total += s.numel()
        by_chance = suspect / total
        clustered = by_chance > LEAST_CLUSTERED and beside / suspect > by_chance + CLUSTERED * (1 - by_chance)
        return by_chance if clustered else 0.0

    def sparse_corruption(self, network_output: Tensor) -> SparseCorruption:
        """(u, v) when their flow has run on to its end: s = y − f where the switch was thrown, 0 elsewhere."""
        s = torch.where(self.found(), self.y - network_output, 0)
        return SparseCorruption(s.clamp(min=0).sqrt_(), s.neg_().clamp_(min=0).sqrt_())

    def effective_lambda(self) -> Tensor:
        """The median of λ, over at most a million values."""
        thin = slice(None, None, 1 + math.isqrt(self.y.numel() >> 20))
        y, scale = self.y[..., thin, thin], self.scale[..., thin, thin]
        init_scale = torch.exp(0.5 * (self._log_start(y, scale) + torch.logit(self.share)))
        return effective_lambda(1 / (4 * scale), init_scale).median().clamp(min=0)

    def state(self) -> dict[str, Tensor]:
        """What was judged so far."""
        names = ("trust", "scale", "share", "density", "by_row", "by_column", "by_level")
        return {name: getattr(self, name) for name in names}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a state."""
        for name, tensor in self.state().items():
            setattr(self, name, state[name].to(tensor.device))

    def _cannot_be_corrupted(self, too_dark: Tensor) -> Tensor | None:
        """Where a value is protected, or off to the side that is not looked for; `too_dark` is P − y."""
        if self.polarity == "both":
            return self.protected
        other_side = too_dark > 0 if self.polarity == "salt" else too_dark < 0
        return other_side if self.protected is None else other_side | self.protected

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
            self.least_residual, MOST_RESIDUAL
        )

    def _line_factors(self, distance: Tensor) -> tuple[Tensor, Tensor]:
        """How much larger b is in rows and in columns that are wrong as a whole, 1 in the others.

        Among the share 1 − π of clean values, those of smaller residuals, the median of |y − P| / b ought to be log 2.
        """

        def factor(ratio: Tensor, axis: int) -> Tensor:
            rank = max(1, round(float(1 - self.share) / 2 * ratio.shape[axis]))
            middle = ratio.kthvalue(rank, axis, keepdim=True).values / math.log(2)
            return torch.where(middle > MOST_OFF, middle, 1)

        pairs = ((distance[..., rows, :], self.scale[..., rows, :]) for rows in bands(self.y))
        by_row = [factor(d / b, -1) for d, b in pairs]
        columns = bands(self.y.transpose(-1, -2))
        by_column = [factor(distance[..., c] / self.scale[..., c], -2) for c in columns]
        return torch.cat(by_row, -2), torch.cat(by_column, -1)

    def _trust(self, y: Tensor, distance: Tensor, scale: Tensor) -> Tensor:
        # What is predicted to be beyond the range is so nearly for certain, whatever b says.
        log_start = self._log_start(y, scale) - torch.log(2 - torch.exp(4 * LEVELS * distance.clamp(max=0)))
        distance = distance.clamp(min=0)
        if self.shared:
            # A pixel's residual is the sum of its channels', each in units of its own scale.
            pixel_scale = scale.mean(1, keepdim=True)
            distance, scale = (distance * (pixel_scale / scale)).sum(1, keepdim=True), pixel_scale
            log_start = log_start.sum(1, keepdim=True)
        log_start = log_start + torch.logit(self.share) + math.log(self.strength)
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
            # the paper of a page, which would be condemned by its own number.
            suspect = (1 - self.trust[..., rows, :]) * (distance[..., rows, :] > self.scale[..., rows, :])
            levels = cells(self.y[..., rows, :]).flatten()
            counts += torch.bincount(levels, suspect.double().flatten(), counts.numel())
        counts = counts.view_as(self.density).float()
        # One more of every level: a handful of values found says nothing yet of the levels of the next.
        counts = counts + 1 + UNIFORM * counts.mean(1, keepdim=True)
        return counts / counts.mean(1, keepdim=True)


def bands(picture: Tensor) -> Iterator[slice]:
    """Rows to work on at a time: the temporaries of a judgement, a dozen, are of a million pixels and not of all."""
    height, width = picture.shape[-2:]
    step = max(16, BAND // width)
    return (slice(top, min(height, top + step)) for top in range(0, height, step))


def cells(y: Tensor) -> Tensor:
    """Which entry of the level density each value has: its level, counted on from channel to channel."""
    level = (y * (LEVELS - 1)).round().clamp(0, LEVELS - 1).long()
    return level + LEVELS * torch.arange(y.shape[1], device=y.device).view(1, -1, 1, 1)


def is_extreme(y: Tensor) -> Tensor:
    """Where a value is at either end of the range."""
    return (y <= 0) | (y >= 1)
