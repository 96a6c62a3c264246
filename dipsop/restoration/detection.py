"""Which values are corrupted: the sparse part s = u∘u − v∘v, with a rate and a start of (u, v) for every value.

Let P be a prediction of y made without seeing the value, b how far off it may be in the mean (the network says it of
every value, the residuals |y − P| of trusted values around correct it), π the share of corrupted values and c(q) the
density of the level q among them. At every round (u, v) follow the residual P − y for one unit of time

    at the rate    α = 1 / (4b)                what is hard to predict is slow to be called corrupted,
    from           γ² = 2b·c(y)·π / (1 − π)    what looks like known corruption is quick to be,

and arrive at

    u² = γ²·exp((y − P) / b), large where y is too bright,    v² = γ²·exp((P − y) / b), large where it is too dark,

    max(u, v)² = γ²·exp(|y − P| / b) = π·c(y) / ((1 − π)·exp(−|y − P| / b) / 2b),

the posterior odds of corruption of a two-component mixture, Laplace residual against c: the multiplicative growth of
u, v *is* Bayes' rule. Found is what has odds above 1, and that is |y − P| > λ = −log γ / (2α). π and c are fitted to
what was found, round by round (prior.py).

Whatever else is known of a value is in the start of its u and v. That of u is 0 if nothing is too bright, that of v if
nothing is too dark, both where a value is clean for certain; from ∞ it is corrupted for certain. Two networks have seen
what goes wrong: one sees scratches and lettering by their shape, and its odds of these are added to those of noise
(marks.py); the look adds to the log-odds what is around a value (look.py). Where there is no look, and the channels of
a pixel share their corruption, the start of each has the odds of the others as a factor: their log-odds add.

(u, v) stand until the next round, which starts them again at its γ. It asks nearly the same network: were they moved on
from where they stand, the same residual would count as often as it is asked for.

Three things would be false alarms, and are left alone: a value at either end of the range where the network expects it
there (it stands for all that was clipped); a row or column that is wrong as a whole (its b is enlarged until it is
trusted); and print or drawing, which was taken for corruption (content.py).
"""

import math
from typing import Any

import torch
from torch import Tensor

from dipsop.restoration import structure
from dipsop.restoration.config import DetectionConfig
from dipsop.restoration.content import Content
from dipsop.restoration.local_stats import LEAST_TRUST, bands, corrected_scale, ring
from dipsop.restoration.look import MOST_ALONE, Asked, confirmed
from dipsop.restoration.prior import DENSE, LEVELS, Prior, before_any_prediction, is_extreme, trust_of
from dipsop.sop import SparseCorruption, effective_lambda

OF_MARKS = 0.2  # how much of the residual over a mark counts (by logistic regression): its neighbours are off, too
MOST_RESIDUAL = 0.3  # where nothing can be predicted
HALF_LEVEL = 0.5 / (LEVELS - 1)
SPARSE = 0.2  # π up to which the look counts whole; from DENSE on it does not
# What residuals find in connected pieces is strokes if the look confirms more than this share of it. Of strokes it
# confirmed a sixth or more, of what only looks like them (windows, twigs, print) a twelfth.
CONFIRMED = 0.125
LEAST_PROBABILITY = 0.1  # of corruption, below which a value stays what it is, bit for bit
# How much of the likely corruption may be doubtful, found nowhere: in noise it is up to half, in the fine detail of a
# clean photograph nearly all, and that is left as it is.
MOST_DOUBTFUL = 0.75
# How far a residual is followed, in units of b: the odds are certain there, and would overflow further on.
MOST_FOLLOWED = 50.0
# Of the strokes found, a network that learns the picture finds 95 % once more, of print that it took for them 13 %.
LASTING = 0.8
LATE_ROUNDS = 2  # the last ones, by a network that has seen the picture
_STATE = ("found", "scale", "context", "by_row", "by_column", "by_pixel", "rounds_done")


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
    look : Asked or None
        Says at every round what is to be added to the log-odds; without one, residuals alone count.
    marks : Tensor (1, 1, H, W) or None
        The odds that a mark lies over a pixel, 0 where none stands out (`marks.marks_over`).

    Attributes
    ----------
    corruption : SparseCorruption, of the shape of y
        u and v as the last round left them, float32.
    found : Tensor, bool, the shape of y
        Where corruption is more likely than not.
    scale : Tensor, the shape of y
        b.
    context : Tensor or None
        What the look added to the log-odds at the last round, as far as `effective_lambda` asks.
    content : Content
        Print and drawing that were taken for corruption.
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
        look: Asked | None = None,
        marks: Tensor | None = None,
    ) -> None:
        self.y, self.config, self.first_rounds, self.look, self.marks = y, config, first_rounds, look, marks
        self._marked = torch.zeros_like(y[:, :1], dtype=torch.bool) if marks is None else marks > 0
        self.known, self._protected = mask is not None, protected
        self.corruption = before_any_prediction(y, mask, protected, marks)
        self.found = self.corruption.odds > 1
        self.scale = torch.full_like(y, config.least_residual)
        # By residuals alone the log-odds of channels that share add; a look has learned what they say together.
        self._adds_up = config.shared_corruption and look is None
        self.context: Tensor | None = None
        self.content = Content(y, self._marked)
        self.prior = Prior(y, config.strength, self._adds_up, self.content.drawn)
        self.by_row, self.by_column = torch.ones_like(y[..., :1]), torch.ones_like(y[..., :1, :])
        self.rounds_done = 0
        self._early_rounds = first_rounds + config.rounds - LATE_ROUNDS
        self.by_pixel = self._hits_pixels()
        self._window = ring(2.0, 5, y.device)

    def round(self, predicted: Tensor, scale: Tensor) -> None:
        """Take one round: let (u, v) follow the residuals, look around, and set aside what is print or drawing.

        Parameters
        ----------
        predicted, scale : Tensor, the shape of y; overwritten
            See `update`.
        """
        learned = self.rounds_done >= max(1, self.first_rounds)  # else there is nothing yet that could be forgotten
        lasting = self._lasting() if learned else math.inf
        self.update(predicted, scale, lasting=lasting)
        self.context = None
        if self.look is not None and (heeded := self._heeded()):
            self._look_around(self.look, residual=predicted, heeded=heeded)  # `update` has left P − y in the place of P
        self.rounds_done += 1
        # The first rounds still have many false alarms.
        if self.rounds_done >= self.first_rounds:
            self._leave_content_alone()
        self.by_pixel = self._hits_pixels()

    def update(self, predicted: Tensor, scale: Tensor, iterations: int = 2, lasting: float = math.inf) -> None:
        """Fit (u, v), π and c anew, by the residuals against a prediction made without seeing the value.

        Parameters
        ----------
        predicted, scale : Tensor, the shape of y; overwritten, P by P − y
            What the values are predicted to be, and how far off that is said to be in the mean. Only what it says of
            one value against another counts: how far off it is in all, the residuals of trusted values tell.
        iterations : int
            Of expectation maximization.
        lasting : float
            Where at least this share of the corruption found before is found again, all of it stays found: u and v that
            start at ∞ are found whatever the residual. The network comes to predict, by and by, the part that was
            found. Print and fine detail it learns at once.
        """
        before = self.found.clone() if lasting < math.inf else None
        residual = self._residual(predicted)
        for _ in range(iterations):
            for rows in bands(self.y):
                self.scale[..., rows, :] = self._calibrated(scale, residual, rows)
            self.by_row, self.by_column = structure.line_factors(residual, self.scale, float(1 - self.prior.share))
            for rows in bands(self.y):
                self.scale[..., rows, :].mul_(torch.maximum(self.by_row[..., rows, :], self.by_column))
                self._move(residual[..., rows, :], rows)
            if before is not None and (before & self.found).sum() >= lasting * before.sum():
                self._make_certain(before, math.inf)
            self.prior.fit(self.corruption, residual, self.scale, early=self.rounds_done < self._early_rounds)

    def posterior_mean(self, network_output: Tensor, replaced: Tensor | None = None) -> Tensor:
        """Return p·f + (1 − p)·y, p being the probability of corruption; y, bit for bit, where it is not `replaced`.

        That has the least squared error. Most of what was found is so nearly for certain. Whoever has asked for
        `replaced` hands it in, as it is a pass over the picture.
        """
        mean, replaced = self.y.clone(), self.replaced() if replaced is None else replaced
        for rows in bands(self.y):
            probability = self._probability(rows).masked_fill_(~replaced[..., rows, :], 0)
            mean[..., rows, :].lerp_(network_output[..., rows, :], probability)
        return mean

    def replaced(self) -> Tensor:
        """Where `posterior_mean` depends on f: bool, the shape of y.

        Where corruption is at all likely, that is. Where nothing was found in all of the picture, it stays as it is;
        where nearly all that is likely is doubtful, what was not found does.
        """
        if not self.found.any():
            return torch.zeros_like(self.found)
        likely, doubtful = map(sum, zip(*map(self._likely, bands(self.y)), strict=True))
        if doubtful > MOST_DOUBTFUL * likely:
            return self.found
        return torch.cat([self._probability(rows) > 0 for rows in bands(self.y)], -2)

    def _probability(self, rows: slice) -> Tensor:
        """That of corruption, 0 where it is small."""
        probability = trust_of(self.corruption[..., rows, :]).neg_().add_(1)
        return probability.masked_fill_(probability < LEAST_PROBABILITY, 0)

    def _likely(self, rows: slice) -> tuple[float, float]:
        """How much corruption there is likely to be, and how much of that where it was not found."""
        probability = self._probability(rows)
        return float(probability.sum()), float(probability.masked_fill_(self.found[..., rows, :], 0).sum())

    def sparse_corruption(self, network_output: Tensor) -> SparseCorruption:
        """(u, v) when their flow has run on to its end: s = y − f where the switch was thrown, 0 elsewhere."""
        s = torch.where(self.found, self.y - network_output, 0)
        return SparseCorruption(s.clamp(min=0).sqrt_(), s.neg_().clamp_(min=0).sqrt_())

    def effective_lambda(self) -> float | None:
        """The median of λ, over at most a million values; None where the mask is known, and λ decides nothing."""
        if self.known:
            return None
        y, scale = self._thinned(self.y), self._thinned(self.scale)
        start = self.prior.start(y, scale)
        if self.context is not None:
            start.mul_(self.context.div(2).exp_())
        return float(effective_lambda(1 / (4 * scale), start).median().clamp(min=0))

    def _thinned(self, picture: Tensor) -> Tensor:
        thin = slice(None, None, 1 + math.isqrt(self.y.numel() >> 20))
        return picture[..., thin, thin]

    def state(self) -> dict[str, Any]:
        """What was found so far: tensors and numbers."""
        of_this = {name: getattr(self, name) for name in _STATE}
        parts = {"prior": self.prior.state(), "content": self.content.state()}
        return {"u": self.corruption.u, "v": self.corruption.v, **parts, **of_this}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        device = self.y.device
        own: dict[str, Any] = {
            name: part.to(device, copy=True) if isinstance(part, Tensor) else part for name, part in state.items()
        }
        self.corruption = SparseCorruption(own["u"], own["v"])
        self.prior.load(own["prior"])
        self.content.load(own["content"])
        for name in _STATE:
            setattr(self, name, own[name])

    def _residual(self, predicted: Tensor) -> Tensor:
        """P − y, in the place of P."""
        residual = predicted.clamp_(0, 1).sub_(self.y)
        for rows in bands(self.y):
            # A value at either end of the range stands for all beyond: it begins half a level inside.
            y = self.y[..., rows, :]
            residual[..., rows, :] += HALF_LEVEL * (y >= 1) - HALF_LEVEL * (y <= 0)
        return residual

    def _calibrated(self, scale: Tensor, residual: Tensor, rows: slice) -> Tensor:
        """b: the scale said, times the ratio of the trusted residuals around to what is said of them.

        Lines that are wrong as a whole do not count: all of such a line is trusted, and its residuals would enlarge b
        around, until its neighbours are trusted whatever they hold.
        """
        reach = self._window.shape[-1] // 2
        around = slice(max(0, rows.start - reach), rows.stop + reach)
        wrong = torch.maximum(self.by_row[..., around, :], self.by_column) > 1
        weight = trust_of(self.corruption[..., around, :]).masked_fill_(wrong, 0) + LEAST_TRUST
        b = corrected_scale(scale[..., around, :], residual[..., around, :], weight, self._window)
        return b[..., rows.start - around.start :, :][..., : rows.stop - rows.start, :].clamp(
            self.config.least_residual, MOST_RESIDUAL
        )

    def _start(self, residual: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        """Return γ of some rows, by what is known of their values, and the residual as far as it is followed."""
        y, scale = self.y[..., rows, :], self.scale[..., rows, :]
        start = self.prior.start(y, scale)
        # What is predicted to be beyond the range is so nearly for certain, whatever b says.
        beyond = torch.where(y >= 1, residual, -residual).clamp_(min=0).mul_(is_extreme(y))
        start.div_((2 - torch.exp(-4 * LEVELS * beyond)).sqrt_())
        return start, residual.masked_fill(beyond > 0, 0).clamp(-MOST_FOLLOWED * scale, MOST_FOLLOWED * scale)

    def _move(self, residual: Tensor, rows: slice) -> None:
        """Let u and v of some rows follow the residual P − y from their start; found is |y − P| > λ."""
        corruption, rate = self.corruption[..., rows, :], 1 / (4 * self.scale[..., rows, :])
        start, residual = self._start(residual, rows)
        self._begin(corruption, start, rows)
        if self._adds_up:
            _raise_by_other_channels(corruption, residual, rate)
        too_bright = -residual > effective_lambda(rate, corruption.u)
        too_dark = residual > effective_lambda(rate, corruption.v)
        self.found[..., rows, :] = self._together(too_bright | too_dark, rows)
        corruption.flow_step(residual, rate)
        if self.marks is not None:
            self._add_marks(corruption, self.marks[..., rows, :], residual, rows)

    def _add_marks(self, corruption: SparseCorruption, marks: Tensor, residual: Tensor, rows: slice) -> None:
        """Add the odds that a mark lies over a pixel to those of noise; of one side alone, where it is off to that."""
        off = (residual.abs() / self.scale[..., rows, :]).amax(1, keepdim=True)
        odds = self.config.strength * marks * off.mul_(OF_MARKS).exp_()
        if self.config.polarity != "both":
            odds = odds * (residual < 0 if self.config.polarity == "salt" else residual > 0)
        for side in (corruption.u, corruption.v):
            side.copy_(torch.where(side > 0, side.square() + odds, 0).sqrt_())
        self.found[..., rows, :] = self._together(corruption.odds > 1, rows)

    def _look_around(self, look: Asked, residual: Tensor, heeded: float) -> None:
        """Add to the log-odds what the look says, or a part of it, by a factor on u and v.

        Log-odds beyond what it has seen are taken back to there, so that it can overrule them. What is certain stays.
        Of strokes it has not learned well enough where they end: residuals find more of them, and are left alone. But
        in windows, twigs and print that these take for strokes it sees nothing, and those are content.
        """
        context = look(self.y, residual, self.scale, self.corruption)
        if self.config.look != "always" and self.content.clusters(self.corruption):
            if confirmed(context, self.corruption) > CONFIRMED:
                return
            self.content.remember(self.corruption)
        self.context = self._thinned(context.mul_(heeded)).clone()
        for rows in bands(self.y):
            corruption = self.corruption[..., rows, :]
            log_odds = corruption.odds.log_()
            beyond = log_odds - log_odds.clamp(-MOST_ALONE, MOST_ALONE)
            added = context[..., rows, :] - heeded * beyond
            certain = log_odds.isinf() | self._marked[..., rows, :]
            factor = added.masked_fill_(certain, 0).div_(2).exp_()
            corruption.u.mul_(factor)
            corruption.v.mul_(factor)
            self.found[..., rows, :] = self._together(corruption.odds > 1, rows)

    def _together(self, found: Tensor, rows: slice) -> Tensor:
        """All channels of a pixel where one is found, if corruption is told to hit whole pixels; no protected ones."""
        if not self.config.shared_corruption:
            return found
        found = found.any(1, keepdim=True)
        return found if self._protected is None else found & ~self._protected[..., rows, :]

    def _heeded(self) -> float:
        """How much the look counts, from 0 to 1: it has not learned noise that is dense and hits values one by one."""
        if self.config.look == "always" or self.by_pixel:
            return 1.0
        return min(1.0, max(0.0, (DENSE - float(self.prior.share)) / (DENSE - SPARSE)))

    def _begin(self, corruption: SparseCorruption, start: Tensor, rows: slice) -> None:
        """Set u and v to γ; to 0 on the side that is not looked for or is print, both where a value is protected."""
        corruption.u.copy_(start)
        corruption.v.copy_(start)
        self.content.lower(corruption, rows)
        if self.config.polarity == "pepper":
            corruption.u.zero_()
        if self.config.polarity == "salt":
            corruption.v.zero_()
        if self._protected is not None:
            corruption.u.masked_fill_(self._protected[..., rows, :], 0)
            corruption.v.masked_fill_(self._protected[..., rows, :], 0)

    def _make_certain(self, where: Tensor, start: float) -> None:
        """Start u and v at 0 or at ∞, from where no residual moves them: clean or corrupted for certain."""
        self.corruption.u.masked_fill_(where, start)
        self.corruption.v.masked_fill_(where, start)
        self.found.masked_fill_(where, start > 1)

    def _hits_pixels(self) -> bool:
        return self.config.shared_corruption or structure.hits_pixels(self.corruption)

    def _leave_content_alone(self) -> None:
        """Take all but marks for clean where print or drawing was taken for corruption, and no longer go by levels.

        Of what a network leaves behind of a drawing, only that is taken for clean.
        Specks elsewhere are found at the next rounds, and say what to expect of those within print.
        """
        if self.content.recognize(self.corruption, self.found):
            self._make_certain(~self._marked, 0.0)
            self.prior.forget(structure.LEAST_CLUSTERED)
        elif (left := self.content.left_behind(self.found)) is not None:
            self._make_certain(left, 0.0)
        if not self.prior.by_level:
            self.content.learn_specks(self.found, float(self.prior.share))

    def _lasting(self) -> float:
        """Which share of what was found has to be found again for all of it to stay: strokes last, print does not."""
        return LASTING if self.prior.by_level and structure.clusters(self.corruption) else math.inf


def _raise_by_other_channels(corruption: SparseCorruption, residual: Tensor, rate: Tensor) -> None:
    """Multiply the start of each channel by the odds that the others come to, for pixels that are hit as a whole."""
    moved = SparseCorruption(corruption.u.clone(), corruption.v.clone())
    moved.flow_step(residual, rate)
    log_odds = moved.odds.log_().clamp_(min=-1e6)  # finite: those of a protected channel are −∞
    others = (log_odds.sum(1, keepdim=True) - log_odds).clamp_(max=3 * MOST_FOLLOWED)
    factor = others.div_(2).exp_()
    corruption.u.mul_(factor)
    corruption.v.mul_(factor)
