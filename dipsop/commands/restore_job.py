"""One picture from file to file: check everything, fit, write, report. Imported once a command has begun."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer

from dipsop import __version__
from dipsop.commands.device import pick_device
from dipsop.commands.display import Display
from dipsop.commands.inputs import load_truth
from dipsop.commands.options import DeviceName
from dipsop.commands.outputs import check_apart, check_suffix
from dipsop.commands.stopping import Stopping
from dipsop.errors import DivergenceError
from dipsop.files import as_json, save_json, shown
from dipsop.precision import resolved_dtype
from dipsop.restoration import images
from dipsop.restoration.config import Config
from dipsop.restoration.fit import Restoration, ending, iter_restore
from dipsop.restoration.images import Picture
from dipsop.restoration.quality import Array, psnr, ssim
from dipsop.restoration.trace import FIGURE_SUFFIXES, Trace, curves, record, save_figure


@dataclass(frozen=True, kw_only=True)
class Job:
    """What was asked for: the options of `dipsop restore`."""

    source: Path
    out: Path
    truth: Path | None
    preset: str
    config: Config
    device: DeviceName
    network_output: bool
    trace: Path | None
    plot: Path | None
    corruption_map: Path | None
    json: bool
    quiet: bool


def run(job: Job) -> int:
    """Do the job.

    Returns
    -------
    int
        The exit status: 0, or that of the signal that ended the fit early.

    Raises
    ------
    DipsopError
        If a file or the device is not as it must be (then nothing is written), or the fit diverges.
    """
    start = time.perf_counter()
    picture = images.load(job.source)
    clean = None if job.truth is None else load_truth(job.truth, picture)
    check_outputs(job, picture)
    device = pick_device(job.device)
    trace = Trace(clean if job.trace or job.plot else None)
    with Stopping() as stopping:
        try:
            restoration = fit(job, picture, device, trace, stopping)
        except DivergenceError:
            write_trace(job, device, trace)  # shows how it came to that
            raise
        written = write(job, picture, restoration)
        write_trace(job, device, trace)
    report = summary(job, restoration, device, time.perf_counter() - start)
    if clean is not None:
        report |= quality(picture, written, clean)
    if job.json:
        typer.echo(as_json(report))
    elif not job.quiet:
        typer.echo(in_words(report))
    return stopping.exit_status


def check_outputs(job: Job, picture: Picture) -> None:
    """Find out now, not after the fit, what stands in the way of writing."""
    check_apart([job.source, job.truth], [job.out, job.corruption_map, job.trace, job.plot])
    images.check_writable(job.out, picture)
    if job.corruption_map:
        images.check_writable(job.corruption_map, Picture(samples=np.zeros(picture.samples.shape, np.uint8)))
    if job.trace:
        check_suffix(job.trace, (".json",))
    if job.plot:
        check_suffix(job.plot, FIGURE_SUFFIXES)


def fit(job: Job, picture: Picture, device: torch.device, trace: Trace, stopping: Stopping) -> Restoration:
    """Take steps until the budget is spent or a signal came; the last state is the result."""
    with Display(job.config.steps, quiet=job.quiet) as display:
        for step in display.watched(iter_restore(picture.values, job.config, device)):
            stopping.kept = True
            trace.add(step)
            if stopping.signal is not None:
                break
        display.say("the last prediction" if stopping.signal is None else "stopping; Ctrl-C again leaves at once")
        restoration = step.restoration(ending(step, job.config) if stopping.signal is None else "interrupted")
        trace.finish(step, restoration)
    return restoration


def write(job: Job, picture: Picture, restoration: Restoration) -> Picture:
    """Write the pictures that were asked for; return the clean one."""
    if job.network_output:
        written = picture.replaced(restoration.network_output, np.ones_like(restoration.corrupted))
    else:
        written = picture.replaced(restoration.image, restoration.corrupted)
    images.save(job.out, written)
    if job.corruption_map:
        images.save_values(job.corruption_map, restoration.corrupted)
    return written


def write_trace(job: Job, device: torch.device, trace: Trace) -> None:
    """Write the record and the curves, as far as they were asked for."""
    if job.trace:
        header = {"dipsop": __version__, "preset": job.preset, "config": asdict(job.config), "device": str(device)}
        save_json(job.trace, record(trace.points, header))
    if job.plot:
        save_figure(job.plot, curves(trace.points))


def summary(job: Job, restoration: Restoration, device: torch.device, seconds: float) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "out": str(job.out),
        "seconds": round(seconds, 3),
        "steps": restoration.steps,
        "seed": job.config.seed,
        "device": str(device),
        "dtype": str(resolved_dtype(device, job.config.dtype)).removeprefix("torch."),
        "preset": job.preset,
        "effective_lambda": restoration.effective_lambda,
        "fraction_corrupted": float(restoration.corrupted.mean()),
        "reason": restoration.reason,
    }


def quality(observed: Picture, written: Picture, clean: Array) -> dict[str, float]:
    """What a truth adds to the summary: dB before and after, and similarity after."""
    return {
        "psnr": psnr(written.values, clean),
        "ssim": ssim(written.values, clean),
        "psnr_input": psnr(observed.values, clean),
    }


def in_words(report: Mapping[str, Any]) -> str:
    """Return the summary as a person reads it; ASCII, for the sake of old consoles."""
    fraction = report["fraction_corrupted"]
    lines = {
        "wrote": shown(Path(report["out"])),
        "corrupted": f"{100 * fraction:.1f} % of the values" if fraction else "no sparse corruption found",
        "steps": f"{report['steps']} in {report['seconds']:.1f} s on {report['device']} ({report['reason']})",
    }
    if "psnr" in report:
        lines["PSNR"] = f"{report['psnr']:.2f} dB, before {report['psnr_input']:.2f} dB"
        lines["SSIM"] = f"{report['ssim']:.4f}"
    return "\n".join(f"{name:<10} {value}" for name, value in lines.items())
