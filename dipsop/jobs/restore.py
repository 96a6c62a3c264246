"""One picture from file to file: read, fit, write, report.

Free of torch until what was asked for has been read and checked, so that a mistake is said at once.
"""

import hashlib
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dipsop import __version__
from dipsop.errors import DipsopError, DivergenceError
from dipsop.files import FIGURE_SUFFIXES, check_apart, check_suffix, check_writable, save_figure, save_json, shown
from dipsop.jobs.events import Begun, Done, Finishing, Noted, Preview, ShortOfMemory, Stop, Stopped, Written, never
from dipsop.jobs.job import Reading, RestoreJob
from dipsop.jobs.trace import curves, record
from dipsop.pictures import images
from dipsop.pictures.encode import format_of
from dipsop.pictures.masks import load_mask, load_truth
from dipsop.pictures.picture import Array, Picture, unit_values
from dipsop.pictures.preview import eight_bits, first_estimate
from dipsop.pictures.quality import psnr, ssim

if TYPE_CHECKING:
    from dipsop.jobs.fitting import Work
    from dipsop.restoration.fit import Step


def run(
    job: RestoreJob, stop: Stop = never, expected: Mapping[str, str | None] | None = None
) -> "Iterator[Noted | Begun | Step | Preview | ShortOfMemory | Finishing | Written | Stopped | Done]":
    """Restore a picture, or the pages of a TIFF one by one.

    Parameters
    ----------
    job : RestoreJob
    stop : callable
        Asked after every step: true writes the result so far, or with `of_many` keeps the checkpoint alone.
    expected : mapping or None
        SHA-256 that the files are to have, of a job that is done again; the "format" of its result, without which that
        is not compared.

    Yields
    ------
    Noted, Begun, Step and so on
        Noted for each of the picture's notes, and once for what cannot be written on the way; Begun again where memory
        was short and the work begins anew, and for every page; at the end Done with the summary, or Stopped.

    Raises
    ------
    DipsopError
        If a file or the device is not as it must be (then nothing is written but, perhaps, a preview), the fit
        diverges, or a file cannot be written in the end after all; those before it are there.
    """
    start = time.perf_counter()
    if (count := images.page_count(job.source)) > 1:
        from dipsop.jobs import pages

        if expected:
            raise _not_of_the_record(job.source)
        yield from pages.run(job, count, stop)
        return
    reading = read(job, expected or {})
    yield from map(Noted, reading.picture.notes)
    if job.preview and not _goes_on(job):
        picture = reading.picture
        images.save_eight_bits(job.preview, first_estimate(eight_bits(picture.samples)), picture)
        yield Preview(job.preview)
    from dipsop.checkpoint import remove_state
    from dipsop.jobs.fitting import begin, fit

    work = begin(job, reading)
    yield from map(Noted, work.notes[len(reading.picture.notes) :])
    try:
        yield from fit(work, stop)
    except DivergenceError:
        write_trace(work)  # shows how it came to that
        raise
    if work.stopped and job.of_many:
        yield Stopped(work.steps, job.config.steps * len(work.canvas.pieces))
        return
    written = write(work)
    report = summary(work, time.perf_counter() - start)
    if reading.clean is not None:
        report |= quality(reading.picture, written, reading.clean)
    if job.record:
        from dipsop.jobs import record as recording

        save_json(job.record, recording.record(job, reading, work.canvas.most_pixels, report))
    if job.checkpoint and not work.stopped:
        remove_state(job.checkpoint)  # all is written: there is nothing to go on with
    if expected is not None and format_of(job.out) == expected.get("format"):
        report["as_recorded"] = hashlib.sha256(job.out.read_bytes()).hexdigest() == expected.get("out")
    for path in (job.out, job.corruption_map, job.trace, job.plot, job.record):
        if path is not None:
            yield Written(path)
    yield Done(report)


def read(job: RestoreJob, expected: Mapping[str, str | None]) -> Reading:
    """Read all inputs and check all outputs.

    Raises
    ------
    DipsopError
        An input cannot be read, is not the one of the record, or an output cannot be written; nothing is.
    """
    picture = images.load(job.source, strict=job.strict)
    mask, mask_digest = (None, None) if job.mask is None else load_mask(job.mask, picture, as_stored=job.mask_as_stored)
    protected, protect_digest = (None, None) if job.protect is None else load_mask(job.protect, picture)
    if job.mask is not None and mask is not None and mask.all():
        raise DipsopError(f"{shown(job.mask)} is white all over, which leaves nothing to fill it from: is it inverted?")
    digests = {"source": picture.digest, "mask": mask_digest, "protect": protect_digest}
    for name, digest in digests.items():
        if name in expected and expected[name] != digest:
            raise _not_of_the_record(getattr(job, name))
    clean = None if job.truth is None else load_truth(job.truth, picture)
    check_outputs(job, picture)
    return Reading(picture, clean, mask, protected, digests)


def _not_of_the_record(path: Path) -> DipsopError:
    return DipsopError(f"{shown(path)} is not the file of the record: bring that one back.")


def check_outputs(job: RestoreJob, picture: Picture) -> None:
    """Find out now, not after the fit, what stands in the way of writing."""
    check_apart(
        [job.source, job.truth, job.mask, job.protect],
        [job.out, job.corruption_map, job.trace, job.plot, job.preview, job.checkpoint, job.record],
    )
    images.check_writable(job.out, picture)
    shallow = Picture(samples=np.broadcast_to(np.uint8(0), picture.samples.shape))
    for path in (job.corruption_map, job.preview):
        if path:
            images.check_writable(path, shallow)
    for path in (job.trace, job.record):
        if path:
            check_suffix(path, (".json",))
    if job.plot:
        check_suffix(job.plot, FIGURE_SUFFIXES)
    if job.checkpoint:
        check_writable(job.checkpoint)
        if job.checkpoint.exists() and not job.resume:  # it would be written over, and removed in the end
            raise DipsopError(f"{shown(job.checkpoint)} is there already: go on with --resume, or name another.")


def _goes_on(job: RestoreJob) -> bool:
    return job.resume and job.checkpoint is not None and job.checkpoint.exists()


def write(work: "Work") -> Picture:
    """Write the files that were asked for; return the clean picture.

    Where nothing was found corrupted, it is the file that was read, byte for byte, if `images.copy` can do that.
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
    """What came out, for scripts: `effective_lambda` is null where a mask was given, and nothing was looked for."""
    from dipsop.compute import resolved_dtype

    job = work.job
    known = [value for value in work.lambdas if value is not None]
    return {
        "out": str(job.out),
        "seconds": round(seconds, 3),
        "steps": work.steps,
        "seed": job.config.seed,
        "device": str(work.device),
        "dtype": str(resolved_dtype(work.device, job.config.dtype)).removeprefix("torch."),
        "preset": job.preset,
        "pieces": len(work.canvas.pieces),
        "effective_lambda": statistics.fmean(known) if known else None,
        "fraction_corrupted": float(work.canvas.found.mean()),
        "reason": work.reason,
    } | ({"notes": work.notes} if work.notes else {})


def quality(observed: Picture, written: Picture, clean: Array) -> dict[str, float]:
    """What a truth adds to the summary: dB before and after, and similarity after."""
    restored = unit_values(written.samples, observed.white)  # its own may be another, without the corruption
    return {
        "psnr": psnr(restored, clean),
        "ssim": ssim(restored, clean),
        "psnr_input": psnr(observed.values, clean),
    }
