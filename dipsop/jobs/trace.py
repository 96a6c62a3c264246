"""Steps → a record of the fit: numbers for a JSON file, curves for a plot. One more consumer of the stream of steps.

trace = Trace(truth)                          # the truth is optional, and adds PSNR and SSIM to the record alone
for step in iter_restore(image, config):
    trace.add(step)
trace.finish(step)
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dipsop.pictures.quality import psnr, ssim

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dipsop.restoration.fit import Step

POINTS = 100  # over the budget: a point costs a pass over the picture
POINTS_WITH_TRUTH = 20  # over the budget: PSNR costs a prediction of the picture


@dataclass(frozen=True)
class Point:
    """What is recorded of a step; psnr (dB) and ssim of the restored picture only where they were measured."""

    step: int
    seconds: float
    loss: float
    fraction_corrupted: float
    psnr: float | None = None
    ssim: float | None = None


class Trace:
    """Points of a fit, about a hundred of them however long it is.

    Parameters
    ----------
    truth : float32 array (H, W, C) in [0, 1], or None
        The clean picture; every fifth point then says how close the fit has come.

    Attributes
    ----------
    points : list of Point
    """

    def __init__(self, truth: NDArray[np.float32] | None = None) -> None:
        self.points: list[Point] = []
        self._truth = truth
        self._done = 0.0

    def add(self, step: "Step") -> None:
        """Record a step, if it is time for one; the last step of a budget is left to `finish`."""
        before, self._done = self._done, step.done
        if step.done >= 1 or not _passed(POINTS, before, step.done):
            return
        compared = self._truth is not None and _passed(POINTS_WITH_TRUTH, before, step.done)
        self.points.append(self._point(step, compared))

    def finish(self, step: "Step", image: NDArray[np.float32] | None = None) -> None:
        """Record the last step, and how close what was made of it is; `step.image()` where nothing is given."""
        if self.points and self.points[-1].step == step.iteration:
            self.points.pop()  # recorded on its way, and now once more with everything
        self.points.append(self._point(step, self._truth is not None, image))

    def state(self) -> dict[str, Any]:
        """What was recorded so far, in numbers, for a checkpoint."""
        return {"points": [asdict(point) for point in self.points], "done": self._done}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.points = [Point(**point) for point in state["points"]]
        self._done = state["done"]

    def _point(self, step: "Step", compared: bool, image: NDArray[np.float32] | None = None) -> Point:
        measured = (step.iteration, step.seconds, step.loss, step.fraction_corrupted)
        if not compared or self._truth is None:
            return Point(*measured)
        image = step.image() if image is None else image
        return Point(*measured, psnr(image, self._truth), ssim(image, self._truth))


def _passed(points: int, before: float, done: float) -> bool:
    """Whether one of so many equal parts of the budget was completed between two steps."""
    return math.floor(points * done) > math.floor(points * before)


def record(points: Sequence[Point], header: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is written as JSON: the header's entries, then the points."""
    return {**header, "points": [asdict(point) for point in points]}


def curves(points: Sequence[Point]) -> "Figure":
    """Draw loss, share of values found corrupted and, where there is one, PSNR over the steps, one below the other."""
    from matplotlib.figure import Figure  # not pyplot: no global state, no window

    rows: list[tuple[str, list[float | None]]] = [
        ("loss", [point.loss for point in points]),
        ("found corrupted, %", [100 * point.fraction_corrupted for point in points]),
    ]
    if any(point.psnr is not None for point in points):
        rows.append(("PSNR, dB", [point.psnr for point in points]))
    figure = Figure(figsize=(7, 2.2 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), sharex=True, squeeze=False)[:, 0]
    for panel, (label, values) in zip(panels, rows, strict=True):
        known = [(point.step, v) for point, v in zip(points, values, strict=True) if v is not None and math.isfinite(v)]
        panel.plot([step for step, _ in known], [value for _, value in known], marker="." if len(known) < 40 else None)
        panel.set_ylabel(label)
        panel.grid(alpha=0.3)
    panels[-1].set_xlabel("step")
    return figure
