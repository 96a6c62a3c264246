"""From a picture to a restored one: piece by piece, and in smaller pieces where memory turns out to be short."""

from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dipsop.compute import pick_device, release_memory
from dipsop.errors import DipsopError
from dipsop.files import shown
from dipsop.jobs import checkpoints, memory
from dipsop.jobs.canvas import Canvas
from dipsop.jobs.events import Begun, Finishing, Noted, Preview, ShortOfMemory, Stop
from dipsop.jobs.job import Reading, RestoreJob
from dipsop.jobs.pace import Pace
from dipsop.jobs.trace import Trace
from dipsop.pictures import images
from dipsop.pictures.encode import note_on
from dipsop.pictures.picture import Array, quantized
from dipsop.pictures.preview import eight_bits
from dipsop.pictures.tiles import Tile
from dipsop.restoration.fit import Step, ending, iter_restore

SECONDS_BETWEEN_PREVIEWS = 3.0
SECONDS_BETWEEN_CHECKPOINTS = 10.0


@dataclass
class Work:
    """A job under way: what was read, and what there is of the result.

    Attributes
    ----------
    resumed : dict or None
        The checkpoint to go on from.
    notes : list of str
        What a person should know of the picture and of the work.
    lambdas : list of float or None
        λ of each finished piece.
    seconds : float
        That the finished pieces took.
    steps : int
        That the finished pieces took.
    stopped : bool
        Whether `stop()` ended it.
    """

    job: RestoreJob
    reading: Reading
    device: torch.device
    identity: str
    canvas: Canvas
    trace: Trace
    resumed: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    lambdas: list[float | None] = field(default_factory=list)
    seconds: float = 0.0
    steps: int = 0
    reason: str = ""
    stopped: bool = False

    def told(self) -> dict[str, Any]:
        """What is to be told of the work in the end, as far as it is done, for a checkpoint."""
        return {"trace": self.trace.state(), "lambdas": self.lambdas, "seconds": self.seconds, "steps": self.steps}

    def load(self, told: dict[str, Any]) -> None:
        """Go on from there."""
        self.trace.load(told["trace"])
        self.lambdas, self.seconds, self.steps = list(told["lambdas"]), told["seconds"], told["steps"]

    def save(self, path: Path, piece: int, step: Step) -> None:
        """Write a checkpoint."""
        checkpoints.save(path, self.identity, self.canvas, piece, step, self.told())

    def begin_anew(self, most_pixels: int) -> None:
        """Forget all that there is, and take smaller pieces."""
        self.canvas = Canvas(self.reading.picture, most_pixels)
        self.trace = _trace(self.job, self.reading, self.canvas)
        self.resumed, self.lambdas, self.seconds, self.steps = None, [], 0.0, 0


def begin(job: RestoreJob, reading: Reading) -> Work:
    """Lay out the work that is left: all of it, or what a checkpoint leaves."""
    if job.threads:
        torch.set_num_threads(job.threads)
    if not job.network_output and _nothing_can_change(reading):
        job = replace(job, config=replace(job.config, steps=1))
    device = pick_device(job.device)
    identity = checkpoints.identity(job, reading.digests, device)
    resumed = None
    if job.resume and job.checkpoint:
        with suppress(DipsopError) if job.of_many else nullcontext():
            resumed = checkpoints.load(job.checkpoint, identity)
        if resumed and not job.of_many:
            _check_time(job, resumed)
    most_pixels = job.most_pixels or memory.most_pixels(
        reading.picture, job.config, job.memory, device, job.source, job.of_many
    )
    canvas = Canvas(reading.picture, resumed["most_pixels"] if resumed else most_pixels)
    trace, notes = _trace(job, reading, canvas), list(reading.picture.notes)
    if unkept := note_on(reading.picture, job.out):
        notes.append(unkept)
    if reading.clean is not None and (job.trace or job.plot) and len(canvas.pieces) > 1:
        notes.append("The picture is restored in pieces: the curves are without PSNR.")
    work = Work(job, reading, device, identity, canvas, trace, resumed, notes)
    if resumed and job.memory is not None and most_pixels is not None and canvas.side**2 > most_pixels:
        work.begin_anew(most_pixels)
        work.notes.append("The checkpoint's pieces take more than --memory allows: it is begun anew, in smaller ones.")
    elif resumed:
        checkpoints.fill(canvas, resumed)
        work.load(resumed["told"])
    return work


def _nothing_can_change(reading: Reading) -> bool:
    """Whether there is nothing to learn for: nothing is to be filled, or all of it is to stay."""
    none_to_fill = reading.mask is not None and not reading.mask.any()
    return none_to_fill or (reading.protected is not None and bool(reading.protected.all()))


def _check_time(job: RestoreJob, resumed: dict[str, Any]) -> None:
    """Refuse a time limit that is over: work that was long under way would end after a step, its checkpoint gone."""
    taken, limit = resumed["told"]["seconds"] + resumed["step"]["seconds"], job.config.time_limit
    if limit is not None and taken >= limit:
        raise DipsopError(f"the work has taken {taken:.0f} s already: say a longer --time-limit, which counts them.")


def _trace(job: RestoreJob, reading: Reading, canvas: Canvas) -> Trace:
    """The truth is compared on the way only where the picture is one piece: of several, one alone is under way."""
    wanted = (job.trace or job.plot) and len(canvas.pieces) == 1
    return Trace(reading.clean if wanted else None)


def fit(work: Work, stop: Stop) -> Iterator[Begun | Step | Preview | Noted | ShortOfMemory | Finishing]:
    """Restore piece by piece, in smaller pieces where memory turns out to be short."""
    while True:
        yield Begun(work.job.config.steps * len(work.canvas.pieces))
        try:
            yield from _fit_pieces(work, stop)
            return
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
        height, width, _ = work.reading.picture.samples.shape
        pixels = (work.canvas.most_pixels or height * width) // 2
        if pixels < memory.SMALLEST:
            raise DipsopError(f"{shown(work.job.source)} needs more memory than there is: close other programs.")
        work.begin_anew(pixels)
        yield ShortOfMemory(pixels)
        release_memory()  # now that nobody holds a step any more


def _fit_pieces(work: Work, stop: Stop) -> Iterator[Step | Preview | Noted | Finishing]:
    job, canvas = work.job, work.canvas
    previews, saves = Pace(SECONDS_BETWEEN_PREVIEWS), Pace(SECONDS_BETWEEN_CHECKPOINTS)
    first = work.resumed["piece"] if work.resumed else 0
    for number in range(first, len(canvas.pieces)):
        for step in _steps_of_piece(work, number):
            of_all = _of_all(step, number, work)
            work.trace.add(of_all)
            yield of_all
            try:
                if job.preview and previews.maybe(_save_preview, job.preview, work, number, step):
                    yield Preview(job.preview)
                if job.checkpoint and step.done < 1:
                    saves.maybe(work.save, job.checkpoint, number, step)
            except DipsopError as error:
                yield from _noted(work, error)
            work.stopped = stop() and step.done < 1  # a piece that is finished is kept
            ends_here = work.stopped or of_all.iteration == job.last_step
            if ends_here:
                break
        work.reason = "interrupted" if ends_here else ending(step, job.config)
        yield Finishing(work.stopped)
        if ends_here and job.checkpoint and step.done < 1:
            try:
                work.save(job.checkpoint, number, step)
                yield Noted(f"{shown(job.checkpoint)} is kept: the same command with --resume goes on from there.")
            except DipsopError as error:
                if job.of_many:  # then it is all that there would be of this picture
                    raise
                yield from _noted(work, error)
        work.steps = of_all.iteration
        if ends_here and job.of_many:
            return
        if ends_here:
            step.finish()
        image = _put(work, canvas.pieces[number], step)
        if ends_here or number == len(canvas.pieces) - 1:
            work.trace.finish(of_all, image)
            return
        del step, of_all, image  # a step holds its fit, which would lie beside that of the next piece
        release_memory()


def _noted(work: Work, error: DipsopError) -> Iterator[Noted]:
    """Say once that a file beside the result could not be written: a full disk, a share that is gone for a while.

    The fit is worth more than that file.
    """
    sentence = f"{error} The restoration goes on."
    if sentence not in work.notes:
        work.notes.append(sentence)
        yield Noted(sentence)


def _steps_of_piece(work: Work, number: int) -> Iterator[Step]:
    """The steps of the fit to one piece, from where a checkpoint left them."""
    piece, config = work.canvas.pieces[number], work.job.config
    if config.time_limit is not None:
        config = replace(config, time_limit=config.time_limit / len(work.canvas.pieces))
    goes_on = work.resumed if work.resumed and work.resumed["piece"] == number else None
    return iter_restore(
        work.canvas.values(piece),
        config,
        work.device,
        mask=None if (mask := work.reading.mask) is None else mask[piece.outer],
        protected=None if (protected := work.reading.protected) is None else protected[piece.outer],
        state=goes_on and goes_on.pop("step"),
    )


def _of_all(step: Step, number: int, work: Work) -> Step:
    """The step of a piece as one of the whole work; loss and share found stay those of the piece."""
    count = len(work.canvas.pieces)
    if count == 1:
        return step
    return replace(
        step,
        iteration=work.steps + step.iteration,
        done=(number + step.done) / count,
        seconds=work.seconds + step.seconds,
        seconds_left=step.seconds_left + (count - number - 1) * (step.seconds + step.seconds_left),
    )


def _save_preview(path: Path, work: Work, number: int, step: Step) -> None:
    """Write the canvas as it stands, and the piece under way on it."""
    canvas, piece = work.canvas, work.canvas.pieces[number]
    picture: NDArray[np.uint8] = eight_bits(canvas.samples).copy()
    under_way = quantized(step.preview()[piece.inner_of_outer], canvas.samples.dtype, canvas.picture.white)
    picture[piece.inner] = eight_bits(under_way)
    images.save_eight_bits(path, picture, work.reading.picture)


def _put(work: Work, piece: Tile, step: Step) -> Array:
    """Put a finished piece on the canvas; returns what was put there."""
    found = step.corrupted()
    if work.job.network_output:
        protected = work.reading.protected
        everywhere = np.ones_like(found) if protected is None else ~protected[piece.outer] | np.zeros_like(found)
        image = step.network_output()
        work.canvas.put(piece, image, everywhere, found)
    else:
        image = step.image()
        work.canvas.put(piece, image, image != work.canvas.values(piece), found)
    work.lambdas.append(step.effective_lambda())
    work.seconds += step.seconds
    return image


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was short: PyTorch says so by a RuntimeError on a processor."""
    words = ("not enough memory", "can't allocate memory", "out of memory")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)
