"""Labelled images from a person's own files: a folder for each class, or a CSV of path,label."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dipsop.classification.dataset import Dataset, Images, Labels
from dipsop.errors import DataError
from dipsop.files import reason, shown

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
Listed = list[tuple[Path, str]]


def list_folder(folder: Path) -> Listed:
    """Return path and class of every image in the subfolders; DataError where there are none."""
    found = []
    for child in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        files = (path for path in sorted(child.rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file())
        found += [(path, child.name) for path in files]
    if not found:
        raise DataError(
            f"{shown(folder)} holds no folders with images: put the images of each class in a folder of its own."
        )
    return found


def list_csv(path: Path) -> Listed:
    """Return path and class from the lines path,label; paths are relative to the file. A heading is allowed."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = [row for row in csv.reader(lines) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = reason(error) if isinstance(error, OSError) else "no CSV file"
        raise DataError(f"{shown(path)} cannot be read ({why}): give a CSV of path,label.") from None
    if rows and [cell.strip().lower() for cell in rows[0][:2]] == ["path", "label"]:
        rows = rows[1:]
    for number, row in enumerate(rows, 1):
        if len(row) < 2 or not row[0].strip() or not row[1].strip():
            raise DataError(f"{shown(path)}, entry {number} is not path,label: mend that line.")
    if not rows:
        raise DataError(f"{shown(path)} lists no images: give a CSV of path,label.")
    return [(path.parent / row[0].strip(), row[1].strip()) for row in rows]


def load(listed: Listed, side: int, test_fraction: float, seed: int) -> Dataset:
    """Read the images, each resized so that it covers side × side, and cut to its middle.

    Parameters
    ----------
    listed : list of (path, class name)
    side : int
        Pixels.
    test_fraction : float in [0, 1)
        Share of every class that is set aside; its labels are as dirty as the others.
    seed : int
        Of that choice.

    Raises
    ------
    DataError
        An image cannot be read, or a class has a single one, or there is one class.
    """
    classes = tuple(sorted({name for _, name in listed}))
    number = {name: k for k, name in enumerate(classes)}
    labels: Labels = np.array([number[name] for _, name in listed], np.int64)
    counts = np.bincount(labels, minlength=len(classes))
    if len(classes) < 2:
        raise DataError(f"There is one class, {classes[0]!r}, and nothing to tell apart: give two classes or more.")
    if counts.min() < 2:
        lonely = classes[int(counts.argmin())]
        raise DataError(f"Class {lonely!r} has a single image: give it more, or leave the class out.")
    images = read([path for path, _ in listed], side)
    random = np.random.default_rng(seed)
    aside = np.zeros(len(labels), bool)
    for k in range(len(classes)):
        members = random.permutation(np.flatnonzero(labels == k))
        aside[members[: min(len(members) - 2, round(test_fraction * len(members)))]] = len(members) > 2
    paths = tuple(path for (path, _), out in zip(listed, aside, strict=True) if not out)
    return Dataset(images[~aside], labels[~aside], None, classes, images[aside], labels[aside], paths)


def read(paths: Sequence[Path], side: int) -> Images:
    """Read images as uint8 (N, 3, side, side), upright, in sRGB order; DataError names the one that cannot be read."""
    out = np.empty((len(paths), 3, side, side), np.uint8)
    for k, path in enumerate(paths):
        try:
            with Image.open(path) as opened:
                upright = ImageOps.exif_transpose(opened).convert("RGB")
                out[k] = np.asarray(ImageOps.fit(upright, (side, side), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            why = reason(error) if isinstance(error, OSError) else "damaged or no image"
            raise DataError(f"{shown(path)} cannot be read ({why}): mend it or leave it out.") from None
    return out
