"""Labelled images from a person's own files: a folder for each class, or a CSV of path,label."""

import csv
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dipsop.classification.dataset import Dataset, Images, Labels
from dipsop.errors import DataError
from dipsop.files import printable, reason, shown
from dipsop.pictures import exif
from dipsop.pictures.picture import quantized, unit_values, white_of

SUFFIXES = {".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"}
SETS = {"train", "training", "test", "testing", "val", "valid", "validation"}
LOOSE = "in no class folder"  # counted beside the suffixes of what is left out
MOST_NAMED = 10  # of the images that cannot be read
Listed = list[tuple[Path, str]]


def list_folder(folder: Path, left_out: Counter[str] | None = None) -> Listed:
    """Return path and class of every image in the subfolders; what is hidden, and training runs, are passed over.

    Links are followed; one that leads nowhere is an image that cannot be read.

    Parameters
    ----------
    folder : Path
    left_out : Counter or None
        The suffixes of files that are of no kind that is read are added to it, as `note_on` takes them, and under
        LOOSE the images that lie beside the subfolders.

    Raises
    ------
    DataError
        There are none, a subfolder has other files alone, or they are training and test sets rather than classes.
    OSError
        A folder is closed.
    """
    found = []
    entries = sorted(folder.iterdir())
    children = [path for path in entries if path.is_dir() and not _passed_over(path)]
    if lost := [path for path in entries if path.is_symlink() and not path.exists()]:
        raise DataError(f"{shown(lost[0])} is a link that leads nowhere, to a class perhaps: mend it, or remove it.")
    for child in children:
        files = _files_below(child, folder)
        readable = _readable(files, left_out)
        if files and not readable:
            raise DataError(
                f"{shown(child)} holds files, but none of a kind that is read ({', '.join(sorted(SUFFIXES))}): convert "
                "them, or move the folder away."
            )
        found += [(path, child.name) for path in readable]
    if not found:
        raise DataError(
            f"{shown(folder)} holds no folders with images: put the images of each class in a folder of its own."
        )
    if {name.lower() for _, name in found} <= SETS:
        training = next((child for child in children if child.name.lower().startswith("train")), children[0])
        raise DataError(f"{shown(folder)} holds sets, not classes: name one of them, as in {shown(training)}.")
    if left_out is not None:
        beside = [path for path in entries if path.is_file() and not path.name.startswith(".")]
        left_out[LOOSE] += sum(path.suffix.lower() in SUFFIXES for path in beside)
    return found


def images_below(folder: Path, left_out: Counter[str] | None = None) -> list[Path]:
    """Return all images below a folder, at any depth, by name; what is passed over, and `left_out`, as of list_folder.

    OSError where a folder is closed.
    """
    return _readable(_files_below(folder), left_out)


def note_on(left_out: Counter[str]) -> str | None:
    """Say how many files of which suffixes were left out, and how many images for their place; None for none."""
    said, by_kind = [], left_out.copy()
    loose = by_kind.pop(LOOSE, 0)
    if count := by_kind.total():
        kinds = ", ".join(f"{number} {printable(kind) or 'without a suffix'}" for kind, number in by_kind.most_common())
        are = "files are" if count > 1 else "file is"
        said.append(f"{count} {are} left out, of no kind that is read ({kinds}): convert those that are images.")
    if loose:
        lie = "images lie" if loose > 1 else "image lies"
        said.append(f"{loose} {lie} {LOOSE} and {'are' if loose > 1 else 'is'} left out: move what belongs to a class.")
    return " ".join(said) or None


def _readable(files: Iterable[Path], left_out: Counter[str] | None) -> list[Path]:
    readable = []
    for path in files:
        if path.suffix.lower() in SUFFIXES or not path.exists():  # a link that leads nowhere is refused as unreadable
            readable.append(path)
        elif left_out is not None:
            left_out[path.suffix.lower()] += 1
    return readable


def _files_below(folder: Path, within: Path | None = None) -> list[Path]:
    """Return all files, and links that lead nowhere, that are not hidden, and in no training run further down.

    Each folder is gone into once, whatever leads to it, and the one that this one is within not at all: a link may go
    round in a circle. OSError where a folder is closed, and with it perhaps a class.
    """

    def refuse(error: OSError) -> NoReturn:
        raise error

    found = []
    seen = set() if within is None else {os.path.realpath(within)}
    for root, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not _passed_over(Path(root, name)))  # the walk goes on in these
        found += [Path(root) / name for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.is_file() or not path.exists())


def _passed_over(child: Path) -> bool:
    """Whether it is hidden, or a training run, be it one that ended before there was more than features."""
    if child.name.startswith(".") or all((child / name).exists() for name in ("config.json", "labels.npz")):
        return True
    inside = {path.name for path in child.iterdir() if not path.name.startswith(".")}
    return bool(inside) and inside <= {"features.npz", "labels.npz"}


def list_csv(path: Path) -> Listed:
    """Return path and class from the lines path,label; paths are relative to the file.

    The first line may be a heading: what is no file, and not named as an image or labelled `label`.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines)
            rows = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = reason(error) if isinstance(error, OSError) else "no CSV file"
        raise DataError(f"{shown(path)} cannot be read ({why}): give a CSV of path,label.") from None
    for number, row in rows:
        if len(row) < 2 or not row[0].strip() or not row[1].strip():
            raise DataError(f"{shown(path)}, line {number} is not path,label: mend it.")
    listed = [(path.parent / row[0].strip(), row[1].strip()) for _, row in rows]
    if listed and _is_heading(*listed[0]):
        listed = listed[1:]
    if not listed:
        raise DataError(f"{shown(path)} lists no images: give a CSV of path,label.")
    return listed


def _is_heading(path: Path, label: str) -> bool:
    return not path.exists() and (path.suffix.lower() not in SUFFIXES or label == "label")


def load(listed: Listed, test_fraction: float, seed: int) -> Dataset:
    """Return the images as paths, whose files have not been read, and their labels.

    Parameters
    ----------
    listed : list of (path, class name)
    test_fraction : float in [0, 1)
        Share of every class that is set aside; its labels are as dirty as the others.
    seed : int
        Of that choice.

    Raises
    ------
    DataError
        A class has a single image, or there is one class.
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
    images = np.empty((len(listed), 3, 0, 0), np.uint8)
    random = np.random.default_rng(seed)
    aside = np.zeros(len(labels), bool)
    for k in range(len(classes)):
        members = random.permutation(np.flatnonzero(labels == k))
        aside[members[: min(len(members) - 2, round(test_fraction * len(members)))]] = len(members) > 2
    paths, test_paths = (
        tuple(path for (path, _), out in zip(listed, aside, strict=True) if out == of_test) for of_test in (False, True)
    )
    return Dataset(images[~aside], labels[~aside], None, classes, images[aside], labels[aside], paths, test_paths)


def with_images(data: Dataset, side: int) -> Dataset:
    """Return the data with its files read, for training and for testing; DataError as `read`."""
    paths, test_paths = data.paths or (), data.test_paths or ()
    images = read([*paths, *test_paths], side)
    return replace(data, images=images[: len(paths)], test_images=images[len(paths) :])


def read(paths: Sequence[Path], side: int) -> Images:
    """Read images as uint8 (N, 3, side, side), upright, in sRGB order; DataError names those that cannot be read.

    Each is resized so that it covers side × side, and cut to its middle.
    """
    out = np.empty((len(paths), 3, side, side), np.uint8)
    unreadable = Unreadable()
    for k, path in enumerate(paths):
        with unreadable.noting(path):
            out[k] = read_one(path, side)
    unreadable.refuse()
    return out


def read_one(path: Path, side: int) -> Images:
    """Read one of them, (3, side, side)."""
    with _opened(path) as image:
        image.draft(None, (2 * side, 2 * side))  # a large JPEG is decoded smaller, ten times as fast
        upright = _rgb(exif.turned_image(image))
        square = ImageOps.fit(upright, (side, side), Image.Resampling.LANCZOS)
    return np.asarray(square).transpose(2, 0, 1)


class Unreadable:
    """Those of some images that cannot be read: all of them are named in one sentence, to be mended in one go."""

    def __init__(self) -> None:
        self._errors: dict[Path, DataError] = {}

    @contextmanager
    def noting(self, image: Path | Images) -> Iterator[None]:
        """Note it where reading this one raises a DataError; pixels have been read already, and raise none."""
        try:
            yield
        except DataError as error:
            assert isinstance(image, Path)
            self._errors[image] = error

    def refuse(self) -> None:
        """Raise a DataError that names what was noted, if anything was."""
        if (count := len(self._errors)) > 1:
            some = ", ".join(shown(path) for path in sorted(self._errors)[:MOST_NAMED])
            more = f" and {count - MOST_NAMED} more" if count > MOST_NAMED else ""
            raise DataError(f"{count} images cannot be read, {some}{more}: mend them or leave them out.")
        for alone in self._errors.values():
            raise alone


def check_there(paths: Iterable[Path]) -> None:
    """Raise a DataError that names the links that lead nowhere."""
    unreadable = Unreadable()
    for path in paths:
        with unreadable.noting(path):
            if not path.exists():
                raise DataError(f"{shown(path)} cannot be read (a link that leads nowhere): mend it or leave it out.")
    unreadable.refuse()


def thumbnail(path: Path, side: int) -> Image.Image:
    """Read an image whole, upright, in sRGB order, at most side × side; DataError where it cannot be read."""
    with _opened(path) as image:
        image.draft("RGB", (side, side))  # a JPEG is read at a fraction of its size
        small = _rgb(exif.turned_image(image))
        small.thumbnail((side, side))
        return small


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image; what is wrong with it until it is closed is a DataError, and Pillow's warnings are not heard."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Pillow maps an uncompressed TIFF that it knows by its name, and mixes it up where it lies on its side.
            with path.open("rb") as file, Image.open(file) as image:
                yield image
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise DataError(f"{shown(path)} has more than {most} megapixels: make it smaller or leave it out.") from None
    except UnidentifiedImageError:  # which would say what Python calls the file
        raise DataError(f"{shown(path)} cannot be read (damaged or no image): mend it or leave it out.") from None
    except exif.BROKEN as error:
        why = reason(error) if isinstance(error, OSError) else "damaged or no image"
        raise DataError(f"{shown(path)} cannot be read ({why}): mend it or leave it out.") from None


def _rgb(image: Image.Image) -> Image.Image:
    """As 8-bit RGB: grey of more bits scaled rather than cut off, what is transparent over white."""
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits, as integers of 16 or 32; float, in [0, 1]
        samples = np.asarray(image)
        samples = samples.clip(0, 1) if image.mode == "F" else samples.clip(0, 65535).astype(np.uint16)
        image = Image.fromarray(quantized(unit_values(samples, white_of(samples)), np.dtype(np.uint8)))
    if image.has_transparency_data:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), over)
    return image.convert("RGB")
