"""PSNR against iteration: deep image prior with ℓ2, with ℓ1, and with the sparse part, from the same start.

The first two come close to the clean picture on their way to the corrupted one, and would have to be stopped there, by
someone who knows the truth. The third stays where it arrives.

The truth enters in `Curve.add` alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dipsop.compute import DeviceName, pick_device
from dipsop.files import check_suffix, make_folder, save_figure, save_json
from dipsop.jobs.events import Begun, Done, Stop, Stopped, Written, never
from dipsop.pictures import images
from dipsop.pictures.masks import load_truth
from dipsop.pictures.noise import random_valued
from dipsop.pictures.quality import Array, psnr
from dipsop.restoration.config import DEMO, WholeImage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dipsop.restoration.fit import Step

FRACTION = 0.3  # of values corrupted
TOP, LEFT, SIDE = 60, 172, 96  # the crop of the sample: a face
EVERY = 5  # steps between comparisons with the truth
# Up to this many values several threads gain nothing, and on busy cores lose a lot by waiting for each other.
SMALL = 128 * 128 * 3


@dataclass(frozen=True, kw_only=True)
class DemoJob:
    """The demonstration.

    Parameters
    ----------
    out : Path
        Folder for psnr_vs_iteration.png and psnr_vs_iteration.json.
    image, truth : Path or None
        A clean picture, to be corrupted; with `truth`, a corrupted one and its clean version. None: a crop of
        scikit-image's astronaut.
    steps : int >= 1 or None
        Of each method; None for their own.
    seed : int
    device : "auto", "cpu", "cuda" or "mps"
    """

    out: Path
    image: Path | None = None
    truth: Path | None = None
    steps: int | None = None
    seed: int = 0
    device: DeviceName = "auto"


@dataclass
class Curve:
    """PSNR of the network's output in dB over the steps, and how long the fit took.

    Attributes
    ----------
    steps : list of int
    psnr : list of float
    seconds : float
    """

    steps: list[int] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, step: "Step", truth: Array) -> None:
        """Compare every fifth step, and the last, with the truth: a float32 array of the shape of the observation."""
        if step.iteration % EVERY == 0 or step.done >= 1:
            self.steps.append(step.iteration)
            self.psnr.append(psnr(step.network_output(), truth))
        self.seconds = step.seconds

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


def run(job: DemoJob, stop: Stop = never) -> "Iterator[Begun | Step | Stopped | Written | Done]":
    """Fit all methods, one after another, and write how they compare.

    Yields
    ------
    Begun, Step
        For every method, whose name is the title.
    Written, Done
        At the end; Done with what the JSON file holds. Or Stopped, where `stop()` came before.

    Raises
    ------
    DipsopError
        If a file or the device is not as it must be.
    """
    observed, clean = pictures(job.image, job.truth, job.seed)
    import torch

    from dipsop.restoration.fit import iter_restore

    device = pick_device(job.device)
    record_file, plot_file = job.out / "psnr_vs_iteration.json", job.out / "psnr_vs_iteration.png"
    make_folder(job.out)
    check_suffix(record_file, (".json",))
    check_suffix(plot_file, (".png",))
    if clean.size <= SMALL:
        torch.set_num_threads(1)
    configs, curves = methods(job.steps, job.seed), dict[str, Curve]()
    for name, config in configs.items():
        yield Begun(config.steps, name)
        curves[name] = Curve()
        for step in iter_restore(observed, config, device):
            curves[name].add(step, clean)
            yield step
            if stop():
                yield Stopped(len(curves) - 1, len(configs))
                return
    report = record(curves, configs)
    save_json(record_file, report)
    save_figure(plot_file, figure(curves))
    yield Written(plot_file)
    yield Written(record_file)
    yield Done(report)


def pictures(image: Path | None, truth: Path | None, seed: int) -> tuple[Array, Array]:
    """Return the corrupted picture and the clean one."""
    if image is not None and truth is not None:
        observed = images.load(image)
        return observed.values, load_truth(truth, observed)
    clean = sample() if image is None else images.load(image).values
    return corrupted(clean, seed), clean


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
