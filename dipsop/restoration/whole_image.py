"""Deep image prior with a sparse part: y = f(θ; z) + u∘u − v∘v over the whole picture at every step.

θ, u and v descend one loss ρ on r = f + s − y, averaged over the values. What drives (u, v) is the residual itself,
clipped at ±d: it has the sign of ρ′(r), so that every step of theirs goes down the same loss, at a rate that differs
from value to value (a preconditioner; with the squared loss and no d it is the gradient). Without the clip a black
value on dark ground would leave ten times later than one on bright ground, when the network has long learned it.

With α given, (u, v) move α times as fast as θ, all the while. With SGD, the squared loss and the explicit step this is
the published recipe; α = 0 is plain deep image prior. With α = None they find their own pace (release.py).

Deviation from the published code: there u, v descend the mean too, so that their rate changes meaning with the size of
the picture; here it is per entry, and equal to theirs at 512×512 in colour (dipsop.restoration.config).

References
----------
You, Zhu, Qu, Ma, NeurIPS 2020. Ulyanov, Vedaldi, Lempitsky, IJCV 2020.
"""

import math
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dipsop.compute import autocast, seeded
from dipsop.optimizers import SGD, Muon, Optimizer
from dipsop.restoration.config import WholeImage
from dipsop.restoration.networks import SkipUNet
from dipsop.restoration.release import FOUND, Release
from dipsop.sop import DiscrepantRates, SparseCorruption


class WholeImageFit:
    """The state of a deep image prior fit to one picture.

    Parameters
    ----------
    y : Tensor (1, C, H, W), float32 in [0, 1]
        The observation, on the device that is to compute.
    config : WholeImage
    """

    def __init__(self, y: Tensor, config: WholeImage) -> None:
        begin = time.perf_counter()
        self.y, self.config = y, config
        channels, height, width = y.shape[1:]
        # At its own pace, α is not one number.
        self.discrepant = DiscrepantRates(lr=config.lr, alpha=config.alpha or 0.0, init_scale=config.init_scale)
        with seeded(config.seed):
            network = SkipUNet(config.input_channels, channels, [config.width] * 5, config.skip_width, config.border)
        random = torch.Generator().manual_seed(config.seed)
        z = 0.1 * torch.rand(1, config.input_channels, *network.input_size(height, width), generator=random)
        self.z = z.to(y.device, memory_format=torch.channels_last)
        self.network = network.to(y.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        one_for_all = config.shared_corruption and config.alpha is not None
        shape = (1, 1 if one_for_all else channels, height, width)
        self.corruption = (
            SparseCorruption.random(shape, config.init_scale, random, y.device)
            if config.random_factors
            else SparseCorruption.constant(torch.full(shape, config.init_scale, device=y.device))
        )
        self.release = (
            Release(y, config.bound, config.init_scale, config.shared_corruption, random)
            if config.alpha is None and config.bound is not None
            else None
        )
        self._random = torch.Generator(y.device).manual_seed(config.seed)
        optimizer = SGD if config.optimizer == "sgd" else Muon
        self._optimizer: Optimizer = optimizer(self.network.parameters())
        self._output: Tensor | None = None
        self._taken = 0
        self.seconds_aside = time.perf_counter() - begin

    def step(self, done: float) -> Tensor:
        """Take one step; `done` in [0, 1) is the share of the budget spent. Returns the loss, before the step."""
        f = self._generate(self._perturbed_input())
        s = self.corruption.value
        residual = f + s - self.y
        loss = self._loss(self.release.loss_residual(residual) if self.release else residual)
        loss.backward()
        decay = 0.5 * (1 + math.cos(math.pi * done)) if self.config.decay == "cosine" else 1.0
        self._optimizer.step(decay * self.discrepant.lr)
        self._output = f.detach()
        with torch.no_grad():
            self._move_corruption(self._output, residual.detach(), s, decay, done)
        self._taken += 1
        return loss.detach()

    def finish(self) -> None:
        """There is nothing to do after the last step."""

    def image(self, flips: int | None = None) -> Tensor:
        """What `restored` says of `network_output`; there are no flips to average over."""
        return self.restored(self.network_output())

    def network_output(self) -> Tensor:
        """f as the last step saw it, (1, C, H, W) in [0, 1]."""
        return self._output if self._output is not None else self._generate(self.z).detach()

    def found(self) -> Tensor:
        """Where corruption was found, bool (1, C, H, W)."""
        found = self.corruption.value.abs() > FOUND
        return (found.any(1, keepdim=True) if self.config.shared_corruption else found).expand_as(self.y)

    def restored(self, network_output: Tensor) -> Tensor:
        """The observation, and f where corruption was found."""
        return torch.where(self.found(), network_output, self.y)

    def sparse_corruption(self, network_output: Tensor) -> SparseCorruption:
        """(u, v) as they stand."""
        return self.corruption

    def effective_lambda(self) -> float:
        """λ = −log γ / (2α), with all the rates so far in the place of α where (u, v) go at their own pace."""
        return self.release.effective_lambda() if self.release else self.discrepant.effective_lambda

    def state(self) -> dict[str, Any]:
        """All that the next step depends on: tensors, numbers and containers of them."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state(),
            "u": self.corruption.u,
            "v": self.corruption.v,
            "random": self._random.get_state(),
            "taken": self._taken,
            "release": self.release.state() if self.release else None,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state of a fit to the same picture with the same config."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load(state["optimizer"])
        self.corruption.u.copy_(state["u"])
        self.corruption.v.copy_(state["v"])
        self._random.set_state(state["random"])
        self._taken = state["taken"]
        if self.release:
            self.release.load(state["release"])

    def seconds_aside_left(self) -> float:
        """Nothing but steps is left to do."""
        return 0.0

    def _move_corruption(self, f: Tensor, residual: Tensor, s: Tensor, decay: float, done: float) -> None:
        if self.release:
            drive = self.release.drive(f, residual, s, self._taken, done)
            if drive is not None:
                self.corruption.flow_step(drive, 1.0)
            return
        bound = self.config.bound
        clipped = residual if bound is None else residual.clamp(-bound, bound)
        explicit = self.config.corruption_step == "gradient"
        move = self.corruption.gradient_step if explicit else self.corruption.flow_step
        move(clipped, decay * self.discrepant.corruption_rate)

    def _perturbed_input(self) -> Tensor:
        if self.config.input_noise == 0:
            return self.z
        noise = torch.empty_like(self.z).normal_(std=self.config.input_noise, generator=self._random)
        return self.z + noise

    def _generate(self, z: Tensor) -> Tensor:
        height, width = self.y.shape[-2:]
        with autocast(z.device, self.config.dtype):
            picture: Tensor = self.network(z)
        return picture.to(self.y.dtype)[..., :height, :width]

    def _loss(self, residual: Tensor) -> Tensor:
        if self.config.loss == "squared":
            return residual.square().mean()
        if self.config.loss == "absolute":
            return residual.abs().mean()
        return F.huber_loss(residual, torch.zeros_like(residual), delta=self.config.huber_delta)
