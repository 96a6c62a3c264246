"""The settings of a training that nobody gave: as they suit the data."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from dipsop.classification import features, run_folder, sources
from dipsop.classification.config import PRETRAINED_SIDE, RECIPES, TrainConfig, by_data
from dipsop.classification.dataset import Dataset
from dipsop.errors import DataError
from dipsop.files import shown

if TYPE_CHECKING:
    from dipsop.jobs.classify import ClassifyJob


def recipe(job: "ClassifyJob", begun: bool, world: int) -> str:
    """That which was asked for, or that of the run so far, or what suits the data."""
    if job.recipe is not None:
        return job.recipe
    if begun:
        recipe = run_folder.load_config(job.out).get("recipe")
        if recipe == "pretrained" and _from_scratch(job):
            raise DataError(
                f"{shown(job.out)} is a run of --network pretrained, with which sop+, --shares, --compile and --dtype "
                "do not go: leave them out, or choose another --out."
            )
        return recipe if recipe in RECIPES else "fast"
    own = not sources.is_cifar(job.data)
    return "pretrained" if own and world == 1 and not _from_scratch(job) and features.installed() else "fast"


def _from_scratch(job: "ClassifyJob") -> bool:
    """Whether something is asked for that only networks have which are trained from scratch."""
    given = job.settings
    asked = (
        "shares" in given,
        given.get("compile"),
        given.get("method") == "sop+",
        given.get("dtype", "auto") != "auto",
    )
    return any(asked)


def seen_at(job: "ClassifyJob", data: Dataset) -> int:
    """Pixels at which the features' network looks at images."""
    return features.SMALL_SIDE if data.paths is None else job.size or PRETRAINED_SIDE


def settled(job: "ClassifyJob", recipe: str, data: Dataset, world: int) -> TrainConfig:
    """The settings that were given, and for the others what suits the data; refuse what cannot be trained on."""
    shares, batch = job.settings.get("shares", world), job.settings.get("batch")
    if shares % world:
        raise DataError(f"{world} processes cannot share {shares} parts: choose --shares a multiple of the processes.")
    if batch and (batch % shares or batch < 2 * shares):
        raise DataError(
            f"A batch of {batch} cannot be dealt to {shares} shares: choose --batch a multiple of them, 2 or more each."
        )
    if len(data.given) < 2 * shares:
        raise DataError(f"There are {len(data.given)} training images, too few: give more.")
    by_itself = replace(RECIPES[recipe], **by_data(recipe, len(data.classes), job.noise, len(data.given)))
    # Two images a share at least: of one alone, batch normalization leaves nothing.
    batch = batch or max(2, math.ceil(by_itself.batch / shares)) * shares
    settings = by_data(recipe, len(data.classes), job.noise, len(data.given), batch)
    return replace(by_itself, **settings | dict(job.settings) | {"shares": shares, "batch": batch, "seed": job.seed})
