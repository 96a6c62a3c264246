"""One picture from file to file: read, fit, write, report. Free of torch until what was asked for has been checked."""

import hashlib
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dipsop import __version__
from dipsop.commands.job import Job
from dipsop.commands.reading import read
from dipsop.commands.stopping import Stopping
from dipsop.errors import DivergenceError
from dipsop.files import as_json, save_json, shown
from dipsop.restoration import images
from dipsop.restoration.encode import format_of
from dipsop.restoration.picture import Picture
from dipsop.restoration.quality import Array, psnr, ssim
from dipsop.restoration.trace import curves, record, save_figure

if TYPE_CHECKING:
    from dipsop.commands.fitting import Work
    from dipsop.restoration.fit import Step


def run(
    job: Job, expected: Mapping[str, str | None] | None = None, tell: "Callable[[Step], None] | None" = None
) -> int:
    """Do the job, and print its summary.

    Parameters
    ----------
    job : Job
    expected : mapping or None
        SHA-256 that the files are to have, of a job that is done again.
    tell : callable or None
        Is called with every step.

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
    reading = read(job, expected or {})
    from dipsop.commands.fitting import begin, fit

    work = begin(job, reading, tell)
    with Stopping() as stopping:
        try:
            fit(work, stopping)
        except DivergenceError:
            write_trace(work)  # shows how it came to that
            raise
        if stopping.signal is not None and job.of_many:
            return stopping.exit_status
        written = write(work)
        if job.checkpoint and stopping.signal is None:
            job.checkpoint.unlink(missing_ok=True)  # done: there is nothing to go on with
    report = summary(work, time.perf_counter() - start)
    if reading.clean is not None:
        report |= quality(reading.picture, written, reading.clean)
    if job.record:
        from dipsop.commands import recording

        save_json(job.record, recording.record(job, reading, work.canvas.most_pixels, report))
    if expected is not None:
        report["as_recorded"] = hashlib.sha256(job.out.read_bytes()).hexdigest() == expected.get("out")
    if job.json:
        typer.echo(as_json(report))
    elif not job.quiet:
        typer.echo(in_words(report))
    return stopping.exit_status


def write(work: "Work") -> Picture:
    """Write the files that were asked for; return the clean picture.

    Where nothing was found corrupted, what is written is the file that was read.
    """
    job, canvas = work.job, work.canvas
    written = canvas.restored()
    untouched = not job.network_output and not canvas.found.any()
    if not (untouched and images.copy(job.source, work.reading.picture, job.out)):
        images.save(job.out, written)
    if job.corruption_map:
        images.save_values(job.corruption_map, canvas.found)
    write_trace(work)
    return written


def write_trace(work: "Work") -> None:
    """Write the record and the curves of the course, as far as they were asked for."""
    job, points = work.job, work.trace.points
    if job.trace:
        device = str(work.device)
        header = {"dipsop": __version__, "preset": job.preset, "config": asdict(job.config), "device": device}
        save_json(job.trace, record(points, header))
    if job.plot:
        save_figure(job.plot, curves(points))


def summary(work: "Work", seconds: float) -> dict[str, Any]:
    """What `--json` prints."""
    from dipsop.precision import resolved_dtype

    job = work.job
    return {
        "out": str(job.out),
        "seconds": round(seconds, 3),
        "steps": work.steps,
        "seed": job.config.seed,
        "device": str(work.device),
        "dtype": str(resolved_dtype(work.device, job.config.dtype)).removeprefix("torch."),
        "preset": job.preset,
        "pieces": len(work.canvas.pieces),
        "effective_lambda": statistics.fmean(work.lambdas),
        "fraction_corrupted": float(work.canvas.found.mean()),
        "reason": work.reason,
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
    percent = 100 * report["fraction_corrupted"]
    pieces = f" in {report['pieces']} pieces" if report["pieces"] > 1 else ""
    lines = {
        "wrote": shown(Path(report["out"])),
        "corrupted": f"{percent:.{1 if percent >= 1 else 3}f} % of the values"
        if percent
        else "no sparse corruption found",
        "steps": f"{report['steps']}{pieces} in {report['seconds']:.1f} s on {report['device']} ({report['reason']})",
    }
    if percent and format_of(Path(report["out"])) == "JPEG":
        lines["note"] = "JPEG rounds all values once more: a .png or .tif keeps those that were not corrupted"
    if "psnr" in report:
        lines["PSNR"] = f"{report['psnr']:.2f} dB, before {report['psnr_input']:.2f} dB"
        lines["SSIM"] = f"{report['ssim']:.4f}"
    if "as_recorded" in report:
        lines["record"] = "the same bits again" if report["as_recorded"] else "another result than was recorded"
    return "\n".join(f"{name:<10} {value}" for name, value in lines.items())
