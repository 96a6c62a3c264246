"""PSNR against iteration: deep image prior with ℓ2, with ℓ1, and with the sparse part, from the same start.

The first two come close to the clean picture on their way to the corrupted one, and would have to be stopped there, by
someone who knows the truth. The third stays where it arrives.

    clean = sample()
    for name, config in methods().items():
        curve = psnr_curve(iter_restore(corrupted(clean), config), clean)      # the truth enters here alone
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dipsop.restoration.config import DEMO, WholeImage
from dipsop.restoration.noise import random_valued
from dipsop.restoration.quality import Array, psnr

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dipsop.restoration.fit import Step

FRACTION = 0.3  # of values corrupted
TOP, LEFT, SIDE = 60, 172, 96  # the crop of the sample: a face


@dataclass(frozen=True)
class Curve:
    """PSNR of the network's output in dB over the steps, and how long the fit took.

    Attributes
    ----------
    steps : tuple of int
    psnr : tuple of float
    seconds : float
    """

    steps: tuple[int, ...]
    psnr: tuple[float, ...]
    seconds: float

    @property
    def peak(self) -> float:
        """Best value on the way, which only one who knows the truth can stop at."""
        return max(self.psnr)

    @property
    def peak_step(self) -> int:
        """Where the best value was."""
        return self.steps[self.psnr.index(self.peak)]

    @property
    def final(self) -> float:
        """What one gets who does not know the truth."""
        return self.psnr[-1]


def sample() -> Array:
    """Return the picture that the demonstration runs on by default, (96, 96, 3) in [0, 1].

    A crop of the portrait of Eileen Collins (NASA, public domain) that scikit-image brings along.
    """
    from skimage.data import astronaut

    crop: Array = astronaut()[TOP : TOP + SIDE, LEFT : LEFT + SIDE].astype(np.float32) / 255
    return crop


def corrupted(clean: Array, seed: int = 0) -> Array:
    """Return the picture with random-valued noise on 30 % of its values."""
    return random_valued(clean, FRACTION, seed)[0]


def methods(steps: int | None = None, seed: int = 0) -> dict[str, WholeImage]:
    """Return what is compared, by name: the configurations of dipsop.restoration.config.DEMO at a budget and a seed.

    Parameters
    ----------
    steps : int >= 1, or None for their own
    seed : int
        Of θ and z, the same for all.
    """
    return {name: replace(config, steps=steps or config.steps, seed=seed) for name, config in DEMO.items()}


def psnr_curve(steps: "Iterable[Step]", truth: Array, every: int = 5) -> Curve:
    """Consume a fit, comparing what its network makes with the truth.

    Parameters
    ----------
    steps : iterable of Step
        At least one.
    truth : float32 array, the shape of the observation, in [0, 1]
    every : int >= 1
        The steps between comparisons; the last step is always compared.
    """
    compared: dict[int, float] = {}
    for step in steps:
        if step.iteration % every == 0 or step.done >= 1:
            compared[step.iteration] = psnr(step.network_output(), truth)
    return Curve(tuple(compared), tuple(compared.values()), step.seconds)


def record(curves: Mapping[str, Curve], configs: Mapping[str, WholeImage]) -> dict[str, Any]:
    """Return what is written as JSON: for each method its configuration, the curve, peak, final and seconds."""
    return {
        name: {
            "peak": curve.peak,
            "peak_step": curve.peak_step,
            "final": curve.final,
            "seconds": curve.seconds,
            "curve": {"step": curve.steps, "psnr": curve.psnr},
            "config": asdict(configs[name]),
        }
        for name, curve in curves.items()
    }


def figure(curves: Mapping[str, Curve]) -> "Figure":
    """Draw the curves, each with its peak marked."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(7, 4.5), layout="constrained")
    panel = drawing.subplots()
    for name, curve in curves.items():
        label = f"{name}: peak {curve.peak:.1f} dB, final {curve.final:.1f} dB"
        (line,) = panel.plot(curve.steps, curve.psnr, label=label)
        panel.plot(curve.peak_step, curve.peak, "o", color=line.get_color())
    panel.set_xlabel("iteration")
    panel.set_ylabel("PSNR of the network's output, dB")
    panel.grid(alpha=0.3)
    panel.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    return drawing


def table(curves: Mapping[str, Curve]) -> str:
    """Return the comparison as lines of text."""
    head = f"{'method':<10} {'peak dB':>8} {'at step':>8} {'final dB':>9} {'fall dB':>8} {'seconds':>8}"
    rows = (
        f"{name:<10} {c.peak:>8.2f} {c.peak_step:>8} {c.final:>9.2f} {c.peak - c.final:>8.2f} {c.seconds:>8.1f}"
        for name, c in curves.items()
    )
    return "\n".join([head, *rows])
