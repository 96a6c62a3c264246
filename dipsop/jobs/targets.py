"""Which pictures a command means, and where each goes. Free of torch."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os.path import exists, isdir  # these of Path raise where the system does not let one look
from pathlib import Path

from dipsop.errors import DipsopError
from dipsop.files import identity, reason, shown
from dipsop.pictures.encode import FORMATS, READ_ALONE

_READ = (*FORMATS, *READ_ALONE)
RESTORED = ".restored"  # stands before the suffix of a result beside its picture


@dataclass(frozen=True)
class Target:
    """A picture and where its restored version goes, or a sentence that says why it cannot be done."""

    source: Path
    out: Path
    problem: str | None = None


def is_batch(pictures: Sequence[str], out: Path | None) -> bool:
    """Whether a command means a folder of results, and not one file."""
    first = Path(pictures[0])
    pattern = glob.has_magic(pictures[0]) and not exists(first)
    return len(pictures) > 1 or isdir(first) or pattern or (out is not None and isdir(out))


def beside(source: Path) -> Path:
    """Where the result goes that nobody named a place for: noisy.png to noisy.restored.png.

    A format that is not written becomes PNG.
    """
    suffix = source.suffix if source.suffix.lower() in FORMATS else ".png"
    return source.with_name(source.stem + RESTORED + suffix)


def targets(pictures: Sequence[str], out: Path) -> list[Target]:
    """List the pictures of files, folders and patterns, in the order of their names.

    Of a folder, every file below it that is named like a picture, with its place below the folder kept; hidden ones
    and the results left out, also those beside their pictures. Of the rest, the files themselves. What is read and not
    written (HEIC, AVIF) becomes PNG.

    Raises
    ------
    DipsopError
        Results would take the place of pictures or be one file, or there is no picture at all.
    """
    if out.suffix.lower() in FORMATS and not isdir(out):
        several = shown(Path(pictures[0])) + (" and others" if len(pictures) > 1 else "")
        raise DipsopError(f"{shown(out)} is named like one picture, for {several} name a folder as --out.")
    found: dict[Path, Target] = {}  # by what is written, else by what is not read
    sources = set()
    for source, place in _all(pictures, out):
        target = out / (place.with_suffix(".png") if place.suffix.lower() in READ_ALONE else place)
        problem = _problem(source, target)
        if problem is None and target in found and found[target].source != source:
            other = found[target].source
            remedy = "rename one of them" if source.parent == other.parent else "name their common folder instead"
            problem = f"{shown(source)} and {shown(other)} would both become {shown(target)}: {remedy}."
        found.setdefault(source if problem else target, Target(source, target, problem))
        sources.add(identity(source))
    if not found:
        raise DipsopError(f"{', '.join(pictures)} holds no pictures: name files that end in {', '.join(_READ)}.")
    for each in found.values():
        if each.problem is None and identity(each.out) in sources:
            raise DipsopError(f"{shown(each.out)} is one of the pictures: choose another folder as --out.")
    return list(found.values())


def _all(pictures: Sequence[str], out: Path) -> Iterator[tuple[Path, Path]]:
    for name in pictures:
        path = Path(name)
        matches = list(map(Path, matching(name)))
        among_others = (matches != [path] or len(pictures) > 1) and not _within(path.parent, out)
        for match in matches:
            if among_others and _within(match, out):  # scans/* meets scans/clean, by this or by the shell
                continue
            if isdir(match):
                yield from ((file, file.relative_to(match)) for file in _below(match, out))
            else:
                yield match, Path(match.name)


def matching(name: str) -> list[str]:
    """What a pattern matches, by name, but for what lies in a folder that it matches, too, as scans/** does.

    A name that is no pattern, or that of a file, is returned as it is; DipsopError where nothing matches.
    """
    if not glob.has_magic(name) or exists(name):
        return [name]
    if not (matches := sorted(glob.glob(name, recursive=True))):
        raise DipsopError(f"{name} matches no file: check the pattern.")
    folders = {Path(match) for match in matches if isdir(match)}
    return [match for match in matches if folders.isdisjoint(Path(match).parents)]


def _within(path: Path | str, folder: Path | str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _below(folder: Path, out: Path) -> Iterator[Path]:
    closed: list[Path] = []
    seen = {os.path.realpath(out)}

    def new(path: str) -> bool:
        """Whether a folder is to be looked into: what a link leads to, once, and not where that goes round."""
        real = os.path.realpath(path)
        if real in seen or (os.path.islink(path) and (_within(real, folder) or _within(folder, real))):
            return False
        seen.add(real)
        return True

    walk = os.walk(folder, onerror=lambda error: closed.append(Path(error.filename)), followlinks=True)
    for parent, folders, names in walk:
        folders[:] = [f for f in sorted(folders) if not f.startswith(".") and new(os.path.join(parent, f))]
        named_beside = {beside(Path(name)).name for name in names}
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in _READ and name not in named_beside:
                yield Path(parent, name)
    yield from closed  # each a problem of its own, and none of the others


def _problem(source: Path, target: Path) -> str | None:
    try:
        if isdir(source):
            return f"{shown(source)} cannot be listed: change its permissions, or name other folders."
        os.stat(source)
    except (FileNotFoundError, NotADirectoryError):
        return f"{shown(source)} does not exist: check the name."
    except OSError as error:
        return f"{shown(source)} cannot be read ({reason(error)}): change its permissions or its name."
    if target.suffix.lower() not in FORMATS:
        return f"{shown(source)} has no suffix of a picture format: end it in one of {', '.join(FORMATS)}."
    return None
