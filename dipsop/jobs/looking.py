"""Features of the images of a training run: made once, kept in its folder, and used again."""

import time
from collections.abc import Generator
from pathlib import Path

import torch

from dipsop.classification import features
from dipsop.classification.dataset import Dataset
from dipsop.errors import DataError
from dipsop.files import exists, make_folder, shown
from dipsop.jobs.events import Looking, Stop


def look(
    data: Dataset, side: int, kept_in: Path, made_before: Path | None, device: torch.device, stop: Stop
) -> Generator[Looking, None, Dataset | None]:
    """Return the data with features in place of its images, making those that no file has.

    Parameters
    ----------
    data : Dataset
    side : int
        Pixels at which the images are looked at.
    kept_in : Path
        The file of this run, whose folder is made.
    made_before : Path or None
        A file of another run, which is to have features of some of these images.
    device : torch.device
    stop : callable
        Asked after every few images: true leaves it, with those kept that were made; None is returned.

    Raises
    ------
    DataError
        An image cannot be read, or a file of features is of another network, size or other images.
    """
    kept = features.Kept(side)
    images = features.pictures_of(data)
    fingerprints = features.fingerprints(images)
    if made_before is not None:
        kept.add(made_before)
        if not kept.rows.keys() & set(fingerprints):
            raise DataError(f"{shown(made_before)} holds features of other images: name another, or leave it out.")
    make_folder(kept_in.parent)
    if exists(kept_in):
        kept.add(kept_in)
    begun = time.monotonic()
    for done, of in kept.make(fingerprints, images, device, kept_in):
        yield Looking(done, of, (time.monotonic() - begun) / done * (of - done))
        if stop():
            return None
    if made_before is not None and not exists(kept_in):
        kept.save(kept_in)
    return features.in_place_of_images(data, kept, fingerprints)
