"""Writing files so that never half a file is left and never an existing one is harmed."""

import json
import math
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dipsop.errors import DipsopError


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
    """Return a name as it is, or quoted with escapes where it would break the line or could not be printed."""
    return text if text.isprintable() else ascii(text)


def exists(path: Path) -> bool:
    """Whether there is such a path; OSError where the system does not say, which pathlib takes for no since 3.14."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


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


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: a temporary beside it, flushed to the disk, then renamed over it.

    Parameters
    ----------
    path : Path
        The file to write. An existing file keeps its permissions and stays unharmed until the new one is complete;
        of a symbolic link the target is replaced.
    data : bytes
        The whole content.

    Raises
    ------
    DipsopError
        The folder, the permissions or the disk do not allow it; then nothing has changed.
    """
    check_writable(path)
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".dipsop-{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except OSError as error:
        raise DipsopError(
            f"{shown(path)} could not be written ({reason(error)}): free space or choose another place."
        ) from error
    finally:  # also on Ctrl-C; once renamed there is nothing left to remove
        temporary.unlink(missing_ok=True)


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


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
