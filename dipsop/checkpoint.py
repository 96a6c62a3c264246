"""States of long work as files: tensors, numbers and containers of them, never code."""

import hashlib
import io
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from dipsop.errors import DipsopError
from dipsop.files import reason, shown, write_atomically


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state, whole or not at all.

    Raises
    ------
    DipsopError
        As files.write_atomically.
    """
    packed = io.BytesIO()
    torch.save(state, packed)
    write_atomically(path, packed.getvalue(), _unfinished(path))


def remove_state(path: Path) -> None:
    """Remove a state, and what a run that was killed while it wrote one has left beside it.

    Where that cannot be done they stay, which harms nobody.
    """
    for left in (_unfinished(path), path):
        with suppress(OSError):
            left.unlink()


def _unfinished(path: Path) -> Path:
    """Where a state is written first: always there, as one run alone writes it."""
    target = path.resolve()
    name = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]  # of a length that every disk takes
    return target.with_name(f".dipsop-{name}.tmp")


def load_state(path: Path, remedy: str = "start anew, without --resume") -> dict[str, Any]:
    """Read a state, making nothing but tensors, numbers and containers of them, on the processor.

    Parameters
    ----------
    path : Path
    remedy : str
        What to do where it cannot be read, for the message.

    Raises
    ------
    DipsopError
        There is none, or the file is damaged or something else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(type(state).__name__)
    except OSError as error:
        raise DipsopError(f"{shown(path)} cannot be read ({reason(error)}): {remedy}.") from None
    except Exception as error:  # a damaged file may raise anything
        raise DipsopError(f"{shown(path)} is damaged ({type(error).__name__}): {remedy}.") from None
    return state
