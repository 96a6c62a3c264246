"""The loop: an observation in, steps out; the consumer shows, records, previews or stops.

    for step in iter_restore(image, config):      # breaking out is how one stops; then step.finish()
        ...
    step.restoration().image                      # the last state is the result, never a picked one

The truth never comes in here, so that nothing can be chosen by it.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dipsop.compute import may_ask
from dipsop.errors import DivergenceError
from dipsop.pictures.picture import native_samples, unit_values
from dipsop.restoration.config import PRESETS, Config, HeldOut
from dipsop.restoration.held_out import HeldOutFit, is_grey
from dipsop.restoration.whole_image import WholeImageFit
from dipsop.sop import SparseCorruption


class Fit(Protocol):
    """What the loop asks of a fit: HeldOutFit, WholeImageFit."""

    y: Tensor
    seconds_aside: float  # spent on other things than steps

    def seconds_aside_left(self) -> float: ...  # noqa: D102
    def step(self, done: float) -> Tensor: ...  # noqa: D102
    def finish(self) -> None: ...  # noqa: D102
    def image(self, flips: int | None = None) -> Tensor: ...  # noqa: D102
    def network_output(self) -> Tensor: ...  # noqa: D102
    def found(self) -> Tensor: ...  # noqa: D102
    def restored(self, network_output: Tensor) -> Tensor: ...  # noqa: D102
    def sparse_corruption(self, network_output: Tensor) -> SparseCorruption: ...  # noqa: D102
    def effective_lambda(self) -> float | None: ...  # noqa: D102
    def state(self) -> dict[str, Any]: ...  # noqa: D102
    def load(self, state: dict[str, Any]) -> None: ...  # noqa: D102


@dataclass(frozen=True)
class Restoration:
    """What a fit says of a picture.

    Attributes
    ----------
    image : float32 array, the shape of the observation, in [0, 1]
        The posterior mean of the clean value, p·f + (1 − p)·y with the probability p of corruption; the observation,
        bit for bit, where p is below 0.1, and everywhere if nothing was found; wherever it was not found, if hardly any
        of what is likely was. (In a whole-image fit, which knows no p: f where corruption was found.)
    network_output : the same shape, in [0, 1]
        f alone.
    sparse_corruption : the same shape
        u∘u − v∘v: what was wrong with a value; positive where it is too bright. Where corruption was found,
        f + s = y; with `shared_corruption` the channels of a pixel are found together, each with an s of its own (a
        whole-image fit with an alpha has one s for all of them).
    corrupted : bool, the same shape
        Where corruption was found.
    effective_lambda : float or None
        λ = −log γ / (2α), the ℓ1 weight that the rates amount to (its median where they differ between values): how far
        off a value has to be to be found, in a whole-image fit with an alpha summed over the steps times lr. None where
        the mask was known, so that nothing was looked for.
    steps : int
    seconds : float
    reason : str
        Why it ended.
    """

    image: NDArray[np.float32]
    network_output: NDArray[np.float32]
    sparse_corruption: NDArray[np.float32]
    corrupted: NDArray[np.bool_]
    effective_lambda: float | None
    steps: int
    seconds: float
    reason: str


@dataclass(frozen=True)
class Step:
    """One step taken. It looks at the running fit: ask it for pictures before the next step is taken.

    Attributes
    ----------
    iteration : int
        Steps taken so far, from 1.
    done : float in [0, 1]
        Share of the budget spent, of steps or of seconds, whichever is further.
    seconds : float
        Since the fit began, its start included.
    seconds_left : float
        How long the rest is going to take, the last prediction included, at the pace so far.
    """

    iteration: int
    done: float
    seconds: float
    seconds_left: float
    _loss: Tensor = field(repr=False)
    _fit: Fit = field(repr=False)
    _shape: tuple[int, ...] = field(repr=False)

    @property
    def loss(self) -> float:
        """The loss before this step (on an accelerator, asking waits for it)."""
        return float(self._loss)

    @property
    def fraction_corrupted(self) -> float:
        """Share of the values found corrupted so far."""
        found = self._fit.found()
        return float(found.sum()) / found.numel()

    def image(self) -> NDArray[np.float32]:
        """What `restoration` says the picture is, alone: it takes less memory, and less time where little was found."""
        return self._array(self._fit.image())

    def corrupted(self) -> NDArray[np.bool_]:
        """Where corruption was found so far, the shape of the observation."""
        return self._array(self._fit.found())

    def effective_lambda(self) -> float | None:
        """See `Restoration`."""
        return self._fit.effective_lambda()

    def network_output(self) -> NDArray[np.float32]:
        """f alone, the shape of the observation, in [0, 1]."""
        return self._array(self._fit.network_output())

    def preview(self) -> NDArray[np.float32]:
        """The picture as it stands, by one look instead of the mean of several."""
        return self._array(self._fit.image(flips=1))

    def finish(self) -> None:
        """Take the last round of detection where a fit is ended here, early: no step comes after it.

        It sees most. Of what was found before it, some is still fine detail or print that the network had not learned.
        """
        self._fit.finish()

    def state(self) -> dict[str, Any]:
        """All that the rest of the fit depends on, for `iter_restore(..., state=...)`: tensors and numbers.

        The tensors are those of the running fit: save or copy them before the next step.
        """
        return {"iteration": self.iteration, "seconds": self.seconds, "fit": self._fit.state()}

    def restoration(self, reason: str = "stopped") -> Restoration:
        """Return the picture as it stands, and why this was the last step."""
        f = self._fit.network_output()
        s = self._fit.sparse_corruption(f).value.expand_as(f)
        return Restoration(
            image=self._array(self._fit.restored(f)),
            network_output=self._array(f),
            sparse_corruption=self._array(s),
            corrupted=self.corrupted(),
            effective_lambda=self.effective_lambda(),
            steps=self.iteration,
            seconds=self.seconds,
            reason=reason,
        )

    def _array(self, tensor: Tensor) -> NDArray[Any]:
        array = tensor[0].permute(1, 2, 0).cpu().numpy()
        channels = self._shape[2] if len(self._shape) == 3 else 1
        # A copy, also where nothing asks for one: on a processor the tensor goes on changing with the fit.
        return np.array(np.broadcast_to(array, (*array.shape[:2], channels)).reshape(self._shape), order="C")


def iter_restore(
    image: NDArray[np.generic],
    config: Config | str = "quick",
    device: torch.device | str = "cpu",
    *,
    mask: NDArray[np.bool_] | None = None,
    protected: NDArray[np.bool_] | None = None,
    state: dict[str, Any] | None = None,
) -> Iterator[Step]:
    """Fit y ≈ f(θ) + u∘u − v∘v to a picture, yielding every step.

    Parameters
    ----------
    image : array (H, W) or (H, W, C)
        The corrupted picture: floats in [0, 1], or uint8 or uint16 over their whole range (12 bits of a camera, divide
        by 4095). Where all channels are equal, those of masks among them, it is taken for the grey picture that it is.
    config : HeldOut, WholeImage, or the name of a preset
    device : torch.device or str
    mask : bool array, the shape of the image, or (H, W) for all channels
        Where it is corrupted, if that is known: these values are filled, and nothing else is looked for.
    protected : the same
        Values that are left alone, whatever they look like.
    state : what `Step.state()` said
        Go on from there: same image, config and device, and on a processor the rest is the same, bit for bit.

    Yields
    ------
    Step

    Raises
    ------
    ValueError
        If the image has another shape or type, values outside [0, 1] or not finite, the preset is unknown, or a mask
        has another shape or comes with a config that cannot heed it (WholeImage).
    DivergenceError
        If the loss is no longer finite.
    """
    image, config = np.asarray(image), as_config(config)
    y = as_tensor(image, torch.device(device))
    if (mask is not None or protected is not None) and not isinstance(config, HeldOut):
        raise ValueError("mask and protected go with a HeldOut config, the presets quick and best")
    known, kept = _as_mask(mask, y), _as_mask(protected, y)
    if all(part is None or is_grey(part) for part in (y, known, kept)):
        y = y[:, :1].clone()
        known, kept = (None if part is None else part[:, :1] for part in (known, kept))
    return _steps(y, known, kept, config, state, image.shape)


def _steps(
    y: Tensor,
    mask: Tensor | None,
    protected: Tensor | None,
    config: Config,
    state: dict[str, Any] | None,
    shape: tuple[int, ...],
) -> Iterator[Step]:
    entered = time.perf_counter()
    start = entered - (state["seconds"] if state else 0.0)
    fit: Fit = HeldOutFit(y, config, mask, protected) if isinstance(config, HeldOut) else WholeImageFit(y, config)
    begin = 0
    if state:
        fit.load(state["fit"])
        begin, state = state["iteration"], None
    limit = config.time_limit or math.inf
    for taken in range(begin, config.steps):
        done = max(taken / config.steps, (time.perf_counter() - start) / limit)
        if done >= 1 and taken > begin:  # the time ran out between two steps
            fit.finish()
            return
        loss = fit.step(min(done, 1.0))
        if may_ask(y.device, taken) and not math.isfinite(loss):
            raise DivergenceError(
                f"the loss is no longer a finite number at step {taken + 1} ({_rates(config)}); try a lower rate"
            )
        seconds = time.perf_counter() - start
        if seconds >= limit:
            fit.finish()
            seconds = time.perf_counter() - start
        done = min(1.0, max((taken + 1) / config.steps, seconds / limit))
        pace = (time.perf_counter() - entered - fit.seconds_aside) / (taken + 1 - begin)
        left = min(pace * (config.steps - taken - 1), max(0.0, limit - seconds)) + fit.seconds_aside_left()
        yield Step(taken + 1, done, seconds, left, loss, fit, shape)


def _rates(config: Config) -> str:
    """The rates, for a message."""
    if isinstance(config, HeldOut):
        return f"lr {config.lr:g}"
    alpha = "u and v at their own pace" if config.alpha is None else f"alpha {config.alpha:g}"
    return f"lr {config.lr:g}, {alpha}"


def restore(
    image: NDArray[np.generic],
    config: Config | str = "quick",
    device: torch.device | str = "cpu",
    *,
    mask: NDArray[np.bool_] | None = None,
    protected: NDArray[np.bool_] | None = None,
) -> Restoration:
    """Take the sparse corruption out of a picture; parameters and errors are those of `iter_restore`.

    Returns
    -------
    Restoration
        The last state of the fit.

    Examples
    --------
    >>> import numpy as np, dipsop
    >>> picture = np.full((16, 16), 0.5, np.float32)
    >>> picture[3, 4] = 1.0
    >>> bool(dipsop.restore(picture, dipsop.HeldOut(steps=20)).corrupted[3, 4])
    True
    """
    for last in iter_restore(image, config, device, mask=mask, protected=protected):  # noqa: B007
        pass
    return last.restoration(reason=ending(last, as_config(config)))


def ending(last: Step, config: Config) -> str:
    """Say in a few words why a fit that ran to its end ended."""
    return "all steps taken" if last.iteration >= config.steps else "time limit reached"


def as_config(config: Config | str) -> Config:
    """Return the preset of that name, or the config itself."""
    if isinstance(config, str):
        if config not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {config!r}")
        return PRESETS[config]
    return config


def as_tensor(image: NDArray[np.generic], device: torch.device) -> Tensor:
    """Return an (H, W) or (H, W, C) picture as a float32 tensor (1, C, H, W) in [0, 1]."""
    values = unit_values(native_samples(image))
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)[None])).to(device)


def _as_mask(mask: NDArray[np.bool_] | None, y: Tensor) -> Tensor | None:
    """Return a mask (H, W), (H, W, 1) or (H, W, C) as a bool tensor of the shape of y."""
    if mask is None:
        return None
    mask = np.asarray(mask)
    height, width, channels = y.shape[2], y.shape[3], y.shape[1]
    if mask.dtype != np.bool_ or mask.shape not in ((height, width), (height, width, 1), (height, width, channels)):
        raise ValueError(f"expected a bool mask of shape {(height, width)}, got {mask.dtype} of {mask.shape}")
    spread = np.broadcast_to(mask.reshape(height, width, -1), (height, width, channels))
    return torch.from_numpy(np.array(spread.transpose(2, 0, 1)[None], order="C")).to(y.device)
