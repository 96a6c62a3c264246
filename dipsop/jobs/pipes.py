"""Standard input and output as files: a job of files knows of nothing else."""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dipsop.errors import DipsopError
from dipsop.files import reason, temporary_folder
from dipsop.jobs import restore
from dipsop.jobs.events import Done, Noted, Stop, Written, never
from dipsop.jobs.job import RestoreJob
from dipsop.pictures import images
from dipsop.pictures.encode import FORMATS

PIPE = Path("-")
MOST_BYTES = 1 << 30
_IN, _OUT = "standard input", "standard output"


def run(job: RestoreJob, stop: Stop = never, expected: Mapping[str, str | None] | None = None) -> Iterator[Any]:
    """Restore a picture as `restore.run`, with `-` as its source, its out, or both, or none.

    What comes goes to a temporary file; what goes out has the format of what came.

    Parameters, Yields
    ------------------
        As for restore.run.

    Raises
    ------
    DipsopError
        As for restore.run; nothing comes, too much, or no picture; it cannot be written in the format that it came in;
        nobody reads what goes out.
    """
    if PIPE not in (job.source, job.out):
        yield from restore.run(job, stop, expected)
        return
    with temporary_folder("dipsop-") as folder:
        names = {str(Path(folder, "in")): _IN, str(Path(folder, "out")): _OUT}
        try:
            yield from _with_files(job, Path(folder), stop, expected, names)
        except DipsopError as error:
            raise type(error)(_named(str(error), names)) from error


def _with_files(
    job: RestoreJob,
    folder: Path,
    stop: Stop,
    expected: Mapping[str, str | None] | None,
    names: Mapping[str, str],
) -> Iterator[Any]:
    of_files = job
    if job.source == PIPE:
        of_files = replace(of_files, source=folder / "in")
        _receive(of_files.source)
    if job.out == PIPE:
        _check_output()
        of_files = replace(of_files, out=(folder / "out").with_suffix(_suffix(of_files.source)))
    for event in restore.run(of_files, stop, expected):
        match event:
            case Noted(sentence):
                yield Noted(_named(sentence, names))
            case Written(path) if path != job.out and path == of_files.out:
                _send(path)
            case Done(report):
                notes = [_named(note, names) for note in report.get("notes", ())]
                yield Done({**report, "out": str(job.out)} | ({"notes": notes} if notes else {}))
            case _:
                yield event


def _named(sentence: str, names: Mapping[str, str]) -> str:
    """Call temporary files by what they stand for."""
    for path, name in names.items():
        sentence = sentence.replace(path, name)
    return sentence


def _receive(path: Path) -> None:
    """Write what comes to a file, as far as is allowed."""
    if sys.stdin is None or sys.stdin.isatty():
        raise DipsopError(f"{_IN} is the keyboard: send a picture into it, or name a file.")
    left = MOST_BYTES
    try:
        with path.open("wb") as file:
            while data := sys.stdin.buffer.read(min(left + 1, 1 << 20)):
                left -= len(data)
                if left < 0:
                    raise DipsopError(f"{_IN} is too long: save the picture, and name the file.")
                file.write(data)
    except OSError as error:
        raise DipsopError(f"{_IN} could not be kept ({reason(error)}): save the picture, and name the file.") from None
    if left == MOST_BYTES:
        raise DipsopError(f"{_IN} is empty: send a picture into it.")


def _check_output() -> None:
    if sys.stdout is None or sys.stdout.isatty():
        raise DipsopError(f"{_OUT} is a terminal: send it to a file or another program, or name a file as --out.")


def _suffix(source: Path) -> str:
    """The suffix of the format that a picture came in."""
    format = images.kind(source)
    suffix = next((suffix for suffix, name in FORMATS.items() if name == format), None)
    if suffix is None:
        raise DipsopError(f"{source} is a {format} file, which is not written: name a .png file as --out.")
    return suffix


def _send(path: Path) -> None:
    """Write a file to standard output."""
    try:
        with path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer, 1 << 20)
        sys.stdout.buffer.flush()
    except OSError as error:
        # What waits in the buffer would be tried again, and complained of, when the process ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        raise DipsopError(f"{_OUT} could not be written ({reason(error)}): name a file as --out.") from None
