"""A folder or a CSV of labelled images once more, with corrections applied. What is there is only read."""

import csv
import errno
import os
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dipsop.classification import corrections, image_folder
from dipsop.classification.image_folder import Listed
from dipsop.errors import DataError, DipsopError
from dipsop.files import csv_bytes, exists, make_folder, reason, shown, write_atomically
from dipsop.jobs.events import Begun, Done, Noted, Stop, Stopped, Underway, never

LONGEST_NAME = 255  # bytes, on most disks
Event = Noted | Begun | Underway | Done | Stopped


@dataclass(frozen=True, kw_only=True)
class RelabelJob:
    """Labelled images, what was decided about them, and where they go.

    Parameters
    ----------
    data : Path
        A folder with a folder of images per class, or a CSV of path,label.
    corrections : tuple of Path
        As labels.html saved them, applied one after the other.
    out : Path
        The new folder, or the new CSV.
    link : bool
        Hard links rather than copies, or symbolic ones where the disk has no others; of a folder alone.
    """

    data: Path
    corrections: tuple[Path, ...]
    out: Path
    link: bool = False


def run(job: RelabelJob, stop: Stop = never) -> Iterator[Event]:
    """Write the corrected labels; of a folder all or nothing.

    Parameters
    ----------
    job : RelabelJob
    stop : callable
        Asked before every file of a folder: true ends it, and leaves nothing.

    Yields
    ------
    Noted
        Where files are left out of the copy of a folder.
    Begun, Underway
        Before the first file, and with every file.
    Done
        Its report has out, and how many images there are and how many have another label now.
    Stopped
        Instead, where `stop()` ended it.

    Raises
    ------
    DipsopError
        Data or corrections are not as they must be, or `out` is there.
    """
    left_out = Counter[str]()
    listed = _listed(job.data, left_out)
    if note := image_folder.note_on(left_out):
        yield Noted(note)
    labels = _corrected(listed, job.corrections)
    _check_free(job.out, job.data)
    changed = sum(before != after for (_, before), after in zip(listed, labels, strict=True))
    yield Begun(steps=len(listed))
    if job.data.is_file():
        write_atomically(job.out, _csv(job, listed, labels))
    else:
        targets = _targets(job.data, listed, labels)
        completed = yield from _fill(job, [path for path, _ in listed], targets, stop)
        if completed < len(listed):
            yield Stopped(completed=completed, of=len(listed))
            return
    yield Done({"out": str(job.out), "images": len(listed), "changed": changed})


def _listed(data: Path, left_out: Counter[str]) -> Listed:
    try:
        if data.is_file():
            return image_folder.list_csv(data)
        if not data.is_dir():
            raise DataError(f"{shown(data)} does not exist: name a folder with a folder per class, or a CSV.")
        listed = image_folder.list_folder(data, left_out)
        image_folder.check_there(path for path, _ in listed)
        return listed
    except OSError as error:
        at = shown(Path(error.filename or data))
        raise DataError(f"{at} cannot be looked into ({reason(error)}): open it, or name other data.") from None


def _corrected(listed: Listed, files: Sequence[Path]) -> list[str]:
    names, labels = [str(path) for path, _ in listed], [label for _, label in listed]
    classes = set(labels)
    for path in files:
        for k, label in corrections.decisions(path, names, labels, sorted(classes)).items():
            labels[k] = label
    return labels


def _check_free(out: Path, data: Path) -> None:
    """Refuse what is there, and what would be taken for a class of the original."""
    try:
        there = exists(out) and (not out.is_dir() or any(out.iterdir()) or data.is_file())
    except OSError as error:
        raise DataError(f"{shown(out)} cannot be looked into ({reason(error)}): choose another --out.") from None
    if there or not out.name:
        raise DataError(f"{shown(out)} is there already: choose another --out.")
    if os.path.ismount(out):
        raise DataError(f"{shown(out)} is a disk of its own: name a new folder on it as --out.")
    if data.is_dir() and Path(os.path.realpath(data)) in Path(os.path.realpath(out)).parents:
        raise DataError(f"{shown(out)} lies in {shown(data)}, which stays as it is: choose another --out.")


def _csv(job: RelabelJob, listed: Listed, labels: Sequence[str]) -> bytes:
    """The lines of the CSV with their further columns, its heading if it has one, paths as seen from the new one."""
    with job.data.open(encoding="utf-8-sig", newline="") as lines:
        rows = [row for row in csv.reader(lines) if row]
    heading = rows[: len(rows) - len(listed)]
    here = os.path.realpath(job.out.parent)
    elsewhere = here != os.path.realpath(job.data.parent)
    for row, (path, _), label in zip(rows[len(heading) :], listed, labels, strict=True):
        written = row[0].strip()
        row[:2] = [os.path.relpath(path, here) if elsewhere and not Path(written).is_absolute() else written, label]
    return csv_bytes(rows)


def _targets(data: Path, listed: Listed, labels: Sequence[str]) -> list[Path]:
    """Where each file goes, within the new folder: what changes its class yields to a name that is taken there."""
    inside = [path.relative_to(data) for path, _ in listed]
    staying = [path.parts[0] == label for path, label in zip(inside, labels, strict=True)]
    taken = {str(path).lower() for path, stays in zip(inside, staying, strict=True) if stays}
    targets = []
    for path, label, stays in zip(inside, labels, staying, strict=True):
        target = path if stays else _free(Path(label, *path.parts[1:]), path.parts[0], taken)
        taken.add(str(target).lower())  # some disks take A.jpg for a.jpg
        targets.append(target)
    return targets


def _free(target: Path, origin: str, taken: set[str]) -> Path:
    """The name itself, else a_from_dog.jpg, a_from_dog_2.jpg, …; the end of a long one yields to that."""
    number, name = 1, target
    while str(name).lower() in taken:
        stem, end = target.stem, f"_from_{origin}" + (f"_{number}" if number > 1 else "") + target.suffix
        while stem and len(os.fsencode(stem + end)) > LONGEST_NAME:
            stem = stem[:-1]
        name = target.with_name(stem + end)
        number += 1
    return name


def _fill(job: RelabelJob, sources: list[Path], targets: list[Path], stop: Stop) -> Generator[Event, None, int]:
    """Fill a folder beside the new one, which takes its name once it is whole; returns how many files are in it."""
    out = Path(os.path.realpath(job.out))  # what a link leads to, on that disk
    make_folder(out.parent)
    start, whole = time.monotonic(), out.with_name(f".dipsop-{secrets.token_hex(8)}.tmp")
    try:
        for k, (source, target) in enumerate(zip(sources, targets, strict=True)):
            if stop():
                return k
            _put(source, whole / target, job.link)
            done = (k + 1) / len(sources)
            yield Underway(done, (time.monotonic() - start) * (1 / done - 1), target.name)
        if out.is_dir():
            out.rmdir()  # it is empty
        whole.rename(out)
    except OSError as error:
        at = shown(Path(error.filename or job.out))
        raise DipsopError(f"{at} could not be copied ({reason(error)}): free space, or choose another --out.") from None
    finally:
        shutil.rmtree(whole, ignore_errors=True)
    return len(sources)


def _put(source: Path, target: Path, link: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(target):  # A.jpg and a.jpg, on a disk that takes one for the other
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    if not link:
        shutil.copy2(source, target)
        return
    original = os.path.realpath(source)
    try:
        os.link(original, target)
    except OSError:  # another disk, or one without hard links
        os.symlink(original, target)
