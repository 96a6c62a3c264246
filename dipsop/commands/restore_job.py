"""One picture from file to file: check everything, fit, write, report. Imported once a command has begun."""

import hashlib
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer

from dipsop import __version__
from dipsop.commands import memory, recording, resuming
from dipsop.commands.device import pick_device
from dipsop.commands.fitting import Work, fit
from dipsop.commands.inputs import load_mask, load_truth
from dipsop.commands.job import Job
from dipsop.commands.outputs import check_apart, check_suffix
from dipsop.commands.stopping import Stopping
from dipsop.errors import DipsopError, DivergenceError
from dipsop.files import as_json, check_writable, save_json, shown
from dipsop.precision import resolved_dtype
from dipsop.restoration import images
from dipsop.restoration.canvas import Canvas
from dipsop.restoration.fit import Step
from dipsop.restoration.images import Picture
from dipsop.restoration.quality import Array, psnr, ssim
from dipsop.restoration.trace import FIGURE_SUFFIXES, Trace, curves, record, save_figure


def run(job: Job, expected: Mapping[str, str | None] | None = None, tell: Callable[[Step], None] | None = None) -> int:
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
    work = begin(job, expected or {}, tell)
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
    if work.clean is not None:
        report |= quality(work.picture, written, work.clean)
    if job.record:
        save_json(job.record, recording.record(job, work.picture, work.digests, work.canvas.most_pixels, report))
    if expected is not None:
        report["as_recorded"] = hashlib.sha256(job.out.read_bytes()).hexdigest() == expected.get("out")
    if job.json:
        typer.echo(as_json(report))
    elif not job.quiet:
        typer.echo(in_words(report))
    return stopping.exit_status


def begin(job: Job, expected: Mapping[str, str | None], tell: Callable[[Step], None] | None) -> Work:
    """Read and check everything."""
    if job.threads:
        torch.set_num_threads(job.threads)
    picture = images.load(job.source)
    mask, mask_digest = (None, None) if job.mask is None else load_mask(job.mask, picture)
    protected, protect_digest = (None, None) if job.protect is None else load_mask(job.protect, picture)
    digests = {"source": picture.digest, "mask": mask_digest, "protect": protect_digest}
    for name, digest in digests.items():
        if name in expected and expected[name] != digest:
            raise DipsopError(f"{shown(getattr(job, name))} is not the file of the record: bring that one back.")
    clean = None if job.truth is None else load_truth(job.truth, picture)
    check_outputs(job, picture)
    device = pick_device(job.device)
    identity = resuming.identity(job, digests, device)
    resumed = None
    if job.resume and job.checkpoint:
        with suppress(DipsopError) if job.of_many else nullcontext():
            resumed = resuming.load(job.checkpoint, identity)
    most_pixels = job.most_pixels or memory.most_pixels(picture, job.memory, device, job.source)
    canvas = Canvas(picture, resumed["most_pixels"] if resumed else most_pixels)
    if resumed:
        resuming.fill(canvas, resumed)
    course_truth = clean if (job.trace or job.plot) and len(canvas.pieces) == 1 else None
    return Work(
        job=job,
        picture=picture,
        clean=clean,
        mask=mask,
        protected=protected,
        digests=digests,
        device=device,
        canvas=canvas,
        identity=identity,
        resumed=resumed,
        trace=Trace(course_truth),
        tell=tell,
    )


def check_outputs(job: Job, picture: Picture) -> None:
    """Find out now, not after the fit, what stands in the way of writing."""
    check_apart(
        [job.source, job.truth, job.mask, job.protect],
        [job.out, job.corruption_map, job.trace, job.plot, job.preview, job.checkpoint, job.record],
    )
    images.check_writable(job.out, picture)
    eight_bits = Picture(samples=np.zeros(picture.samples.shape, np.uint8))
    for path in (job.corruption_map, job.preview):
        if path:
            images.check_writable(path, eight_bits)
    for path in (job.trace, job.record):
        if path:
            check_suffix(path, (".json",))
    if job.plot:
        check_suffix(job.plot, FIGURE_SUFFIXES)
    if job.checkpoint:
        check_writable(job.checkpoint)


def write(work: Work) -> Picture:
    """Write the files that were asked for; return the clean picture.

    Where nothing was found corrupted, what is written is the file that was read.
    """
    job, canvas = work.job, work.canvas
    written = canvas.restored()
    untouched = not job.network_output and not canvas.found.any()
    if not (untouched and images.copy(job.source, work.picture, job.out)):
        images.save(job.out, written)
    if job.corruption_map:
        images.save_values(job.corruption_map, canvas.found)
    write_trace(work)
    return written


def write_trace(work: Work) -> None:
    """Write the record and the curves of the course, as far as they were asked for."""
    job, points = work.job, work.trace.points
    if job.trace:
        device = str(work.device)
        header = {"dipsop": __version__, "preset": job.preset, "config": asdict(job.config), "device": device}
        save_json(job.trace, record(points, header))
    if job.plot:
        save_figure(job.plot, curves(points))


def summary(work: Work, seconds: float) -> dict[str, Any]:
    """What `--json` prints."""
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
    if "psnr" in report:
        lines["PSNR"] = f"{report['psnr']:.2f} dB, before {report['psnr_input']:.2f} dB"
        lines["SSIM"] = f"{report['ssim']:.4f}"
    if "as_recorded" in report:
        lines["record"] = "the same bits again" if report["as_recorded"] else "another result than was recorded"
    return "\n".join(f"{name:<10} {value}" for name, value in lines.items())
