"""What is dead or hot in every frame of one camera: one u for each value of the sensor, shared by all frames.

In frame k, u and v of every value say with what probability p it is corrupted there, if a share π of the frame's values
is (detection.py). By Bayes' rule that it is corrupted in this frame makes what was seen p / π times as likely. Over
frames that know nothing of each other the logarithms add, so that the shared u, from its start γ, arrives at

    u² = γ²·exp( Σ log(p / π) / φ + C ),        γ² = 1e-4, the odds before any frame was seen.

A frame can say no more than log 1 / π: what is off in one picture alone, a speck, does not outvote the others. And a
dead value is only off where the scene is not as dark, so frames that find it as predicted speak against it by a little.
Too bright and too dark count alike: a value stuck at grey is both in turn. So there is a u, and v is 0.

Two things are not as independent as that.

φ    The same scene in every frame is one look, however many frames: the edge that was not predicted in the first is
     not in any. φ is how much the variance of the summed residuals is larger than if they were independent,
     Σ(Σₖ r)² / ΣΣₖ r² over trusted values, at least 1: that around the value or that of all, whichever is larger.
C    What stands still from frame to frame, while the values around it do not, does not look at the scene. C is the
     logarithm of ½ + ½·(the likelihood of its spread over the frames, against that of the values around it). It gives
     back what φ takes where the scene is fixed. It counts for nothing if a value is not off in most frames.

The frames are looked at one by one and forgotten: what is kept are five sums for every value.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dipsop.pictures.tiles import tiles
from dipsop.restoration.config import PRESETS, HeldOut
from dipsop.restoration.fit import as_config, as_tensor
from dipsop.restoration.held_out import HeldOutFit
from dipsop.restoration.local_stats import local_sum, ring
from dipsop.restoration.prior import LEVELS, trust_of
from dipsop.sop import SparseCorruption

FIRST_ODDS = 1e-4  # γ²: a camera has about one such value in ten thousand
LOOKS = 2  # at every frame: the second one trusts what the first one found
STILL = 0.2 / (LEVELS - 1)  # how much a value that stands still is thought to move, in the root mean square
PIECE = 896  # side in pixels of what is looked at at a time: bounds memory
# Rounds of trusting values, first by the φ of the whole picture: among neighbours, a few dead ones look like a scene.
ROUNDS_AS_A_WHOLE, ROUNDS = 4, 8
MOST_LOG_ODDS = 100.0  # beyond, u would overflow
NOTHING = 1e-12


class Series:
    """Frames of one camera, of one size, and what all of them say of its values.

    Parameters
    ----------
    config : HeldOut
        With the shipped weights. `strength` is a factor on γ²; with `shared_corruption` whole pixels are dead.
    device : torch.device

    Attributes
    ----------
    frames : int
        How many were looked at.
    """

    def __init__(self, config: HeldOut, device: torch.device) -> None:
        """Wait for the first frame; ValueError where the config has no trained weights."""
        if not config.starts_pretrained:
            raise ValueError("a series is looked at with the shipped weights: pretrained, and of their widths")
        self.config, self.device, self.frames = config, device, 0
        self._sums: dict[str, Tensor] = {}

    def look(self, frame: NDArray[np.generic]) -> Iterator[float]:
        """Look at one more frame, piece by piece; it counts when all are done.

        Parameters
        ----------
        frame : array (H, W) or (H, W, C), C = 1 or 3
            Floats in [0, 1], uint8 or uint16 over their whole range; of the size of the others.

        Yields
        ------
        done : float in (0, 1]
            Share of its pixels.

        Raises
        ------
        ValueError
            Another shape than the frames before, or values of no picture.
        """
        y = as_tensor(frame, self.device)
        if y.shape[1] not in (1, 3):
            raise ValueError(f"expected frames of 1 or 3 channels, got {y.shape[1]}")
        if not self._sums:
            self._sums = {name: torch.zeros_like(y) for name in ("evidence", "residual", "squared", "mean", "spread")}
        if y.shape != (shape := self._sums["mean"].shape):
            raise ValueError(f"expected frames of one shape, {tuple(shape[1:])}, got {tuple(y.shape[1:])}")
        seen, pixels = 0, y.shape[2] * y.shape[3]
        for tile in tiles(y.shape[2], y.shape[3], PIECE):
            evidence, residual = self._evidence(y[..., *tile.outer])
            where, part = (..., *tile.inner), (..., *tile.inner_of_outer)
            self._add(where, y[where], evidence[part], residual[part])
            seen += y[0, 0, *tile.inner].numel()
            yield seen / pixels
        self.frames += 1

    def shared_corruption(self) -> SparseCorruption:
        """The pair (u, v) of every value, (1, C, H, W), that all frames share; ValueError for fewer than two."""
        if self.frames < 2:
            raise ValueError(f"expected two or more frames of a series, got {self.frames}")
        evidence = self._sums["evidence"]
        # Off in most frames: each of them, in the geometric mean, makes it at least twice as likely.
        off = evidence > self.frames * math.log(2)
        trust = torch.ones_like(evidence)
        for k in range(ROUNDS):
            phi = self._dependence(trust, nearby=k >= ROUNDS_AS_A_WHOLE)
            log_factor = torch.where(off, evidence / phi + self._stillness(trust), evidence.clamp(max=0))
            start = torch.full_like(evidence, math.sqrt(self.config.strength * FIRST_ODDS))
            shared = SparseCorruption(start, torch.zeros_like(start))
            shared.flow_step(-log_factor.clamp_(-MOST_LOG_ODDS, MOST_LOG_ODDS), 1 / 4)
            trust = trust_of(shared)
        return shared

    def found(self) -> NDArray[np.bool_]:
        """What is dead or hot in all frames, (H, W, C); ValueError for fewer than two."""
        dead = self.shared_corruption().odds > 1
        if self.config.shared_corruption:
            dead = dead.any(1, keepdim=True).expand_as(dead)
        return np.ascontiguousarray(dead[0].permute(1, 2, 0).cpu().numpy())

    @torch.no_grad()
    def _evidence(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return log(p / π) and the residual P − y of every value, by a network that was not trained on this frame."""
        seed = (self.config.seed + self.frames) % 2**32
        fit = HeldOutFit(y, replace(self.config, seed=seed, strength=1.0, look="never", scratches=False))
        for _ in range(LOOKS):
            residual, scale = fit.predict_hidden(fit.config.parts_before)
            fit.detection.update(residual, scale)  # leaves P − y in the place of P
        log_odds = fit.detection.corruption.odds.log_()
        return torch.nn.functional.logsigmoid(log_odds) - fit.detection.prior.share.log(), residual

    def _add(self, where: tuple[object, ...], y: Tensor, evidence: Tensor, residual: Tensor) -> None:
        """Add to the sums; mean and spread by Welford's update, exact for what stands still."""
        of = {name: total[where] for name, total in self._sums.items()}  # type: ignore[index]
        # A value that cannot be corrupted, by the polarity, has −∞.
        of["evidence"].add_(evidence.clamp(min=-MOST_LOG_ODDS))
        of["residual"].add_(residual)
        of["squared"].add_(residual.square())
        apart = y - of["mean"]
        of["mean"].add_(apart / (self.frames + 1))
        of["spread"].add_(apart * (y - of["mean"]))

    def _dependence(self, trust: Tensor, nearby: bool) -> Tensor:
        """φ, between 1 and the number of frames, (1, 1, 1, 1) or (1, 1, H, W)."""
        of_sum = (self._sums["residual"].square() * trust).sum(1, keepdim=True)
        if_independent = (self._sums["squared"] * trust).sum(1, keepdim=True)
        phi = (of_sum.mean() + NOTHING) / (if_independent.mean() + NOTHING)
        if nearby:
            window = ring(3.0, 9, trust.device)
            phi = torch.maximum(
                phi, (local_sum(of_sum, window) + NOTHING) / (local_sum(if_independent, window) + NOTHING)
            )
        return phi.clamp(1, self.frames)

    def _stillness(self, trust: Tensor) -> Tensor:
        """C, by two normal likelihoods of the same spread over the frames."""
        window, spread = ring(3.0, 9, trust.device), self._sums["spread"]
        around = local_sum((spread * trust).sum(1, keepdim=True), window) + NOTHING
        variance = around / (local_sum(trust.sum(1, keepdim=True), window) + NOTHING) / (self.frames - 1)
        variance = variance.clamp_(min=STILL**2)
        free = (self.frames - 1) / 2 * (variance / STILL**2).log()
        ratio = free + spread / 2 * (1 / variance - 1 / STILL**2)
        return torch.logaddexp(torch.zeros_like(ratio), ratio) - math.log(2)


def dead_pixels(
    frames: Iterable[NDArray[np.generic]], config: HeldOut | str = "quick", device: torch.device | str = "cpu"
) -> NDArray[np.bool_]:
    """Find what is dead or hot in all frames of one camera: the mask to restore each of them with.

    Parameters
    ----------
    frames : iterable of arrays (H, W) or (H, W, C), C = 1 or 3, all of one shape
        Two or more pictures of different scenes, unaligned, as the sensor has them; they are looked at one by one, so a
        generator keeps memory small. More find more: five are enough for what is plain. Of one scene alone, what
        stands still is found where the scene does not.
    config : HeldOut, or "quick" or "best"
        Its strength is a factor on the odds that a value is dead; nothing is trained, so its steps do not count.
    device : torch.device or str

    Returns
    -------
    bool array, the shape of a frame
        For `dipsop.restore(frame, mask=...)`.

    Raises
    ------
    ValueError
        Fewer than two frames, frames of different shapes, or a config without the shipped weights.

    Examples
    --------
    >>> import numpy as np, dipsop
    >>> frames = [np.full((32, 32), grey, np.float32) for grey in (0.2, 0.4, 0.6, 0.8)]
    >>> for frame in frames:
    ...     frame[3, 4] = 1.0
    >>> [tuple(map(int, where)) for where in np.argwhere(dipsop.dead_pixels(frames))]
    [(3, 4)]
    """
    chosen = as_config(config)
    if not isinstance(chosen, HeldOut):
        held_out = ", ".join(name for name, preset in PRESETS.items() if isinstance(preset, HeldOut))
        raise ValueError(f"a series goes with a HeldOut config: {held_out}")
    series = Series(chosen, torch.device(device))
    shape: tuple[int, ...] = ()
    for frame in frames:
        shape = frame.shape
        for _ in series.look(frame):
            pass
    return series.found().reshape(shape)
