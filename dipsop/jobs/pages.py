"""The pages of a TIFF, restored one by one in this process, to a TIFF of the same pages.

Of all pages one is in memory at a time: those that are done wait in a file without a name, which is gone with the
process, however it ends.
"""

import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dipsop.errors import DipsopError
from dipsop.files import shown, unwritten, write_atomically
from dipsop.jobs.events import Begun, Done, Finishing, Noted, Preview, ShortOfMemory, Stop, Stopped, Written
from dipsop.jobs.job import Reading, RestoreJob
from dipsop.jobs.restore import check_outputs, summary
from dipsop.pictures import images
from dipsop.pictures.encode import format_of
from dipsop.pictures.encode_tiff import LARGEST_CLASSIC, TiffWriter
from dipsop.pictures.masks import load_mask
from dipsop.pictures.picture import Picture, quantized

if TYPE_CHECKING:
    from dipsop.jobs.fitting import Work
    from dipsop.restoration.fit import Step

_OF_ONE = ("truth", "checkpoint", "record", "trace", "plot")


@dataclass
class _Stack:
    """What is known of all pages before the first is begun, and what came of those that are done."""

    values: list[int] = field(default_factory=list)  # of each page
    bytes: int = 0  # of all samples
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    steps: int = 0
    found: int = 0  # values in which corruption was found
    lambdas: list[float] = field(default_factory=list)

    def of_all(self, step: "Step", page: int) -> "Step":
        """The step of a page as one of all the work: the pages to come take as long, for each of their values."""
        before, through, total = sum(self.values[:page]), sum(self.values[: page + 1]), sum(self.values)
        seconds = self.seconds + step.seconds
        left = (seconds + step.seconds_left) * (total - through) / through
        done = (before + step.done * (through - before)) / total
        return replace(step, done=done, seconds=seconds, seconds_left=step.seconds_left + left)

    def count(self, work: "Work") -> None:
        """Count a page in that is done."""
        self.seconds += work.seconds
        self.steps += work.steps
        self.found += int(work.canvas.found.sum())
        self.lambdas += [value for value in work.lambdas if value is not None]


class _Results:
    """The restored pages and the maps of what was found, in files that have no names until all are there."""

    def __init__(self, open_files: ExitStack, job: RestoreJob, stack: _Stack) -> None:
        self._files: dict[Path, IO[bytes]] = {}
        for path in (job.out, job.corruption_map):
            if path is not None:
                self._files[path] = open_files.enter_context(_nameless(path))
        big = stack.bytes > LARGEST_CLASSIC
        self._writers = [TiffWriter(file, len(stack.values), big) for file in self._files.values()]

    def add(self, picture: Picture, found: NDArray[np.bool_]) -> None:
        """Add a page."""
        what_was_found = Picture.from_array(quantized(found, np.dtype(np.uint8)))
        for path, writer, page in zip(self._files, self._writers, (picture, what_was_found), strict=False):
            try:
                writer.add(page)
            except OSError as error:
                raise unwritten(path, error) from None

    def write(self, path: Path) -> None:
        """Give one of the files its name."""
        write_atomically(path, self._files[path])


def _nameless(path: Path) -> IO[bytes]:
    """Open a file on the disk that a result is to be on."""
    try:
        return tempfile.TemporaryFile(dir=path.parent)
    except OSError as error:
        raise unwritten(path, error) from None


def run(
    job: RestoreJob, count: int, stop: Stop
) -> "Iterator[Noted | Begun | Step | Preview | ShortOfMemory | Finishing | Written | Stopped | Done]":
    """Restore every page of a TIFF; a mask or a protected region is that of every page.

    Parameters
    ----------
    job : RestoreJob
        Its `source` has several pages. Its `time_limit` is for all of them. The checkpoint of one of many is left
        aside.
    count : int
        How many pages there are.
    stop : callable
        Asked after every step: true writes the result so far, the pages to come as they were; or with `of_many`
        nothing.

    Yields
    ------
    Noted, Begun, Step and so on
        As for one picture; Begun for every page, with its number. Shares and times of the steps are those of all pages.

    Raises
    ------
    DipsopError
        Something that goes with one page alone is wanted, or any page cannot be read: before the first is begun.
    """
    start = time.perf_counter()
    _check(job, count)
    stack = _survey(job)
    yield from map(Noted, stack.notes)
    from dipsop.jobs.fitting import begin, fit

    with ExitStack() as open_files:
        results = _Results(open_files, job, stack)
        work = None
        for page, picture in enumerate(images.iter_pages(job.source)):
            if work and work.stopped:
                results.add(picture, np.zeros(picture.samples.shape, bool))
                continue
            work = begin(_of_page(job, stack.values[page] / sum(stack.values)), _reading(job, picture, page))
            yield from _of_all(fit(work, stop), stack, page)
            if work.stopped and job.of_many:
                yield Stopped(page, count)
                return
            stack.count(work)
            results.add(work.canvas.restored(), work.canvas.found)
            reached = page + 1
        assert work is not None
        untouched = not (stack.found or stack.notes or job.network_output)
        if not (untouched and images.copy(job.source, picture, job.out)):
            results.write(job.out)
        yield Written(job.out)
        if job.corruption_map:
            results.write(job.corruption_map)
            yield Written(job.corruption_map)
    yield Done(_summary(work, stack, reached, time.perf_counter() - start))


def _check(job: RestoreJob, count: int) -> None:
    """Refuse what is made for one page, before anything large is read."""
    name = f"{shown(job.source)} has {count} pages"
    for option in _OF_ONE:
        if getattr(job, option) and not (option == "checkpoint" and job.of_many):
            raise DipsopError(f"{name}, --{option} goes with one: leave it out, or save that page by itself.")
    for path in (job.out, job.corruption_map):
        if path and format_of(path) != "TIFF":
            raise DipsopError(f"{name}, which {shown(path)} cannot hold: end it in .tif.")
    for path in (job.mask, job.protect):
        if path and (pages := images.page_count(path)) not in (1, count):
            raise DipsopError(f"{name}, {shown(path)} has {pages}: give it one for all, or as many.")


def _survey(job: RestoreJob) -> _Stack:
    """Read every page once: what is wrong with the last one is said before the first is begun."""
    stack = _Stack()
    for page, picture in enumerate(images.iter_pages(job.source, strict=job.strict)):
        check_outputs(job, picture)
        _reading(job, picture, page)
        stack.values.append(picture.samples.size)
        stack.bytes += picture.samples_and_alpha.nbytes
        stack.notes += [note for note in picture.notes if note not in stack.notes]
    return stack


def _reading(job: RestoreJob, picture: Picture, page: int) -> Reading:
    """What the fit to a page is given."""
    mask = None if job.mask is None else load_mask(job.mask, picture, page, as_stored=job.mask_as_stored)[0]
    protected = None if job.protect is None else load_mask(job.protect, picture, page)[0]
    return Reading(picture, None, mask, protected, {"source": picture.digest})


def _of_page(job: RestoreJob, share: float) -> RestoreJob:
    """The job of a page, which takes its share of the time."""
    limit = job.config.time_limit
    config = replace(job.config, time_limit=None if limit is None else limit * share)
    return replace(job, config=config, checkpoint=None, resume=False)


def _of_all(events: Iterable[Any], stack: _Stack, page: int) -> Iterator[Any]:
    """Tell of a page as of a part of all the work."""
    for event in events:
        match event:
            case Begun(steps):
                yield Begun(steps, f"page {page + 1} of {len(stack.values)}")
            case Noted() | Preview() | ShortOfMemory() | Finishing():
                yield event
            case _:  # a step, which holds its fit: it gets no name that would outlast it
                yield stack.of_all(event, page)


def _summary(work: "Work", stack: _Stack, reached: int, seconds: float) -> dict[str, Any]:
    """What came out, in the words of one picture."""
    count = len(stack.values)
    of_all: dict[str, Any] = {
        "steps": stack.steps,
        "effective_lambda": statistics.fmean(stack.lambdas) if stack.lambdas else None,
        "fraction_corrupted": stack.found / sum(stack.values),
        "reason": f"interrupted on page {reached} of {count}" if work.stopped else work.reason,
        "pages": count,
    }
    return summary(work, seconds) | of_all | ({"notes": stack.notes} if stack.notes else {})
