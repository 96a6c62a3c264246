"""The pace of u and v in a whole-image fit that is given no α: when corruption leaves, and how far off it has to be.

A network fitted to a corrupted picture learns the picture first and the corruption later. When it does so depends on
the picture, its size, the kind of corruption and its share. So the time is read from the fit as it runs, at values that
θ does not see, and no choice below belongs to a picture.
"""

import math
from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dipsop.restoration.prior import LEVELS, level
from dipsop.sop import effective_lambda

FOUND = 0.02  # |s| above which a value counts as found corrupted; the switch leaves little in between

HELD_OUT = 0.05  # share of the values that θ does not see before the release
MOST_ERROR = 0.5  # an error counts up to here
LOOK_BACK = 0.7  # of the steps so far: the error since then has to be falling
FIRST_STEP, LATEST = 50, 0.5  # no release before this step, and none after this share of the budget
WINDOW = 0.15  # in units of the step of release: how long values that are off by d or more take to leave
LEAST_WINDOW = 10  # steps
PACE = 1.5  # what a grows by while the steps grow e-fold; more where the budget asks for it
IN_THE_END = 4.0  # a, whatever the step of release and the budget; a little less in fits below 100 steps
LET_GO = 0.9  # of d/a: what was found and is off by less is found no longer
LEVEL_SCALE = 4.0  # of log(p) in what the bound is multiplied by
LEAST_COUNT = 0.1  # of the mean count of a level: one at which nothing was found is not impossible
THROWN = 0.7  # where u or v has arrived when its value has left: u² near ½
BETWEEN_QUESTIONS, BETWEEN_BOUNDS = 10, 25  # steps
BOX = 7  # pixels
LEAST_MEAN = 1e-6  # of the distance over the picture: where f = y all over, none is off more than another


class Release:
    """What holds (u, v) back, and what they follow once they are released.

    A few values, drawn by the seed, stay out of θ's loss at first. Their error falls while the network learns what they
    have in common with their surroundings; corruption has nothing in common with its surroundings, and where the
    network begins to learn it, the error stops falling. There, at step T, is the release: the values that were held out
    join, and (u, v) begin to follow the residual in units of d,

        u ← u·exp(−2η·clip(r/d, ±1)),   v ← v·exp(+2η·clip(r/d, ±1)),   η = ½·log(0.7/γ)·Δa.

    A value that is off by d or more has left when a, the sum of Δa, is 1, which takes 0.15·T steps. From then on a
    grows with the logarithm of the steps, up to 4, and values that are off by λ = d/a leave. A network that goes on
    learning may come near to one that has left: where it is off by less than 0.9·λ, the value is let go, as s is 0
    there in the minimum of ½(f + s − y)² + λ|s|, too.

    Parameters
    ----------
    y : Tensor (1, C, H, W)
    bound : float
        d, on the average. It goes with the mean error around a value, up to three times up and down: where the network
        is off everywhere, to be off means less. From a = 1 on it goes with the level of the value, too: one at which
        corruption is found often is likely to be corruption.
    init_scale : float
        γ.
    shared : bool
        The channels of a pixel leave together: each follows the mean of what all of them are off by, with its own sign.
    random : torch.Generator
        Draws the values that are held out.
    """

    def __init__(self, y: Tensor, bound: float, init_scale: float, shared: bool, random: torch.Generator) -> None:
        self.y, self.bound, self.init_scale, self.shared = y, bound, init_scale, shared
        self._held_out = (torch.rand(y.shape, generator=random) < HELD_OUT).to(y.device)
        self._held_out_count = self._held_out.sum().clamp(min=1)
        self.bounds = torch.full_like(y, bound)
        self.step: int | None = None  # T
        self.progress = 0.0  # a
        self._errors: list[float] = []  # on the held-out values, at every step
        self._unread: list[Tensor] = []  # those that are still on the device

    def loss_residual(self, residual: Tensor) -> Tensor:
        """The residual as θ's loss sees it: 0 where a value is held out."""
        return residual.masked_fill(self._held_out, 0) if self.step is None else residual

    def drive(self, f: Tensor, residual: Tensor, s: Tensor, taken: int, done: float) -> Tensor | None:
        """Return what u and v follow in this step, η·clip(r/d, ±1); None before the release.

        Where a value has left, s follows f at once, so that it does not pull at θ: the flow takes s to s·exp(−4η|r|),
        and the η that takes it to y − f is used, up to a factor of e⁴. Where f has gone to the other side of y, or has
        come near to it, s shrinks by that factor, and the value is soon found no longer.

        Parameters
        ----------
        f, residual, s : Tensor
            The network's output, f + s − y and s, of the shape of y.
        taken : int
            Steps before this one.
        done : float in [0, 1)
            Share of the budget spent.
        """
        if self.step is None:
            self._watch(f, taken, done)
        if self.step is None:
            return None
        since, window = taken - self.step, max(round(WINDOW * self.step), LEAST_WINDOW)
        found = s.abs() > FOUND
        if since % BETWEEN_BOUNDS == 0:
            self.bounds = self.bound * _relative((f - self.y).abs())
            if since >= window:
                self.bounds *= _by_level(self.y, found)
        growth, near = 1 / window, torch.zeros_like(found)
        if since >= window:
            end = max(taken / done, taken + 1)  # in steps: with a time limit it is an estimate
            needed = (IN_THE_END - 1) / math.log(end / (self.step + window))
            growth = min(growth, max(PACE, needed) / taken, IN_THE_END - self.progress)
            near = (self.y - f).abs() < LET_GO / self.progress * self.bounds
        self.progress += growth
        units = (residual / self.bounds).clamp_(-1, 1)
        if self.shared:
            units = units.sign() * units.abs().mean(1, keepdim=True)
            near = near.all(1, keepdim=True)
        follow = 0.5 * math.log(THROWN / self.init_scale) * growth * units
        ratio = ((self.y - f) / s).clamp_(math.exp(-4), math.exp(4)).masked_fill_(near, math.exp(-4))
        return torch.where(found, -0.25 * s.sign() * ratio.log_(), follow)

    def effective_lambda(self) -> float:
        """λ = −log γ / (2Ση): how far off a value has to be, all the while, to have left by now; the median.

        In units of y; infinite before the release.
        """
        if self.progress == 0:
            return math.inf
        rates = 0.5 * math.log(THROWN / self.init_scale) * self.progress / float(self.bounds.median())
        return effective_lambda(rates, self.init_scale)

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, and the seed does not say."""
        self._read()
        return {"bounds": self.bounds, "step": self.step, "progress": self.progress, "errors": self._errors}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.bounds.copy_(state["bounds"])
        self.step, self.progress, self._errors = state["step"], state["progress"], list(state["errors"])

    def _watch(self, f: Tensor, taken: int, done: float) -> None:
        """See whether this is the step of release."""
        distance = (f - self.y).abs()
        self._unread.append((distance.clamp(max=MOST_ERROR) * self._held_out).sum() / self._held_out_count)
        if done >= LATEST:
            self.step = taken
        elif taken >= FIRST_STEP and taken % BETWEEN_QUESTIONS == 0:
            self._read()
            lately = self._errors[int(LOOK_BACK * taken) :]
            half = len(lately) // 2
            if fmean(lately[half:]) >= fmean(lately[:half]):
                self.step = taken

    def _read(self) -> None:
        """Bring the errors from the device."""
        if self._unread:
            self._errors += torch.stack(self._unread).tolist()
            self._unread = []


def _relative(distance: Tensor) -> Tensor:
    """The mean distance around every value over that of the picture, 1/3 to 3; single large ones count less."""
    around = _box_mean(torch.minimum(distance, 2 * _box_mean(distance)))
    return (around / around.mean().clamp(min=LEAST_MEAN)).clamp_(1 / 3, 3)


def _box_mean(values: Tensor) -> Tensor:
    return F.avg_pool2d(values, BOX, stride=1, padding=BOX // 2, count_include_pad=False)


def _by_level(y: Tensor, found: Tensor) -> Tensor:
    """What d is multiplied by for the level of a value: 1 − log(p)/4, ¼ or more.

    p is the density of the corruption found at that level over that of corruption of any value alike. Where residuals
    have a Laplace distribution, how far off a value has to be to be as likely corrupted as not falls with log(p).
    """
    levels = level(y)
    counts = torch.bincount(levels[found], minlength=LEVELS).to(y.dtype)
    mean = counts.mean()
    p = (counts + LEAST_COUNT * mean + 1) / ((1 + LEAST_COUNT) * mean + 1)
    return (1 - p.log() / LEVEL_SCALE).clamp_(min=1 / 4)[levels]
