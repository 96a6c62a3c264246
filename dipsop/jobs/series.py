"""Pictures of one camera: what is dead or hot in all is found first, then each is restored with that as its mask.

The map is a picture like every mask, and lies as the sensor does, however it was held. One that is there already is
taken back, and nothing is looked for: so a run that was killed goes on, and so do the next pictures of that camera.
"""

import os
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from os.path import exists, isdir  # these of Path raise where the system does not let one look
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dipsop.errors import DipsopError, ImageError
from dipsop.files import check_apart, identity, make_folder, shown
from dipsop.jobs import folder
from dipsop.jobs.events import Begun, DeadPixels, Done, Failed, Progress, Restored, Skipped, Stop, Underway, never
from dipsop.jobs.folder import FolderJob
from dipsop.jobs.targets import Target, matching, targets
from dipsop.pictures import images
from dipsop.pictures.exif import as_stored
from dipsop.pictures.masks import size
from dipsop.pictures.picture import Picture
from dipsop.restoration.config import HeldOut

MAP = "dead-pixels.png"  # in the folder of the results, where no other place is named


def run(
    job: FolderJob, stop: Stop = never
) -> Iterator[Underway | DeadPixels | Begun | Progress | Restored | Skipped | Failed | Done]:
    """Find what is dead in all pictures, and restore them into a folder.

    Parameters
    ----------
    job : FolderJob
        Its `each.corruption_map` says where the map of what is dead goes, and is taken back from; None: into the folder
        of the results. `overwrite` finds it again. The config is a HeldOut with the shipped weights.
    stop : callable
        As for `folder.run`; while the pictures are looked at it leaves nothing.

    Yields
    ------
    Underway while the pictures are looked at, DeadPixels, and the events of `folder.run`. A picture that cannot be read
    is left out of the look, and then is one that Failed.

    Raises
    ------
    DipsopError
        Besides those of `folder.run`: fewer than two pictures can be read, they differ in size or colours, or the map
        cannot be written or read.
    """
    path = job.each.corruption_map or job.each.out / MAP
    # The map of an earlier run may lie where a pattern of the pictures meets it.
    names = [name for pattern in job.pictures for name in matching(pattern) if identity(Path(name)) != identity(path)]
    job = replace(job, pictures=names)
    wanted = targets(job.pictures, job.each.out)
    if _is_among(path, job):
        raise DipsopError(f"{shown(path)} lies among the pictures, and would be one: choose another --corruption-map.")
    written = [target.out for target in wanted if target.problem is None]
    check_apart([target.source for target in wanted], [*written, path])
    if exists(path) and not job.overwrite:
        dead, frames = images.load(path).values > 0.5, 0
    else:
        sources = _readable(wanted)
        if path.parent == job.each.out:
            make_folder(path.parent)
        images.check_writable(path)
        found = yield from _look(sources, job, stop)
        if found is None:
            yield Done({"restored": 0, "skipped": 0, "failed": 0, "left": len(wanted)})
            return
        dead, frames = found, len(sources)
        images.save_values(path, dead)
    yield DeadPixels(path, float(dead.mean()), frames)
    each = replace(job.each, mask=path, mask_as_stored=True, corruption_map=None)
    yield from folder.run(replace(job, each=each), stop)


def _is_among(path: Path, job: FolderJob) -> bool:
    """Whether the map would be a picture next time: it is in one of their folders, and not with the results."""
    real = Path(os.path.realpath(path))
    folders = [Path(os.path.realpath(name)) for name in job.pictures if isdir(name)]
    beside_results = real.is_relative_to(os.path.realpath(job.each.out))
    return not beside_results and any(real.is_relative_to(folder) for folder in folders)


def _readable(wanted: Sequence[Target]) -> list[Path]:
    """The pictures that can be read, all of one size: an odd one is said before any time is spent."""
    sources: list[Path] = []
    first: Picture | None = None  # as its file has it, which is as the sensor does
    for target in wanted:
        try:
            picture = _as_stored(target.source)
        except ImageError:  # is said when it is restored
            continue
        if first is not None and picture.samples.shape != first.samples.shape:
            raise DipsopError(
                f"{shown(target.source)} is {size(picture)}, {shown(sources[0])} {size(first)}: "
                "the pictures of a series are of one size, so restore the others by themselves."
            )
        first = first or picture
        sources.append(target.source)
    if len(sources) < 2:
        raise DipsopError(
            f"a series needs two or more pictures, and of {len(wanted)} named {len(sources)} can be read: "
            "name more, or restore without --series."
        )
    return sources


def _as_stored(source: Path) -> Picture:
    """A picture as the sensor had it, of a camera that was turned as of one that was not."""
    picture = images.load(source)
    return replace(picture, samples=as_stored(picture.samples, picture.orientation))


def _look(sources: Sequence[Path], job: FolderJob, stop: Stop) -> Generator[Underway, None, NDArray[np.bool_] | None]:
    """Look at every picture once; returns what is dead in all, None after a stop."""
    from dipsop.compute import pick_device
    from dipsop.restoration.series import Series

    if not isinstance(job.each.config, HeldOut):
        raise ValueError("a series goes with a HeldOut config, the presets quick and best")
    series = Series(job.each.config, pick_device(job.each.device))
    begin = time.perf_counter()
    for number, source in enumerate(sources):
        said = f"dead pixels, picture {number + 1} of {len(sources)}"
        if not number:
            yield Underway(0.0, 0.0, said)
        for part in series.look(_as_stored(source).values):
            done = (number + part) / len(sources)
            yield Underway(done, (time.perf_counter() - begin) * (1 - done) / done, said)
            if stop():
                return None
    return series.found()
