"""The data of a training run: found, fetched, and read."""

from collections import Counter
from collections.abc import Generator
from pathlib import Path

import numpy as np

from dipsop.classification import cifar, download, image_folder
from dipsop.classification.dataset import Dataset
from dipsop.errors import DataError
from dipsop.files import exists, reason, shown

Loading = Generator[tuple[int, int] | str, None, Dataset]  # as download.Fetching, or a note; in the end the data


LAYOUTS = {"cifar10": cifar.CIFAR10, "cifar100": cifar.CIFAR100}


def is_cifar(name: str) -> bool:
    """Whether this is CIFAR rather than a person's own images, as far as the system says."""
    path = Path(name)
    try:
        if not exists(path):
            return name in LAYOUTS
        return any(cifar.find(path, layout) for layout in LAYOUTS.values())
    except OSError:
        return False


def load(name: str, *, fetch: bool, test_fraction: float, seed: int) -> Loading:
    """Read the data, whichever form it has; of a person's own images the labels alone (image_folder.with_images).

    Parameters
    ----------
    name : str
        Of a folder, a CSV of path,label, or cifar10 or cifar100 for those in the cache.
    fetch : bool
        Fetch these two where they are not.
    test_fraction : float in [0, 1)
        Share of images that are not CIFAR's that is set aside, drawn by the seed.
    seed : int

    Yields
    ------
    tuple of int
        While it is fetched: bytes that are there, and bytes in all, 0 where that is unknown.
    str
        A sentence on what is left out.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        The data is not there, or no labelled images.
    """
    path = Path(name)
    try:
        if not exists(path) and name in LAYOUTS:
            there = yield from _in_cache(LAYOUTS[name], fetch)
            return cifar.load(there, LAYOUTS[name])
        if path.is_file():
            return image_folder.load(image_folder.list_csv(path), test_fraction, seed)
        if not path.is_dir():
            raise DataError(f"{shown(path)} does not exist: name a folder, a CSV of path,label, cifar10 or cifar100.")
        for layout in LAYOUTS.values():
            if found := cifar.find(path, layout):
                return cifar.load(found, layout)
        left_out = Counter[str]()
        listed = image_folder.list_folder(path, left_out)
        if note := image_folder.note_on(left_out):
            yield note
        return image_folder.load(listed, test_fraction, seed)
    except OSError as error:
        at = shown(Path(error.filename or name))
        raise DataError(f"{at} cannot be looked into ({reason(error)}): open it, or name other data.") from None


def _in_cache(layout: cifar.Layout, fetch: bool) -> download.Fetching:
    cache = download.cache_folder()
    there = cifar.find(cache, layout)
    if there is None and fetch:
        there = yield from download.fetch(layout, cache)
    if there is None:
        raise DataError(
            f"{layout.name} is not in {shown(cache)}: fetch it with --fetch, or name the folder "
            "that holds it with --data."
        )
    return there


def some(data: Dataset, images: int | None) -> Dataset:
    """Take so many images only, where asked to.

    Raises
    ------
    DataError
        So few images leave a class without a second one.
    """
    if images is None or data.paths is None:
        return data.first(images)
    taken = data.spread(images)
    before, after = (np.bincount(some.given, minlength=len(data.classes)) for some in (data, taken))
    if ((after < 2) & (before >= 2)).any():  # corrections may leave less of a class, as they may without --images
        raise DataError(f"--images {images} leaves less than two images of a class: take more.")
    return taken
