"""A process that fits one picture once, and says on stdout how close f is to the truth on the way.

It reads from stdin, as a line of JSON: `pictures`, an .npz file with the corrupted picture `observed` and its `clean`
version, `config`, the choices of a WholeImage, `device` and `threads`. It says {"done": share} now and then, and
{"out": the curve} at the end. The truth enters in `Curve.add` alone.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dipsop.compute import tune_process
from dipsop.errors import DipsopError
from dipsop.jobs.worker import leave_with_parent, say
from dipsop.pictures.picture import Array
from dipsop.pictures.quality import psnr
from dipsop.restoration.config import WholeImage

if TYPE_CHECKING:
    from dipsop.restoration.fit import Step

EVERY = 5  # steps between comparisons with the truth
SECONDS_BETWEEN_LINES = 0.5


@dataclass
class Curve:
    """PSNR of the network's output in dB over the steps, and what the fit found.

    Attributes
    ----------
    steps : list of int
    psnr : list of float
    seconds : float
        How long the fit took.
    found, false_alarms : float
        Shares of the corrupted and of the clean values that (u, v) hold at the end.
    """

    steps: list[int] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    seconds: float = 0.0
    found: float = 0.0
    false_alarms: float = 0.0

    def add(self, step: "Step", truth: Array) -> None:
        """Compare every fifth step, and the last, with the truth: a float32 array of the shape of the observation."""
        if step.iteration % EVERY == 0 or step.done >= 1:
            self.steps.append(step.iteration)
            self.psnr.append(psnr(step.network_output(), truth))
        self.seconds = step.seconds

    @property
    def peak(self) -> float:
        """The best value on the way: to stop there one would have to know the truth."""
        return max(self.psnr)

    @property
    def peak_step(self) -> int:
        """Where the best value was."""
        return self.steps[self.psnr.index(self.peak)]

    @property
    def final(self) -> float:
        """The value after the last step, which is the result: it takes no knowledge of the truth."""
        return self.psnr[-1]


def measure(observed: Array, clean: Array, config: WholeImage, device: str) -> "Curve":
    """Fit, and compare on the way."""
    import torch

    from dipsop.restoration.fit import iter_restore

    curve, told = Curve(), 0.0
    for step in iter_restore(observed, config, torch.device(device)):
        curve.add(step, clean)
        if time.monotonic() - told > SECONDS_BETWEEN_LINES:
            told = time.monotonic()
            say({"done": step.done})
    hit, found = observed != clean, step.restoration().corrupted
    curve.found, curve.false_alarms = (float(found[where].mean()) if where.any() else 0.0 for where in (hit, ~hit))
    return curve


def main() -> None:
    """Do what stdin says."""
    tune_process()
    asked = json.loads(sys.stdin.readline())
    leave_with_parent()
    import torch

    if asked["threads"]:
        torch.set_num_threads(asked["threads"])
    with np.load(asked["pictures"]) as pictures:
        observed, clean = pictures["observed"], pictures["clean"]
    try:
        say({"out": asdict(measure(observed, clean, WholeImage(**asked["config"]), asked["device"]))})
    except DipsopError as error:
        say({"error": str(error)})


if __name__ == "__main__":
    main()
