"""What `dipsop restore` was asked to do with one picture; as JSON it goes to other processes and into records."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from dipsop.commands.options import DeviceName
from dipsop.restoration.config import Config, HeldOut, WholeImage


@dataclass(frozen=True, kw_only=True)
class Job:
    """The options of `dipsop restore`, for one picture.

    Beyond these: `of_many`, when a signal keeps the checkpoint alone, and one of other work is ignored; `most_pixels`,
    the size of a piece, which otherwise follows from `memory` in bytes; `last_step`, after which to end as a recorded
    run did; `threads` of the processor, None for all.
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
    of_many: bool = False
    json: bool = False
    quiet: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The job in what JSON has."""
        paths = {name: str(value) for name, value in vars(self).items() if isinstance(value, Path)}
        return vars(self) | paths | {"config": asdict(self.config)}

    def absolute(self) -> "Job":
        """The job as it means the same in whatever folder it is read."""
        paths = {name: Path(os.path.abspath(value)) for name, value in vars(self).items() if isinstance(value, Path)}
        return replace(self, **paths)  # type: ignore[arg-type]


def from_dict(said: Mapping[str, Any]) -> Job:
    """Return the job that was said; KeyError, TypeError or ValueError where that is none."""
    values = {field.name: said[field.name] for field in fields(Job) if field.name in said}
    for name in _PATHS:
        if values.get(name) is not None:
            values[name] = Path(values[name])
    config = dict(values["config"])
    if "widths" in config:
        values["config"] = HeldOut(**config | {"widths": tuple(config["widths"])})
    else:
        values["config"] = WholeImage(**config)
    return Job(**values)


_PATHS = tuple(field.name for field in fields(Job) if "Path" in str(field.type))
