"""File ↔ picture: nobody else in the project converts.

A picture is read with everything that it carries (depth, transparency, colour profile, EXIF, resolution), its values go
to the fit as float32 in [0, 1], and it is written back as it came, whole or not at all.
"""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dipsop import files
from dipsop.errors import ImageError
from dipsop.files import shown
from dipsop.pictures.decode import decode, head_of
from dipsop.pictures.decode_tiff import Pages
from dipsop.pictures.encode import check_fits, encode, format_of
from dipsop.pictures.kinds import kind_of
from dipsop.pictures.picture import Picture, in_unit_range, quantized
from dipsop.pictures.reading import opened

__all__ = ["Picture", "check_writable", "copy", "iter_pages", "kind", "load", "page_count", "save", "save_eight_bits",
           "save_values"]  # fmt: skip


def load(path: Path, *, strict: bool = False, page: int | None = None) -> Picture:
    """Read a picture.

    Parameters
    ----------
    path : Path
        A PNG, JPEG, TIFF, WebP, BMP, HEIC (with the extra `dipsop[heic]`) or AVIF file; the content decides, not the
        suffix. Grey or RGB, 8 or 16 bit, or floats in [0, 1] (TIFF), with or without transparency. Palettes become RGB,
        two levels become 8-bit grey, 10 and 12 bits become 16, CMYK of 8 bits becomes RGB by its colour profile.
    strict : bool
        Refuse a picture that would have `notes`, because it is converted or not all of the file is taken: CMYK; colours
        that are not sRGB, of which the file says so without a profile; one of several pictures in a HEIC file; a TIFF
        file with more channels than colours and an alpha, or with reduced copies of its pages.
    page : int or None
        Which one to take, counted from 0, of a TIFF file of several pages; None refuses such a file.

    Returns
    -------
    Picture
        At the depth of the file, turned upright as its EXIF orientation says (HEIC, AVIF: as the container says).

    Raises
    ------
    ImageError
        It is missing, empty, a folder, closed to us, damaged, no picture, a camera's raw file, larger than 100
        megapixels, of several pages or frames (GIF files always), in other colours (Lab, CMYK of 16 bits), or holds
        floats that are NaN or outside [0, 1].
    """
    with opened(path) as source:
        with source.decoding():
            picture = decode(source.file, shown(path), page)
        return _noted(replace(picture, digest=source.digest), strict)


def kind(path: Path) -> str:
    """Say of what format a picture is, as in `Picture.format`, by its first bytes. Errors as for load."""
    with opened(path, hashed=False) as source:
        return kind_of(head_of(source.file), shown(path))


def page_count(path: Path) -> int:
    """Say how many pages a TIFF file has; 1 for any other. Errors as for load."""
    count = 1
    with opened(path, hashed=False) as source, source.decoding():
        if kind_of(head_of(source.file), shown(path)) == "TIFF":
            with Pages(source.file, shown(path)) as pages:
                count = len(pages)
    return count


def iter_pages(path: Path, *, strict: bool = False) -> Iterator[Picture]:
    """Read the pages of a TIFF file one by one, so that no two of them need be in memory.

    Parameters
    ----------
    path : Path
        A TIFF file.
    strict : bool
        As for load.

    Yields
    ------
    Picture
        Each with the digest of the whole file.

    Raises
    ------
    ImageError
        As for load, when the page is reached.
    """
    with opened(path) as source:
        with source.decoding():
            pages = Pages(source.file, shown(path))
        with pages:
            for number in range(len(pages)):
                with source.decoding():
                    picture = pages.picture(number)
                yield _noted(replace(picture, digest=source.digest), strict)


def _noted(picture: Picture, strict: bool) -> Picture:
    """Give a picture that is as it was in the file, or one with notes, unless that is refused."""
    if strict and picture.notes:
        raise ImageError(f"{picture.notes[0][:-1]}: do that first, or leave --strict out.")
    return picture


def copy(source: Path, picture: Picture, out: Path) -> bool:
    """Write the file that a picture was read from, byte for byte, if it still is that file and of the format of `out`.

    A picture with notes is not quite as it is in its file, and is not written so.

    Returns
    -------
    bool
        Whether that could be done; else nothing is written.

    Raises
    ------
    DipsopError
        As for save.
    """
    if format_of(out) != picture.format or picture.notes:
        return False
    with ExitStack() as opened:
        try:
            file = opened.enter_context(Path(source).open("rb"))
            digest = hashlib.file_digest(file, "sha256").hexdigest()  # a stack of pages may be larger than the memory
        except OSError:
            return False
        if digest != picture.digest:
            return False
        files.write_atomically(out, file)
        return True


def check_writable(path: Path, picture: Picture | None = None) -> None:
    """Check, before any time is spent, that a picture can be saved.

    Parameters
    ----------
    path : Path
        Where it is going to be written; its suffix is the format.
    picture : Picture or None
        What is going to be written, at least its depth, size and transparency; None checks the path alone.

    Raises
    ------
    ImageError
        An unknown suffix, or a format that cannot hold the picture.
    DipsopError
        A folder that is not there, or no permission; see files.check_writable.
    """
    path = Path(path)
    format_of(path)
    files.check_writable(path)
    if picture is not None:
        check_fits(picture, path)


def save(path: Path, picture: Picture) -> None:
    """Write a picture, whole or not at all, in the format that the suffix names.

    Parameters
    ----------
    path : Path
        Ends in .png, .tif, .tiff, .jpg, .jpeg, .webp or .bmp. All are lossless except JPEG (quality 95, 4:4:4).
    picture : Picture
        Depth, transparency, colour profile, EXIF and resolution are kept where the format has a place for them.

    Raises
    ------
    ImageError
        An unknown suffix, or a format that cannot hold the depth, the transparency or the size; nothing is written.
    DipsopError
        The folder or the disk do not allow it; an existing file is unharmed.
    """
    path = Path(path)
    check_writable(path, picture)
    files.write_atomically(path, encode(picture, format_of(path)))


def save_eight_bits(path: Path, samples: NDArray[np.uint8], like: Picture) -> None:
    """Write 8-bit samples (H, W, C) in the colours of a picture, for instance a preview of it; errors as for save."""
    save(path, Picture(samples=samples, icc_profile=like.icc_profile))


def save_values(path: Path, values: NDArray[Any]) -> None:
    """Write plain values as an 8-bit picture, for instance a map of the corruption.

    Parameters
    ----------
    path : Path
        As for save.
    values : ndarray, (H, W), (H, W, 1) or (H, W, 3)
        Booleans (true is white) or floats in [0, 1].

    Raises
    ------
    ValueError
        Another shape, or values that are not in [0, 1].
    ImageError, DipsopError
        As for save.
    """
    values = np.asarray(values)
    if not in_unit_range(values):
        raise ValueError(f"expected booleans or finite values in [0, 1], got {values.min()} to {values.max()}")
    save(path, Picture.from_array(quantized(values, np.dtype(np.uint8))))
