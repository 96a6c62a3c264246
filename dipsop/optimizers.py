"""How weights move: by Muon, which is Adam but for the kernels of convolutions, or as published, by SGD.

torch.optim loads a compiler at its first step, which takes a second or more. These do not.
"""

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor, nn

State = dict[str, list[Tensor]]

# Of one Newton–Schulz iteration, X ← aX + (bXXᵀ + c(XXᵀ)²)X, as published: singular values of 0.002 to 1 end within
# 0.7 to 1.2 after five, which is orthogonal enough.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
MOMENTUM = 0.95
OF_KERNELS = 5.0  # their rate over Adam's


class Optimizer(Protocol):
    """What a fit asks of its optimizer."""

    def step(self, lr: float) -> None: ...  # noqa: D102
    def state(self) -> State: ...  # noqa: D102
    def load(self, state: State) -> None: ...  # noqa: D102


class SGD:
    """Gradient descent, m ← momentum·m + ∇ and θ ← θ − lr·m; without momentum θ ← θ − lr·∇.

    Parameters
    ----------
    parameters : iterable of Parameter
    momentum : float in [0, 1)
    weight_decay : float >= 0
        Of θ that is added to its gradient.
    nesterov : bool
        Nesterov's momentum: momentum·m + ∇ in the place of m.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        self._parameters = list(parameters)
        self.momentum, self.weight_decay, self.nesterov = momentum, weight_decay, nesterov
        self._momenta = [torch.zeros_like(p) for p in self._parameters] if momentum else []

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Take one step at the rate `lr`, and forget the gradients."""
        for k, p in enumerate(self._parameters):
            if p.grad is None:
                continue
            downhill = p.grad.add_(p, alpha=self.weight_decay) if self.weight_decay else p.grad
            if self.momentum:
                m = self._momenta[k].mul_(self.momentum).add_(downhill)
                downhill = downhill.add_(m, alpha=self.momentum) if self.nesterov else m
            p.sub_(downhill, alpha=lr)
            p.grad = None

    def state(self) -> State:
        """What the next step depends on: without momentum, nothing."""
        return {"momenta": self._momenta} if self._momenta else {}

    def load(self, state: State) -> None:
        """Go on from a state."""
        if self._momenta:
            torch._foreach_copy_(self._momenta, state["momenta"])


class Adam:
    """Adam, by PyTorch's fused step.

    Parameters
    ----------
    parameters : iterable of Parameter
    beta2 : float in [0, 1)
        Share of the old in the mean square of the gradient.

    References
    ----------
    Kingma, Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], beta2: float = 0.999) -> None:
        self._parameters: list[Tensor] = list(parameters)
        self._beta2 = beta2
        self._means = [torch.zeros_like(p) for p in self._parameters]
        self._squares = [torch.zeros_like(p) for p in self._parameters]
        self._taken = [torch.zeros((), device=p.device) for p in self._parameters]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Take one step at the rate `lr`, and forget the gradients."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        torch._foreach_add_(self._taken, 1)
        torch._fused_adam_(
            self._parameters, gradients, self._means, self._squares, [], self._taken,
            lr=lr, beta1=0.9, beta2=self._beta2, eps=1e-8, weight_decay=0.0, amsgrad=False, maximize=False,
        )  # fmt: skip
        for p in self._parameters:
            p.grad = None

    def state(self) -> State:
        """What the next step depends on."""
        return {"means": self._means, "squares": self._squares, "taken": self._taken}

    def load(self, state: State) -> None:
        """Go on from a state."""
        for name, saved in state.items():
            torch._foreach_copy_(getattr(self, f"_{name}"), saved)


class Muon:
    """Kernels larger than 1×1 move along their mean gradient made orthogonal, all else by Adam.

    The gradient of a kernel has few strong directions. Made orthogonal, all of them move as far. A network that starts
    from pretrained weights is where it would be after three times as many steps of Adam, and the deep image prior ends
    1.5 dB above Adam's (examples/benchmark/NOTES.md).

    Parameters
    ----------
    parameters : iterable of Parameter
    momentum : float in [0, 1)
        Of the kernels; for a network that is trained in a few thousand steps less is better.
    normalized : bool
        A normalization follows every kernel, so that only its direction counts: it is kept at the length √outputs,
        and the rate is by which angle it turns. That takes the place of weight decay.

    References
    ----------
    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024 (kellerjordan.github.io/posts/muon);
    the last two as in Jordan, "94 % on CIFAR-10 in 3.29 seconds on a single GPU", 2024, and the code beside it.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], momentum: float = MOMENTUM, *, normalized: bool = False
    ) -> None:
        self.momentum, self.normalized = momentum, normalized
        every = list(parameters)
        self._kernels = [p for p in every if p.ndim == 4 and p.shape[-1] > 1]
        self._momenta = [torch.zeros_like(p) for p in self._kernels]
        kernels = set(self._kernels)
        self._others = Adam(p for p in every if p not in kernels)

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Take one step, of the kernels at OF_KERNELS times the rate `lr`, and forget the gradients."""
        for kernel, momentum in zip(self._kernels, self._momenta, strict=True):
            if kernel.grad is not None:
                momentum.lerp_(kernel.grad, 1 - self.momentum)
                ahead = kernel.grad.lerp_(momentum, self.momentum)  # Nesterov's
                if self.normalized:
                    kernel.mul_(len(kernel) ** 0.5 / kernel.norm())
                # Its inputs last, as they lie in memory: nothing is copied.
                rows, *others = kernel.movedim(1, -1).shape
                turned = orthogonal(ahead.movedim(1, -1).reshape(rows, -1)).view(rows, *others)
                kernel.movedim(1, -1).sub_(turned, alpha=OF_KERNELS * lr)
                kernel.grad = None
        self._others.step(lr)

    def state(self) -> State:
        """What the next step depends on."""
        return {"momenta": self._momenta, **self._others.state()}

    def load(self, state: State) -> None:
        """Go on from a state."""
        others = dict(state)
        for momentum, saved in zip(self._momenta, others.pop("momenta"), strict=True):
            momentum.copy_(saved)
        self._others.load(others)


def orthogonal(matrix: Tensor) -> Tensor:
    """Return nearly UVᵀ of a matrix USVᵀ, by Newton–Schulz iterations; a matrix of zeros as it is.

    Parameters
    ----------
    matrix : Tensor (rows, columns)
        Best of fewer rows than columns: what is iterated on is rows × rows.
    """
    x = matrix / (matrix.norm() + 1e-7)
    # An iteration is X ← PX, and all P commute with XXᵀ: their product is had without X, at a third of the cost.
    square = x @ x.mT
    product = torch.eye(len(x), device=x.device)
    a, b, c = NEWTON_SCHULZ
    for _ in range(ITERATIONS):
        factor = torch.addmm(square, square, square, beta=b, alpha=c)
        factor.diagonal().add_(a)
        product, square = factor @ product, factor @ square @ factor
    turned: Tensor = product @ x
    return turned
