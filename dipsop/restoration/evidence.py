"""Which values are corrupted: the sparse part s = u∘u − v∘v, with a rate and a start of (u, v) for every value.

Let P be a prediction of y made without seeing the value, b the mean residual |y − P| of trusted values around it, π the
share of corrupted values and c(q) the density of the level q among them. Then (u, v) move on the residual P + s − y

    at the rate    α = 1 / (4b)                what is hard to predict is slow to be called corrupted,
    from           γ² = 2b·c(y)·π / (1 − π)    what looks like known corruption is quick to be,

so that λ = −log γ / (2α) = b·log((1 − π) / (2b·c·π)). While s is small the flow makes

    u² or v² = γ²·exp(|y − P| / b) = π·c(y) / ((1 − π)·exp(−|y − P| / b) / 2b),

the odds of corruption of a two-component mixture, Laplace residual against c: the multiplicative growth of u, v *is*
Bayes' rule. Once s explains a part of the residual, u and v feel only the rest of it, and the odds are
max(u, v)²·exp(|s| / b). π and c are fitted to what was found, round by round (expectation maximization), which is how
fixed values (black and white specks, the colour of a lettering) are recognized without a word about them.
"""

import torch
from torch import Tensor

from dipsop.restoration.surroundings import ring, weighted_mean
from dipsop.sop import SparseCorruption, effective_lambda

LEVELS = 256
# How much of the level density stays uniform: a level that was never seen corrupted may still be.
UNIFORM = 0.1


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
    """

    def __init__(self, y: Tensor, trust: Tensor, least_residual: float, shared: bool) -> None:
        self.y, self.trust, self.least_residual, self.shared = y, trust, least_residual, shared
        channels = y.shape[1]
        level = (y * (LEVELS - 1)).round().clamp(0, LEVELS - 1).long()
        self._cell = level + LEVELS * torch.arange(channels, device=y.device).view(1, channels, 1, 1)
        self.density = torch.ones(channels, LEVELS, device=y.device)
        self.share = torch.tensor(0.3, device=y.device)
        self.effective_lambda = torch.tensor(float("nan"))
        self._window = ring(1.5, 4, y.device)

    def update(self, predicted: Tensor, rounds: int = 2) -> None:
        """Judge every value anew by its residual against `predicted`, made without seeing it (1, C, H, W)."""
        excess = self.y - predicted
        for _ in range(rounds):
            scale = weighted_mean(excess.abs(), self.trust + 1e-3, self._window).clamp(self.least_residual, 0.3)
            self.trust = self._trust(excess, scale)
            self.share = (1 - self.trust).mean().clamp(0.005, 0.8)
            self.density = self._level_density()

    def found(self) -> Tensor:
        """Where corruption is more likely than not, bool, the shape of y."""
        return self.trust < 0.5

    def sparse_corruption(self, network_output: Tensor) -> SparseCorruption:
        """(u, v) when their flow has run on to its end: s = y − f where the switch was thrown, 0 elsewhere."""
        s = torch.where(self.found(), self.y - network_output, 0)
        return SparseCorruption(s.clamp(min=0).sqrt(), (-s).clamp(min=0).sqrt())

    def _trust(self, excess: Tensor, scale: Tensor) -> Tensor:
        log_start = torch.log(2 * scale * self.density.flatten()[self._cell])
        excess = excess.abs()  # the odds are even in its sign: let u stand for whichever factor grows
        if self.shared:
            # A pixel's residual is the sum of its channels', each in units of its own scale.
            pixel_scale = scale.mean(1, keepdim=True)
            excess, scale = (excess * (pixel_scale / scale)).sum(1, keepdim=True), pixel_scale
            log_start = log_start.sum(1, keepdim=True)
        init_scale = torch.exp(0.5 * (log_start + torch.logit(self.share)))
        alpha = 1 / (4 * scale)
        self.effective_lambda = effective_lambda(alpha, init_scale).median().clamp(min=0)
        corruption = SparseCorruption.constant(init_scale)
        corruption.settle(excess, alpha)
        odds = corruption.u.square() * torch.exp(corruption.value.abs() / scale)
        return (1 / (1 + odds)).expand_as(self.y)

    def _level_density(self) -> Tensor:
        channels = self.y.shape[1]
        suspect = (1 - self.trust).flatten()
        counts = torch.bincount(self._cell.flatten(), weights=suspect, minlength=channels * LEVELS)
        counts = counts.view(channels, LEVELS).float()
        found = counts.sum(1, keepdim=True).clamp(min=1)
        return UNIFORM + (1 - UNIFORM) * LEVELS * counts / found
