"""The record of a restoration: all that it takes to do it again, and what came out."""

import hashlib
import importlib.metadata as metadata
import json
import platform
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dipsop import __version__
from dipsop.errors import DipsopError
from dipsop.files import printable, reason, shown
from dipsop.jobs.job import Reading, RestoreJob, from_dict
from dipsop.pictures.encode import format_of

_VERSIONS = ("torch", "numpy", "pillow", "imagecodecs", "tifffile")


def record(job: RestoreJob, reading: Reading, most_pixels: int | None, report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is written as JSON.

    Parameters
    ----------
    job : RestoreJob
    reading : Reading
    most_pixels : int or None
        Size of the pieces.
    report : mapping
        The summary.
    """
    import torch

    picture = reading.picture
    height, width, channels = picture.samples.shape
    threads = torch.get_num_threads()
    return {
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": {
            "dipsop": __version__,
            **{name: version_of(name) for name in _VERSIONS},
            "python": platform.python_version(),
        },
        "machine": {"system": platform.system(), "processor": platform.machine(), "threads": threads},
        "picture": {
            "width": width,
            "height": height,
            "channels": channels,
            "depth": str(picture.samples.dtype),
            "format": picture.format,
        },
        "job": job.absolute().as_dict() | {"most_pixels": most_pixels, "threads": threads},
        "sha256": {**reading.digests, "out": hashlib.sha256(job.out.read_bytes()).hexdigest()},
        "result": dict(report),
    }


def version_of(name: str) -> str | None:
    """Return the version of a package; None where it is there under another name, or was not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def recorded(path: Path) -> tuple[RestoreJob, dict[str, str | None]]:
    """Read the job from a record, and of its files the digests, of its result also the "format".

    Raises
    ------
    DipsopError
        It cannot be read, is no record, or one of a version that had other options.
    """
    said: Any = None
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        job, digests = from_dict(said["job"]), dict(said["sha256"])
        interrupted = said["result"]["reason"] != "all steps taken"
        job = replace(job, last_step=int(said["result"]["steps"]) if interrupted else None)
        # What "auto" came to there; here it might be another.
        job = replace(job, config=replace(job.config, dtype=said["result"]["dtype"]))
    except OSError as error:
        raise DipsopError(f"{shown(path)} cannot be read ({reason(error)}): name a record.") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DipsopError(f"{shown(path)} {_trouble(said)}") from None
    return job, digests | {"format": format_of(job.out)}


def _trouble(said: Any) -> str:
    """What is wrong with what stands in a record."""
    try:
        version = printable(said["versions"]["dipsop"])
    except (KeyError, TypeError, AttributeError):
        return "is no record that restore --record wrote: name one."
    if version == __version__:
        return "is damaged: name a record that is as restore --record wrote it."
    return f"was written by dipsop {version} with other options: install that version."
