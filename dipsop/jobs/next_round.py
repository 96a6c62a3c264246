"""What a person may do with the corrections that labels.html saves: the commands that it shows, and the file's name."""

import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dipsop.classification.dataset import Dataset

if TYPE_CHECKING:
    from dipsop.jobs.classify import ClassifyJob


def saved_as(job: "ClassifyJob") -> str:
    """Name the file of the decisions: the next after those that were given, which it is not to replace."""
    return _next("corrections", ".csv", (path.name for path in job.corrections))


def commands(job: "ClassifyJob", pictures: Dataset) -> list[str]:
    """Train on all corrections so far, and, where the data are files, make a corrected copy of them."""
    noise = [] if job.noise == "none" else ["--noise", job.noise, "--seed", str(job.seed)]
    human = [] if job.human_labels is None else ["--human-labels", str(job.human_labels)]
    files = [*map(str, job.corrections), saved_as(job)]
    said = [part for file in files for part in ("--corrections", file)]
    taken = [Path(job.data).name, job.out.name]
    again, corrected = _next("AGAIN", "", taken), _next("CORRECTED", "", taken)
    shown = [["dipsop", "classify", "--data", job.data, *noise, *human, *said, "--out", again]]
    if pictures.paths is not None:
        shown.append(["dipsop", "relabel", job.data, *files, "--out", corrected])
    return [shlex.join(command) for command in shown]


def _next(stem: str, suffix: str, taken: Iterable[str]) -> str:
    """The first of a.csv, a-2.csv, a-3.csv, … after all that are taken."""
    pattern = re.compile(rf"{re.escape(stem)}(?:-(\d+))?{re.escape(suffix)}")
    numbers = [int(match[1] or 1) for name in taken if (match := pattern.fullmatch(name))]
    number = max(numbers, default=0) + 1
    return f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}"
