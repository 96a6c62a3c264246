"""Checks, made before anything is computed, that no output harms another file of the same command."""

import os
from collections.abc import Sequence
from pathlib import Path

from dipsop import files
from dipsop.errors import DipsopError


def check_apart(inputs: Sequence[Path | None], outputs: Sequence[Path | None]) -> None:
    """Check that every output has a name of its own.

    Raises
    ------
    DipsopError
        If an output would replace an input or another output, under whatever name or link.
    """
    taken = {os.path.realpath(path): "an input" for path in inputs if path is not None}
    for path in outputs:
        if path is None:
            continue
        real = os.path.realpath(path)
        if real in taken:
            raise DipsopError(f"{files.shown(path)} is {taken[real]} of the same command: choose another name.")
        taken[real] = "another output"


def check_suffix(path: Path, suffixes: Sequence[str]) -> None:
    """Check that a file that is no picture can be written, and is named after what it is going to hold.

    Raises
    ------
    DipsopError
        If it has another suffix, or as files.check_writable.
    """
    if path.suffix.lower() not in suffixes:
        raise DipsopError(f"{files.shown(path)} has an unknown suffix: use {' or '.join(suffixes)}.")
    files.check_writable(path)
