"""What is asked for with one picture; as JSON it goes to other processes and into records. And what was read for it."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dipsop.compute import DeviceName
from dipsop.pictures.picture import Array, Picture
from dipsop.restoration.config import Config, HeldOut, WholeImage


@dataclass(frozen=True, kw_only=True)
class RestoreJob:
    """A picture, where its restored version goes, how it is restored, and what else is to be written.

    Parameters
    ----------
    source, out : Path
        The corrupted picture, and where the clean one goes.
    preset : str
        The name of `config`, for the record.
    config : HeldOut or WholeImage
    device : "auto", "cpu", "cuda" or "mps"
    network_output : bool
        Write f everywhere, not only where corruption was found.
    truth, mask, protect : Path or None
        The clean picture, for figures alone; where it is corrupted; what is to stay.
    corruption_map, preview, record, trace, plot : Path or None
        Files to write besides.
    checkpoint : Path or None
        Where the state is kept every few seconds; removed at the end. There must be no such file yet, but to resume.
    resume : bool
        Go on from there, where there is one.
    memory : int or None
        Bytes that may be taken; None: most of what is free.
    most_pixels : int or None
        Of a piece; None: as follows from `memory`.
    last_step : int or None
        After which to end, as a recorded run did.
    threads : int or None
        Of the processor; None for all.
    mask_as_stored : bool
        The mask lies as the pixels do in the file, not as its EXIF orientation shows them.
    strict : bool
        Refuse a picture that cannot be restored quite as it is in its file, instead of saying so.
    of_many : bool
        A stop keeps the checkpoint alone, and one of other work is ignored.
    """

    source: Path
    out: Path
    preset: str
    config: Config
    device: DeviceName = "auto"
    network_output: bool = False
    truth: Path | None = None
    mask: Path | None = None
    protect: Path | None = None
    corruption_map: Path | None = None
    preview: Path | None = None
    checkpoint: Path | None = None
    resume: bool = False
    record: Path | None = None
    trace: Path | None = None
    plot: Path | None = None
    memory: int | None = None
    most_pixels: int | None = None
    last_step: int | None = None
    threads: int | None = None
    mask_as_stored: bool = False
    strict: bool = False
    of_many: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The job in what JSON has."""
        paths = {name: str(value) for name, value in vars(self).items() if isinstance(value, Path)}
        return vars(self) | paths | {"config": asdict(self.config)}

    def absolute(self) -> "RestoreJob":
        """The job as it means the same in whatever folder it is read."""
        paths = {name: Path(os.path.abspath(value)) for name, value in vars(self).items() if isinstance(value, Path)}
        return replace(self, **paths)  # type: ignore[arg-type]


def from_dict(said: Mapping[str, Any]) -> RestoreJob:
    """Return the job that was said; KeyError, TypeError or ValueError where that is none."""
    values = {field.name: said[field.name] for field in fields(RestoreJob) if field.name in said}
    for name in _PATHS:
        if values.get(name) is not None:
            values[name] = Path(values[name])
    config = dict(values["config"])
    if "widths" in config:
        values["config"] = HeldOut(**config | {"widths": tuple(config["widths"])})
    else:
        values["config"] = WholeImage(**config)
    return RestoreJob(**values)


_PATHS = tuple(field.name for field in fields(RestoreJob) if "Path" in str(field.type))


@dataclass(frozen=True)
class Reading:
    """What was read for a job: the observation, what goes with it, and the SHA-256 of the files by name."""

    picture: Picture
    clean: Array | None
    mask: NDArray[np.bool_] | None
    protected: NDArray[np.bool_] | None
    digests: dict[str, str | None]
