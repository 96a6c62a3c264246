"""What a person may do with the corrections that labels.html saves: the commands that it shows, and the file's name."""

import os
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dipsop.classification import features, run_folder, sources
from dipsop.classification.dataset import Dataset

if TYPE_CHECKING:
    from dipsop.jobs.classify import ClassifyJob


def saved_as(job: "ClassifyJob") -> str:
    """Name the file of the decisions: the next after those that were given, which it is not to replace."""
    return _next("corrections", ".csv", (path.name for path in job.corrections))


def commands(job: "ClassifyJob", pictures: Dataset) -> list[str]:
    """Train in the same way on all corrections so far, and, where the data are files, make a corrected copy of them.

    Parameters
    ----------
    job : ClassifyJob
        With its recipe.
    pictures : Dataset
    """
    files = [*map(str, job.corrections), saved_as(job)]
    said = [part for file in files for part in ("--corrections", file)]
    data = Path(os.path.realpath(job.data))
    taken = [Path(job.data).name, data.name, job.out.name]
    again, corrected = _next("AGAIN", "", taken), _next("CORRECTED", "", taken)
    if data in (Path.cwd(), *Path.cwd().parents):  # the copy may not lie in the data
        corrected = str(data.parent / corrected)
    shown = [["dipsop", "classify", "--data", job.data, *_options(job), *said, "--out", again]]
    if pictures.paths is not None:
        named = [f"./{name}" if name.startswith("-") else name for name in (job.data, *files)]
        shown.append(["dipsop", "relabel", *named, "--out", corrected])
    return [shlex.join(command) for command in shown]


def _options(job: "ClassifyJob") -> list[str]:
    """Those of the run, but for what they are without being said."""
    by_itself = "fast" if sources.is_cifar(job.data) or not features.installed() else "pretrained"
    given = {
        "features": job.out / run_folder.FEATURES if job.recipe == "pretrained" else None,  # which say the network, too
        "recipe": None if job.recipe in ("pretrained", by_itself) else job.recipe,
        "noise": None if job.noise == "none" else job.noise,
        "human_labels": job.human_labels,
        "images": job.images,
        "size": job.size,
        "test_fraction": job.test_fraction or None,
        **job.settings,
        "seed": job.seed or None,
        "device": job.device,
    }
    if job.recipe == "pretrained":
        given["network"] = None
    options = []
    for name, value in given.items():
        option = "--" + name.replace("_", "-")
        if name == "compile":
            options += [option] if value else []
        elif value not in (None, "auto"):
            options += [option, str(value)]
    return options


def _next(stem: str, suffix: str, taken: Iterable[str]) -> str:
    """The first of a.csv, a-2.csv, a-3.csv, … after all that are taken, be it as a (1).csv, as a browser saves it."""
    pattern = re.compile(rf"{re.escape(stem)}(?:-(\d+))?(?: ?\(\d+\))?{re.escape(suffix)}")
    numbers = [int(match[1] or 1) for name in taken if (match := pattern.fullmatch(name))]
    number = max(numbers, default=0) + 1
    return f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}"
