"""Discrepant rates: θ moves at lr, (u, v) at α·lr, and the pair of them is an ℓ1 weight.

Gradient flow on ½‖f(θ) + u∘u − v∘v − y‖² from u = v = γ → 0, with (u, v) moving α times as fast as θ, ends where

    min ½‖θ‖² + λ‖s‖₁  such that  f(θ) + s = y,        λ = −log γ / (2α)

for linear f and θ from 0 (Liu et al. 2022; examples/linear_recovery.py derives and shows it). You et al. 2020 proved
the first theorem of the kind, for a low-rank matrix in θ's place. A slower (u, v) or a smaller start makes corruption
dearer to explain.

The rates are *per entry*: they belong to the sum ½Σr² over the entries, not to its mean, so they mean the same for a
thumbnail and for a poster. (The published code steps on the mean over 3HW values; divide its rates accordingly.)

References
----------
You, Zhu, Qu, Ma, "Robust Recovery via Implicit Bias of Discrepant Learning Rates for Double Over-parameterization",
NeurIPS 2020. Liu, Zhu, Qu, You, "Robust Training under Label Noise by Over-parameterization", ICML 2022.
"""

import math
from dataclasses import dataclass
from typing import TypeVar

import torch

Real = TypeVar("Real", float, torch.Tensor)


def effective_lambda(alpha: Real, init_scale: Real | float) -> Real:
    """λ = −log γ / (2α), the ℓ1 weight that the ratio α and the start γ = init_scale amount to (floats or tensors)."""
    return _minus_half_log_over(alpha, init_scale, "alpha")


def alpha_for(lam: Real, init_scale: Real | float) -> Real:
    """α = −log γ / (2λ), the ratio of rates by which a start γ = init_scale amounts to the ℓ1 weight lam."""
    return _minus_half_log_over(lam, init_scale, "lam")


def _minus_half_log_over(x: Real, init_scale: Real | float, name: str) -> Real:
    """−log γ / (2x). Tensors are taken as they are: looking into them would stall a GPU."""
    if isinstance(x, float | int) and not x > 0:
        raise ValueError(f"{name} must be above 0, got {x}")
    if isinstance(init_scale, float | int) and not 0 < init_scale < 1:
        raise ValueError(f"init_scale must lie between 0 and 1, got {init_scale}")
    log = torch.log(init_scale) if isinstance(init_scale, torch.Tensor) else math.log(init_scale)
    return -log / (2 * x)


@dataclass(frozen=True, kw_only=True)
class DiscrepantRates:
    """The pair of rates and the start that together decide how readily corruption is found.

    Parameters
    ----------
    lr : float > 0
        Rate of θ.
    alpha : float >= 0
        Rate of (u, v) over that of θ. Larger finds more corruption; 0 leaves s = 0, the plain generator.
    init_scale : float in (0, 1)
        γ, the value of u and v at the start. Smaller finds less corruption, and later.
    """

    lr: float
    alpha: float
    init_scale: float

    def __post_init__(self) -> None:
        """Raise ValueError where a rate or the start is out of range."""
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr must be above 0 and finite, got {self.lr}")
        if not 0 <= self.alpha < math.inf:
            raise ValueError(f"alpha must be 0 or above and finite, got {self.alpha}")
        if not 0 < self.init_scale < 1:
            raise ValueError(f"init_scale must lie between 0 and 1, got {self.init_scale}")

    @property
    def corruption_rate(self) -> float:
        """η = α·lr, the per-entry rate of u and v."""
        return self.alpha * self.lr

    @property
    def effective_lambda(self) -> float:
        """λ = −log γ / (2α); infinite at α = 0, where no corruption can be explained."""
        return effective_lambda(self.alpha, self.init_scale) if self.alpha > 0 else math.inf
