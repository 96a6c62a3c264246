"""PSNR against iteration: deep image prior with ℓ2, with ℓ1, with an explicit penalty on s, and with (u, v).

All start from the same network and fit the same corrupted picture. The others come close to the clean picture on their
way to the corrupted one, and would have to be stopped there by someone who knows the truth. The preset dip stays where
it arrives. Nothing in it is chosen by the truth; the weight of the penalty that is drawn is, in the penalty's favour.

Every fit is a process of its own (curve.py). Without a GPU as many run at a time as there are cores and memory: a step
is too short for two threads.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dipsop.compute import DeviceName, pick_device
from dipsop.errors import DipsopError
from dipsop.files import check_suffix, make_folder, reason, save_figure, save_json, shown, temporary_folder
from dipsop.jobs import memory, worker
from dipsop.jobs.curve import Curve
from dipsop.jobs.demo_figure import figure
from dipsop.jobs.events import Begun, Done, Stop, Stopped, Underway, Written, never
from dipsop.pictures import images, noise
from dipsop.pictures.masks import load_truth
from dipsop.pictures.picture import Array
from dipsop.restoration.config import DEMO, WholeImage

FRACTIONS = {"salt-and-pepper": 0.5, "random-valued": 0.3}  # of the values corrupted
TOP, LEFT, SIDE = 0, 96, 256  # the crop of the sample: head and shoulders


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
    kind : "salt-and-pepper" or "random-valued"
        The noise, on half of the values or on three tenths.
    steps : int >= 1 or None
        Of each method; None for their own.
    seed : int
    device : "auto", "cpu", "cuda" or "mps"
    """

    out: Path
    image: Path | None = None
    truth: Path | None = None
    kind: str = "salt-and-pepper"
    steps: int | None = None
    seed: int = 0
    device: DeviceName = "auto"


def run(job: DemoJob, stop: Stop = never) -> Iterator[Begun | Underway | Stopped | Written | Done]:
    """Fit all methods, and write how they compare.

    Yields
    ------
    Begun, Underway
        Begun with the steps of all of them together.
    Written, Done
        At the end; Done with the methods of the JSON file. Or Stopped, where `stop()` came before.

    Raises
    ------
    DipsopError
        If a file or the device is not as it must be, or a fit fails.
    """
    observed, clean = pictures(job.image, job.truth, job.seed, job.kind)
    device = pick_device(job.device).type
    configs, curves = methods(job.steps, job.seed), dict[str, Curve]()
    if device == "cpu" and (needed := _memory(configs, observed)) > (free := memory.free()):
        raise DipsopError(
            f"a fit to this picture needs {needed / 2**30:.1f} GiB of memory and {free / 2**30:.1f} GiB can be taken: "
            "close other programs, or give a smaller one as --image."
        )
    record_file, plot_file = job.out / "psnr_vs_iteration.json", job.out / "psnr_vs_iteration.png"
    make_folder(job.out)
    check_suffix(record_file, (".json",))
    check_suffix(plot_file, (".png",))
    yield Begun(sum(config.steps for config in configs.values()))
    for event in _side_by_side(observed, clean, configs, device, stop):
        if isinstance(event, Underway):
            yield event
        else:
            curves |= event
    if len(curves) < len(configs):
        yield Stopped(len(curves), len(configs))
        return
    curves = {name: curves[name] for name in configs}
    said = {"image": None if job.image is None else str(job.image), "noise": None if job.truth else job.kind}
    report = record(curves, configs)
    save_json(record_file, said | {"seed": job.seed, "device": device, "methods": report})
    save_figure(plot_file, figure(curves))
    yield Written(plot_file)
    yield Written(record_file)
    yield Done(report)


def _memory(configs: Mapping[str, WholeImage], observed: Array) -> int:
    """Bytes that the largest of the fits takes."""
    return max(memory.of_fit(config, observed.size) for config in configs.values())


def _side_by_side(
    observed: Array, clean: Array, configs: Mapping[str, WholeImage], device: str, stop: Stop
) -> Iterator[Underway | dict[str, Curve]]:
    """Do the fits, each in a process; yields every curve under its name as its fit ends. After a stop the rest lack."""
    slots: list[worker.Slot] = [({}, None)]
    if device == "cpu":
        slots = worker.slots(len(configs), memory.free(), each=max(worker.MEMORY_EACH, _memory(configs, observed)))
    with temporary_folder("dipsop-demo-") as folder:
        file = Path(folder) / "pictures.npz"
        try:
            np.savez(file, observed=observed, clean=clean)
        except OSError as error:
            raise DipsopError(f"{shown(file)} cannot be written ({reason(error)}): make room there.") from None

        def asked(name: str, threads: int | None) -> dict[str, Any]:
            return {"pictures": str(file), "config": asdict(configs[name]), "device": device, "threads": threads}

        done, begin = dict.fromkeys(configs, 0.0), time.monotonic()
        with closing(worker.side_by_side(list(configs), slots, asked, stop, "dipsop.jobs.curve")) as lines:
            for name, line in lines:
                if "error" in line:
                    raise DipsopError(f"the fit {name} failed: {line['error']}")
                done[name] = line.get("done", 1.0)
                if "out" in line:
                    yield {name: Curve(**line["out"])}
                share = sum(done.values()) / len(done)
                parts = "; ".join(f"{other} {100 * d:.0f} %" for other, d in done.items() if 0 < d < 1)
                yield Underway(share, (time.monotonic() - begin) * (1 - share) / share if share else 0.0, parts)


def pictures(image: Path | None, truth: Path | None, seed: int, kind: str) -> tuple[Array, Array]:
    """Return the corrupted picture and the clean one."""
    if image is not None and truth is not None:
        observed = images.load(image)
        return observed.values, load_truth(truth, observed)
    clean = sample() if image is None else images.load(image).values
    return corrupted(clean, kind, seed), clean


def sample() -> Array:
    """Return the picture that the demonstration runs on by default, (256, 256, 3) in [0, 1].

    A crop of the portrait of Eileen Collins (NASA, public domain) that scikit-image brings along.
    """
    from skimage.data import astronaut

    crop: Array = astronaut()[TOP : TOP + SIDE, LEFT : LEFT + SIDE].astype(np.float32) / 255
    return crop


def corrupted(clean: Array, kind: str = "salt-and-pepper", seed: int = 0) -> Array:
    """Return the picture with noise of that kind on its share of the values."""
    return noise.MODELS[kind](clean, FRACTIONS[kind], seed)[0]


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
    """Return what is written as JSON: for each method its configuration, the curve, peak, final, seconds, shares."""
    return {
        name: {
            "peak": curve.peak,
            "peak_step": curve.peak_step,
            "final": curve.final,
            "seconds": curve.seconds,
            "found": curve.found,
            "false_alarms": curve.false_alarms,
            "curve": {"step": curve.steps, "psnr": curve.psnr},
            "config": asdict(configs[name]),
        }
        for name, curve in curves.items()
    }
