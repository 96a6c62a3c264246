"""The data of a training run: found, fetched, read, and made noisy where asked for."""

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import typer

from dipsop.classification import cifar, download, folder, label_noise
from dipsop.classification.dataset import Dataset
from dipsop.commands.classify_display import Bytes
from dipsop.errors import DataError
from dipsop.files import reason, shown


def load(name: str, *, fetch: bool, size: int, test_fraction: float, seed: int, quiet: bool) -> Dataset:
    """Read the data, whichever form it has.

    Parameters
    ----------
    name : str
        Of a folder, a CSV of path,label, or cifar10 or cifar100 for those in the cache.
    fetch : bool
        Fetch these two where they are not.
    size : int
        Side in pixels of images that are not CIFAR's.
    test_fraction : float in [0, 1)
        Share of these that is set aside, drawn by the seed.
    seed : int
    quiet : bool
        No progress of the download.

    Raises
    ------
    DataError
        The data is not there, or no labelled images.
    """
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            os.stat(name)  # says what is wrong with it where pathlib may answer that it is not there
        return _load(name, fetch, size, test_fraction, seed, quiet)
    except OSError as error:
        at = shown(Path(error.filename or name))
        raise DataError(f"{at} cannot be looked into ({reason(error)}): open it, or name other data.") from None


def _load(name: str, fetch: bool, size: int, test_fraction: float, seed: int, quiet: bool) -> Dataset:
    layouts = {"cifar10": cifar.CIFAR10, "cifar100": cifar.CIFAR100}
    path = Path(name)
    if name in layouts and not path.exists():
        layout = layouts[name]
        there = cifar.find(download.cache_folder(), layout)
        if there is None and fetch:
            there = download.fetched(download.ARCHIVES[name], download.cache_folder(), Bytes(quiet))
        if there is None:
            raise DataError(
                f"{layout.name} is not in {shown(download.cache_folder())}: fetch it with --fetch, or name the folder "
                "that holds it with --data."
            )
        data = cifar.load(there, layout)
    elif path.is_dir():
        found = [(cifar.find(path, layout), layout) for layout in layouts.values()]
        there, layout = next(((f, layout) for f, layout in found if f is not None), (None, cifar.CIFAR10))
        if there is not None:
            data = cifar.load(there, layout)
        else:
            data = folder.load(folder.list_folder(path), size, test_fraction, seed)
    elif path.is_file():
        data = folder.load(folder.list_csv(path), size, test_fraction, seed)
    else:
        raise DataError(f"{shown(path)} does not exist: name a folder, a CSV of path,label, cifar10 or cifar100.")
    return data


def noisy(data: Dataset, noise: str, seed: int, human_labels: Path | None, images: int | None) -> Dataset:
    """Make labels wrong as asked for, and take so many images only, where asked to.

    Raises
    ------
    typer.BadParameter
        There is no such noise.
    DataError
        So few images leave a class without a second one.
    """
    try:
        data = label_noise.apply(data, noise, seed, human_labels)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--noise") from None
    if images is None or data.paths is None:
        return data.first(images)
    some = data.spread(images)
    if np.bincount(some.given, minlength=len(data.classes)).min() < 2:
        raise DataError(f"--images {images} leaves less than two images of a class: take more.")
    return some
