"""Checkpoints of a restoration: what was done so far, and of which work it is."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from dipsop import __version__
from dipsop.checkpoint import load_state, save_state
from dipsop.errors import DipsopError
from dipsop.files import as_json, shown
from dipsop.jobs.canvas import Canvas
from dipsop.jobs.job import RestoreJob
from dipsop.restoration.fit import Step

FORMAT = 12  # of a fit's state: one more wherever another version of the code could not go on from it


def identity(job: RestoreJob, digests: Mapping[str, str | None], device: torch.device) -> str:
    """Return a digest of all that the result depends on: a checkpoint of other work cannot be gone on with."""
    config = replace(job.config, time_limit=None)
    said = [__version__, FORMAT, asdict(config), job.network_output, dict(digests), device.type]
    return hashlib.sha256(as_json(said).encode()).hexdigest()


def save(path: Path, work: str, canvas: Canvas, piece: int, step: Step, told: Mapping[str, Any]) -> None:
    """Write all that the rest of the work depends on, and what is to be told of it in the end.

    Parameters
    ----------
    work : str
        Its `identity`.
    canvas : Canvas
    piece : int
        The one under way.
    step : Step
        Its last.
    told : mapping
        Tensors, numbers and containers of them.
    """
    state: dict[str, Any] = {
        "work": work,
        "most_pixels": canvas.most_pixels,
        "piece": piece,
        "step": step.state(),
        "told": dict(told),
    }
    if piece:  # before the first piece is done there is nothing on the canvas
        state |= {"samples": torch.from_numpy(canvas.samples.view("u1")), "found": torch.from_numpy(canvas.found)}
    save_state(path, state)


def load(path: Path, work: str) -> dict[str, Any] | None:
    """Read a checkpoint; None where there is no file yet.

    Raises
    ------
    DipsopError
        The file is damaged, no checkpoint, or one of other work.
    """
    if not path.exists():
        return None
    state = load_state(path, remedy="name another checkpoint")
    if state.get("work") != work:
        raise DipsopError(
            f"{shown(path)} is of another picture, other options or another version: name another checkpoint."
        )
    return state


def fill(canvas: Canvas, state: Mapping[str, Any]) -> None:
    """Put the finished pieces back on the canvas."""
    if state["piece"]:
        canvas.samples[...] = state["samples"].numpy().view(canvas.samples.dtype)
        canvas.found[...] = state["found"].numpy()
