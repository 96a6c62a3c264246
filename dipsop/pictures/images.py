"""File ↔ picture: nobody else in the project converts.

A picture is read with everything that it carries (depth, transparency, colour profile, EXIF, resolution), its values go
to the fit as float32 in [0, 1], and it is written back as it came, whole or not at all.
"""

import hashlib
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dipsop import files
from dipsop.errors import ImageError
from dipsop.files import reason, shown
from dipsop.pictures.decode import DECODING_ERRORS, decode
from dipsop.pictures.encode import check_fits, encode, format_of
from dipsop.pictures.picture import Picture, in_unit_range, quantized

__all__ = ["Picture", "check_writable", "copy", "load", "save", "save_eight_bits", "save_values"]

_SILENCE = threading.Lock()


def load(path: Path) -> Picture:
    """Read a picture.

    Parameters
    ----------
    path : Path
        A PNG, JPEG, TIFF, WebP or BMP file; the content decides, not the suffix. Grey or RGB, 8 or 16 bit, or floats in
        [0, 1] (TIFF), with or without transparency. Palettes become RGB, two levels become 8-bit grey.

    Returns
    -------
    Picture
        At the depth of the file, turned upright as its EXIF orientation says.

    Raises
    ------
    ImageError
        It is missing, empty, a folder, closed to us, damaged, no picture, larger than 100 megapixels, of several pages,
        in other colours (CMYK), or holds floats that are NaN or outside [0, 1].
    """
    path = Path(path)
    _check_readable(path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise ImageError(f"{shown(path)} cannot be opened ({reason(error)}): check its permissions.") from None
    with file, _silence():
        before = _stamp(file)
        try:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            picture = decode(file, shown(path))
        except DECODING_ERRORS as error:
            if _stamp(file) == before:
                raise ImageError(f"{shown(path)} is damaged or cut short: copy or export it again.") from error
        if _stamp(file) != before:
            raise ImageError(f"{shown(path)} changed while it was read: try again when it is complete.")
    return replace(picture, digest=digest)


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what the libraries think of odd files to themselves; libtiff and libpng write it straight to stderr.

    stderr is shared by all threads, hence the lock: two that swapped it at once could leave it swapped.
    """
    with _SILENCE, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            kept = os.dup(2)
        except OSError:  # closed, so nothing can be heard
            yield
            return
        try:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _stamp(file: BinaryIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def copy(source: Path, picture: Picture, out: Path) -> bool:
    """Write the file that a picture was read from, byte for byte, if it still is that file and of the format of `out`.

    Returns
    -------
    bool
        Whether that could be done; else nothing is written.

    Raises
    ------
    DipsopError
        As for save.
    """
    if format_of(out) != picture.format:
        return False
    try:
        data = Path(source).read_bytes()
    except OSError:
        return False
    if hashlib.sha256(data).hexdigest() != picture.digest:
        return False
    files.write_atomically(out, data)
    return True


def _check_readable(path: Path) -> None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError(f"{shown(path)} does not exist: check the name.") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise ImageError(f"{shown(path)} cannot be opened ({reason(error)}): check its name and permissions.") from None
    if stat.S_ISDIR(found.st_mode):
        raise ImageError(f"{shown(path)} is a folder: name one picture in it.")
    if not stat.S_ISREG(found.st_mode):
        raise ImageError(f"{shown(path)} is not a regular file: save the picture to one first.")
    if found.st_size == 0:
        raise ImageError(f"{shown(path)} is empty: copy or export it again.")


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
