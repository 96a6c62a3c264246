"""The sparse part, s = u∘u − v∘v, and the two ways in which it moves.

For the loss ½Σr², r = f + s − y, the gradients are ∂u = 2r∘u and ∂v = −2r∘v: growth is multiplicative, so an entry
stays at its tiny start until its residual has kept one sign for long. In continuous time, at the rate η,

    u = γ·exp(−2η∫r),   v = γ·exp(+2η∫r),   s = u² − v² = −2γ²·sinh(4η∫r):

a soft switch on the accumulated residual, thrown near |∫r| = −log γ / (2η).
"""

from typing import Any, Self

import torch
from torch import Tensor

Rate = float | Tensor


class SparseCorruption:
    """Factors u and v of a sparse part s = u∘u − v∘v, kept in float32 (or float64) whatever the network runs in.

    Parameters
    ----------
    u, v : Tensor
        The factors at the start, of one shape. The shape may have ones where an entry is shared: a residual is then
        summed over what shares it, as the chain rule has it.
    """

    def __init__(self, u: Tensor, v: Tensor) -> None:
        """Hold u and v; ValueError where their shapes differ."""
        if u.shape != v.shape:
            raise ValueError(f"u and v must have one shape, got {tuple(u.shape)} and {tuple(v.shape)}")
        self.u, self.v = u, v

    @classmethod
    def constant(cls, start: Tensor) -> Self:
        """Start at u = v = γ with a γ for every entry, so that s = 0 exactly. `start`: Tensor of γ, 0 or more."""
        return cls(start.clone(), start.clone())

    @classmethod
    def random(
        cls, shape: tuple[int, ...], init_scale: float, generator: torch.Generator, device: torch.device
    ) -> Self:
        """Start at u, v ~ N(0, init_scale²), as the published code does."""
        u, v = (init_scale * torch.randn(shape, generator=generator).to(device) for _ in range(2))
        return cls(u, v)

    def __getitem__(self, where: Any) -> Self:
        """Return some of the entries, by an index as of tensors, as a view: they move together with the whole."""
        return type(self)(self.u[where], self.v[where])

    @property
    def value(self) -> Tensor:
        """s = u∘u − v∘v."""
        return self.u.square().sub_(self.v.square())

    @property
    def odds(self) -> Tensor:
        """max(u∘u, v∘v): how large the part of s is that a residual of one sign has driven up."""
        square = self.u.square()
        return torch.maximum(square, self.v.square(), out=square)

    def gradient_step(self, residual: Tensor, rate: Rate) -> None:
        """One explicit step of gradient descent on ½Σr²: u ← u − η·2r∘u, v ← v + η·2r∘v.

        Parameters
        ----------
        residual : Tensor
            r = f + s − y, of a shape that u broadcasts to.
        rate : float or Tensor
            η per entry. Accurate and stable only while 2η|r| is small against 1.
        """
        growth = 2 * rate * self._pooled(residual)
        self.u.sub_(growth * self.u)
        self.v.add_(growth * self.v)

    def flow_step(self, residual: Tensor, rate: Rate) -> None:
        """The exact gradient flow over one unit of time in which r stands still: u ← u·exp(−2ηr), v ← v·exp(+2ηr).

        Costs the same as `gradient_step`, agrees with it to first order, and does not shrink s under noise.
        """
        growth = torch.exp(2 * rate * self._pooled(residual))
        self.u.div_(growth)
        self.v.mul_(growth)

    def _pooled(self, residual: Tensor) -> Tensor:
        """The residual summed over what shares an entry, in the precision of u."""
        return residual.to(self.u.dtype).sum_to_size(self.u.shape)
