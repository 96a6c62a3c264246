"""PSNR against iteration: deep image prior with ℓ2, with ℓ1, with an explicit penalty on s, and with (u, v).

All start from the same network and fit the same corrupted picture. The others come close to the clean picture on their
way to the corrupted one, and would have to be stopped there by someone who knows the truth. The preset dip stays where
it arrives. Nothing in it is chosen by the truth; the weight of the penalty that is drawn is, in the penalty's favour.

Every fit is a process of its own (curve.py), as many at a time as there are cores: a step is too short for two threads.
"""

import os
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dipsop.compute import DeviceName, pick_device
from dipsop.errors import DipsopError
from dipsop.files import check_suffix, make_folder, save_figure, save_json
from dipsop.jobs import worker
from dipsop.jobs.curve import Curve
from dipsop.jobs.events import Begun, Done, Stop, Stopped, Underway, Written, never
from dipsop.pictures import images, noise
from dipsop.pictures.masks import load_truth
from dipsop.pictures.quality import Array
from dipsop.restoration.config import DEMO, PENALTIES, WholeImage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NoiseName = Literal["salt-and-pepper", "random-valued"]
FRACTIONS: dict[NoiseName, float] = {"salt-and-pepper": 0.5, "random-valued": 0.3}  # of the values corrupted
TOP, LEFT, SIDE = 0, 96, 256  # the crop of the sample: head and shoulders
SECONDS_BETWEEN_QUESTIONS = 0.2  # whether to stop
LABELS = {"DIP-l2": "DIP, ℓ2", "DIP-l1": "DIP, ℓ1", "dip": "DIP with (u, v)"}


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
    kind: NoiseName = "salt-and-pepper"
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
        At the end; Done with what the JSON file holds. Or Stopped, where `stop()` came before.

    Raises
    ------
    DipsopError
        If a file or the device is not as it must be, or a fit fails.
    """
    observed, clean = pictures(job.image, job.truth, job.seed, job.kind)
    device = pick_device(job.device).type
    record_file, plot_file = job.out / "psnr_vs_iteration.json", job.out / "psnr_vs_iteration.png"
    make_folder(job.out)
    check_suffix(record_file, (".json",))
    check_suffix(plot_file, (".png",))
    configs, curves = methods(job.steps, job.seed), dict[str, Curve]()
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
    report = record(curves, configs)
    save_json(record_file, report)
    save_figure(plot_file, figure(curves))
    yield Written(plot_file)
    yield Written(record_file)
    yield Done(report)


def _side_by_side(
    observed: Array, clean: Array, configs: Mapping[str, WholeImage], device: str, stop: Stop
) -> Iterator[Underway | dict[str, Curve]]:
    """Do the fits, one process for each core; says a curve by its name when it is there, and fewer after a stop."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    at_once, threads = (min(cores, len(configs)), 1) if device == "cpu" else (1, None)
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    said: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()
    running: set[subprocess.Popen[str]] = set()
    for name in configs:
        waiting.put(name)

    with tempfile.TemporaryDirectory(prefix="dipsop-demo-") as folder:
        file = Path(folder) / "pictures.npz"
        np.savez(file, observed=observed, clean=clean)

        def work() -> None:
            with suppress(queue.Empty):
                while True:
                    name = waiting.get_nowait()
                    asked = {"pictures": str(file), "config": asdict(configs[name]), "device": device}
                    process = worker.start(asked | {"threads": threads}, {}, "dipsop.jobs.curve")
                    running.add(process)

                    def hear(line: dict[str, Any], name: str = name) -> None:
                        said.put((name, line))

                    said.put((name, worker.outcome(process, hear)))
                    running.discard(process)

        workers = [threading.Thread(target=work, daemon=True) for _ in range(at_once)]
        for thread in workers:
            thread.start()
        done, begin, left = dict.fromkeys(configs, 0.0), time.monotonic(), len(configs)
        try:
            while left and not stop():
                try:
                    name, line = said.get(timeout=SECONDS_BETWEEN_QUESTIONS)
                except queue.Empty:
                    continue
                if "error" in line:
                    raise DipsopError(line["error"])
                done[name] = line.get("done", 1.0)
                if "out" in line:
                    left -= 1
                    yield {name: Curve(**line["out"])}
                share = sum(done.values()) / len(done)
                parts = ", ".join(f"{label(other)} {d:.0%}" for other, d in done.items() if 0 < d < 1)
                yield Underway(share, (time.monotonic() - begin) * (1 - share) / share if share else 0.0, parts)
        finally:
            with suppress(queue.Empty):
                while True:
                    waiting.get_nowait()
            for process in tuple(running):
                process.terminate()
            for thread in workers:
                thread.join()


def pictures(image: Path | None, truth: Path | None, seed: int, kind: NoiseName) -> tuple[Array, Array]:
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


def corrupted(clean: Array, kind: NoiseName = "salt-and-pepper", seed: int = 0) -> Array:
    """Return the picture with noise of that kind on its share of the values."""
    model = {"salt-and-pepper": noise.salt_and_pepper, "random-valued": noise.random_valued}[kind]
    return model(clean, FRACTIONS[kind], seed)[0]


def methods(steps: int | None = None, seed: int = 0) -> dict[str, WholeImage]:
    """Return what is compared, by name: the configurations of dipsop.restoration.config.DEMO at a budget and a seed.

    Parameters
    ----------
    steps : int >= 1, or None for their own
    seed : int
        Of θ and z, the same for all.
    """
    return {name: replace(config, steps=steps or config.steps, seed=seed) for name, config in DEMO.items()}


def label(name: str) -> str:
    """What a method is called in the figure and in the table."""
    return LABELS.get(name) or f"DIP + {name.removeprefix('penalty ')}·|s|"


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


def figure(curves: Mapping[str, Curve]) -> "Figure":
    """Draw the curves of ℓ2, ℓ1, the best penalty and (u, v), and beside them what the weight of the penalty does."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = drawing.subplots(1, 2, width_ratios=(2, 1), sharey=True)
    best = max((f"penalty {weight:g}" for weight in PENALTIES), key=lambda name: curves[name].final)
    _draw_curves(left, {name: curves[name] for name in ("DIP-l2", "DIP-l1", best, "dip")})
    _draw_weights(right, curves)
    return drawing


def _draw_curves(panel: "Axes", curves: Mapping[str, Curve]) -> None:
    """PSNR against iteration, each with its peak marked."""
    for name, curve in curves.items():
        text = f"{label(name)}: peak {curve.peak:.1f} dB, final {curve.final:.1f} dB"
        (line,) = panel.plot(curve.steps, curve.psnr, label=text, linewidth=2 if name == "dip" else 1.2)
        panel.plot(curve.peak_step, curve.peak, "o", color=line.get_color())
    panel.set_xlabel("iteration")
    panel.set_ylabel("PSNR of the network's output, dB")
    panel.grid(alpha=0.3)
    panel.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False)


def _draw_weights(panel: "Axes", curves: Mapping[str, Curve]) -> None:
    """Peak and end against the weight of the penalty, between its limits ℓ1 and ℓ2."""
    names = ["DIP-l1", *(f"penalty {weight:g}" for weight in PENALTIES), "DIP-l2"]
    panel.plot([curves[name].peak for name in names], "o--", color="tab:gray", label="peak, picked by the truth")
    panel.plot([curves[name].final for name in names], "o-", color="tab:green", label="final")
    panel.axhline(curves["dip"].final, color="tab:red", label="DIP with (u, v), final")
    panel.set_xticks(range(len(names)), ["0 (ℓ1)", *(f"{weight:g}" for weight in PENALTIES), "∞ (ℓ2)"])
    panel.set_xlabel("weight λ of an explicit penalty λ·|s|")
    panel.grid(alpha=0.3)
    panel.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
