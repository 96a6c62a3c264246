"""Writing files so that never half a file is left and never an existing one is harmed."""

import csv
import io
import json
import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from unicodedata import category

from dipsop.errors import DipsopError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE_SUFFIXES = (".png", ".pdf", ".svg")


def shown(path: Path) -> str:
    """Name a path within a sentence: as it is, or quoted with escapes where it would break the line.

    Parameters
    ----------
    path : Path
        Any path, also one with line breaks or with bytes that are no text.

    Returns
    -------
    str
        One printable line.
    """
    return printable(str(path))


def printable(text: str) -> str:
    """Return a name as it is, or quoted with escapes where it would break the line or could not be printed.

    Spaces of all widths count as printable: telephones and Japanese keyboards put them into names.
    """
    escaped = "".join(c if c.isprintable() or category(c) == "Zs" else ascii(c)[1:-1] for c in text)
    return text if escaped == text else f"'{escaped}'"


def exists(path: Path) -> bool:
    """Whether there is such a path; OSError where the system does not say, which pathlib takes for no since 3.14."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def identity(path: Path) -> Hashable:
    """What all names of a file have in common, by links or on a disk that ignores case; its place if there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return os.path.realpath(path)
    return status.st_dev, status.st_ino


def check_writable(path: Path) -> None:
    """Check, without touching anything, that a file can be written, so that long work is not done in vain.

    Parameters
    ----------
    path : Path
        The file that is going to be written; an existing one is going to be replaced.

    Raises
    ------
    DipsopError
        Its folder is missing or closed, or the path is a folder, a device or a write-protected file.
    """
    try:
        target = Path(os.path.realpath(path))
        exists, folder_exists = target.exists(), target.parent.is_dir()
    except (OSError, ValueError) as error:
        raise DipsopError(f"{shown(path)} cannot be written ({reason(error)}): choose another name.") from None
    if not folder_exists:
        raise DipsopError(f"{shown(path)} cannot be written, its folder does not exist: create {shown(target.parent)}.")
    if target.is_dir():
        raise DipsopError(f"{shown(path)} is a folder: name a file in it.")
    if exists and not target.is_file():
        raise DipsopError(f"{shown(path)} is not a regular file: choose another name.")
    if exists and not os.access(target, os.W_OK):
        raise DipsopError(f"{shown(path)} is write-protected: change its permissions or choose another name.")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise DipsopError(f"{shown(path)} cannot be written, no permission in its folder: choose another folder.")


def check_suffix(path: Path, suffixes: Sequence[str]) -> None:
    """Check that a file that is no picture can be written, and is named after what it is going to hold.

    Raises
    ------
    DipsopError
        If it has another suffix, or as check_writable.
    """
    if path.suffix.lower() not in suffixes:
        raise DipsopError(f"{shown(path)} has an unknown suffix: use {' or '.join(suffixes)}.")
    check_writable(path)


def check_apart(inputs: Sequence[Path | None], outputs: Sequence[Path | None]) -> None:
    """Check that every output of a command has a name of its own.

    Raises
    ------
    DipsopError
        If an output would replace an input or another output, under whatever name or link.
    """
    taken = {identity(path): "an input" for path in inputs if path is not None}
    for path in outputs:
        if path is None:
            continue
        file = identity(path)
        if file in taken:
            raise DipsopError(f"{shown(path)} is {taken[file]} of the same command: choose another name.")
        taken[file] = "another output"


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises
    ------
    DipsopError
        A file is in the way, or there is no permission.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DipsopError(f"{shown(path)} cannot be made a folder ({reason(error)}): choose another --out.") from None


def temporary_folder(prefix: str) -> "tempfile.TemporaryDirectory[str]":
    """Make a folder that goes when the block ends that it is entered for.

    Raises
    ------
    DipsopError
        There is no place for one.
    """
    try:
        return tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)
    except OSError:
        sentence = "there is no folder for temporary files: set TMPDIR to one that can be written."
        raise DipsopError(sentence) from None


def write_atomically(path: Path, data: bytes | IO[bytes], temporary: Path | None = None) -> None:
    """Write a file whole or not at all: a temporary beside it, flushed to the disk, then renamed over it.

    Parameters
    ----------
    path : Path
        The file to write. An existing file keeps its permissions and stays unharmed until the new one is complete;
        of a symbolic link the target is replaced.
    data : bytes or binary file
        The whole content; of a file, from its beginning.
    temporary : Path or None
        Where to write first, in the same folder; what may be there is written over. None takes a name that nobody has.

    Raises
    ------
    DipsopError
        The folder, the permissions or the disk do not allow it; then nothing has changed.
    """
    check_writable(path)
    target = Path(os.path.realpath(path))
    mode = "xb" if temporary is None else "wb"
    temporary = temporary or target.with_name(f".dipsop-{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open(mode) as file:
            if isinstance(data, bytes):
                file.write(data)
            else:
                data.seek(0)
                shutil.copyfileobj(data, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except OSError as error:
        raise unwritten(path, error) from error
    finally:  # also on Ctrl-C; once renamed there is nothing left to remove
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def unwritten(path: Path, error: OSError) -> DipsopError:
    """The sentence for a file whose writing failed on the way."""
    return DipsopError(f"{shown(path)} could not be written ({reason(error)}): free space or choose another place.")


def reason(error: OSError | ValueError) -> str:
    """Say in lower case what the system said, without the path and the number."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return text[0].lower() + text[1:]


def save_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a record, whole or not at all; numbers that JSON does not have (infinite, NaN) become null.

    Raises
    ------
    DipsopError
        As write_atomically.
    """
    write_atomically(path, as_json(value, indent=1).encode() + b"\n")


def as_json(value: Any, indent: int | None = None) -> str:
    """Return the JSON of a value; numbers that JSON does not have (infinite, NaN) become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def csv_bytes(rows: Iterable[Iterable[Any]]) -> bytes:
    """Return rows as CSV in UTF-8, whose lines end with a line feed.

    Names of files that are no text come back as the bytes they are. A carriage return in one is quoted: Python before
    3.13 quotes no line break but that which its own lines end with, so they end with both, at first.
    """
    lines = _Lines()
    csv.writer(lines, lineterminator="\r\n").writerows(rows)
    return b"".join(line.removesuffix("\r\n").encode("utf-8", "surrogateescape") + b"\n" for line in lines)


def save_figure(path: Path, figure: "Figure", dpi: int = 150) -> None:
    """Write a figure of matplotlib in the format that the suffix names (FIGURE_SUFFIXES), whole or not at all.

    Raises
    ------
    DipsopError
        As write_atomically.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix[1:].lower(), dpi=dpi)
    write_atomically(path, drawn.getvalue())


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class _Lines(list[str]):
    write = list.append
