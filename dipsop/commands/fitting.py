"""From a picture to a restored one: pieces, steps, and all that listens to the steps."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dipsop.commands import memory, resuming
from dipsop.commands.device import pick_device
from dipsop.commands.display import Display
from dipsop.commands.job import Job
from dipsop.commands.reading import Reading, eight_bits, save_preview
from dipsop.commands.stopping import Stopping
from dipsop.errors import DipsopError
from dipsop.files import shown
from dipsop.restoration.canvas import Canvas
from dipsop.restoration.fit import Restoration, Step, ending, iter_restore
from dipsop.restoration.pace import Pace
from dipsop.restoration.picture import quantized
from dipsop.restoration.tiles import Tile
from dipsop.restoration.trace import Trace

SECONDS_BETWEEN_PREVIEWS = 3.0
SECONDS_BETWEEN_CHECKPOINTS = 10.0


@dataclass
class Work:
    """A job under way: what was read, and what there is of the result."""

    job: Job
    reading: Reading
    device: torch.device
    canvas: Canvas
    identity: str
    resumed: dict[str, Any] | None
    trace: Trace
    tell: Callable[[Step], None] | None
    lambdas: list[float] = field(default_factory=list)
    steps: int = 0
    reason: str = ""


def begin(job: Job, reading: Reading, tell: Callable[[Step], None] | None) -> Work:
    """Lay out the work that is left: all of it, or what a checkpoint leaves."""
    if job.threads:
        torch.set_num_threads(job.threads)
    device = pick_device(job.device)
    identity = resuming.identity(job, reading.digests, device)
    resumed = None
    if job.resume and job.checkpoint:
        with suppress(DipsopError) if job.of_many else nullcontext():
            resumed = resuming.load(job.checkpoint, identity)
    most_pixels = job.most_pixels or memory.most_pixels(reading.picture, job.memory, device, job.source)
    canvas = Canvas(reading.picture, resumed["most_pixels"] if resumed else most_pixels)
    if resumed:
        resuming.fill(canvas, resumed)
    course_truth = reading.clean if (job.trace or job.plot) and len(canvas.pieces) == 1 else None
    return Work(job, reading, device, canvas, identity, resumed, Trace(course_truth), tell)


def fit(work: Work, stopping: Stopping) -> None:
    """Restore piece by piece, in smaller pieces where memory turns out to be short."""
    while True:
        try:
            with Display(work.job.config.steps * len(work.canvas.pieces), quiet=work.job.quiet) as display:
                return _fit(work, stopping, display)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
        height, width, _ = work.reading.picture.samples.shape
        pixels = (work.canvas.most_pixels or height * width) // 2
        if pixels < memory.SMALLEST:
            raise DipsopError(f"{shown(work.job.source)} needs more memory than there is: close other programs.")
        display.tell(f"not enough memory: going on in pieces of {pixels / 1e6:.1f} megapixels")
        work.canvas, work.resumed = Canvas(work.reading.picture, pixels), None


def _fit(work: Work, stopping: Stopping, display: Display) -> None:
    job, canvas = work.job, work.canvas
    listeners = _Listeners(work, display)
    first = work.resumed["piece"] if work.resumed else 0
    for number in range(first, len(canvas.pieces)):
        for step in _steps(work, number):
            stopping.kept = True
            of_all = _of_all(step, number, work)
            listeners.hear(number, step, of_all)
            stop = stopping.signal is not None or of_all.iteration == job.last_step
            if stop:
                break
        work.reason = "interrupted" if stopping.signal is not None else ending(step, job.config)
        display.say("stopping; Ctrl-C again leaves at once" if stop else "the last prediction")
        if stop and job.checkpoint and step.done < 1:
            resuming.save(job.checkpoint, work.identity, canvas, number, step)
        if stop and job.of_many:
            return
        restoration = step.restoration(work.reason)
        _put(work, canvas.pieces[number], restoration)
        work.steps = of_all.iteration
        if stop:
            break
    work.trace.finish(of_all, restoration)


def _steps(work: Work, number: int) -> Iterator[Step]:
    """The steps of the fit to one piece, from where a checkpoint left them."""
    piece, config = work.canvas.pieces[number], work.job.config
    if config.time_limit is not None:
        config = replace(config, time_limit=config.time_limit / len(work.canvas.pieces))
    resumed = work.resumed if work.resumed and work.resumed["piece"] == number else None
    return iter_restore(
        work.canvas.values(piece),
        config,
        work.device,
        mask=None if (mask := work.reading.mask) is None else mask[piece.outer],
        protected=None if (protected := work.reading.protected) is None else protected[piece.outer],
        state=resumed and resumed["step"],
    )


def _of_all(step: Step, number: int, work: Work) -> Step:
    """The step of a piece as one of the whole work."""
    count = len(work.canvas.pieces)
    if count == 1:
        return step
    return replace(
        step,
        iteration=number * work.job.config.steps + step.iteration,
        done=(number + step.done) / count,
        seconds_left=step.seconds_left + (count - number - 1) * (step.seconds + step.seconds_left),
    )


class _Listeners:
    """What is told of every step, and acts now and then: display, trace, preview, checkpoint."""

    def __init__(self, work: Work, display: Display) -> None:
        self.work, self.display = work, display
        self.previews, self.checkpoints = Pace(SECONDS_BETWEEN_PREVIEWS), Pace(SECONDS_BETWEEN_CHECKPOINTS)

    def hear(self, number: int, step: Step, of_all: Step) -> None:
        job = self.work.job
        self.work.trace.add(of_all)
        self.display.see(of_all)
        if self.work.tell:
            self.work.tell(of_all)
        if path := job.preview:
            self.previews.maybe(lambda: save_preview(path, self.work.reading.picture, self.seen(number, step)))
        if (state := job.checkpoint) and step.done < 1:
            self.checkpoints.maybe(lambda: resuming.save(state, self.work.identity, self.work.canvas, number, step))

    def seen(self, number: int, step: Step) -> NDArray[np.uint8]:
        """The canvas as it stands, and the piece under way on it, at 8 bits."""
        canvas, piece = self.work.canvas, self.work.canvas.pieces[number]
        picture = eight_bits(canvas.samples).copy()
        picture[piece.inner] = quantized(step.preview()[piece.inner_of_outer], np.dtype(np.uint8))
        return picture


def _put(work: Work, piece: Tile, restoration: Restoration) -> None:
    """Put a finished piece on the canvas."""
    found = restoration.corrupted
    if work.job.network_output:
        work.canvas.put(piece, restoration.network_output, np.ones_like(found), found)
    else:
        work.canvas.put(piece, restoration.image, found, found)
    work.lambdas.append(restoration.effective_lambda)


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was short: PyTorch says so by a RuntimeError on a processor."""
    words = ("not enough memory", "can't allocate memory", "out of memory")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)
