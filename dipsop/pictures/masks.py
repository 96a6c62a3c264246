"""Reading what goes with a corrupted picture: its clean version, and masks that a person made."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dipsop.errors import ImageError
from dipsop.files import shown
from dipsop.pictures import exif, images
from dipsop.pictures.images import Picture
from dipsop.pictures.picture import Array, unit_values, white


def load_truth(path: Path, observed: Picture) -> Array:
    """Read the clean picture, which must be as large and as coloured as the corrupted one."""
    clean = images.load(path)
    if clean.samples.shape != observed.samples.shape:
        raise ImageError(
            f"{shown(path)} is {size(clean)}, the corrupted picture {size(observed)}: "
            "as the truth, name the clean version of the same picture."
        )
    return unit_values(clean.samples, observed.white) if clean.samples.dtype == observed.samples.dtype else clean.values


def load_mask(
    path: Path, observed: Picture, page: int | None = None, *, as_stored: bool = False
) -> tuple[NDArray[np.bool_], str]:
    """Read a mask, as large as the picture; more than half of white is true, if it is more than half opaque.

    Parameters
    ----------
    path : Path
    observed : Picture
        The picture, or a page of it.
    page : int or None
        Which page that is, counted from 0: a mask of several pages has one for each.
    as_stored : bool
        It lies as the pixels do in the picture's file, and is turned upright with them.

    Returns
    -------
    mask : bool array, the shape of the picture's samples
        A grey mask, or one of a grey picture, is for all channels; a colour mask has a channel for each. One that is
        black all over marks nothing.
    digest : str
        SHA-256 of the file.
    """
    mask = images.load(path, page=page)
    if as_stored:
        alpha = None if mask.alpha is None else exif.turned(mask.alpha, observed.orientation)
        mask = replace(mask, samples=exif.turned(mask.samples, observed.orientation), alpha=alpha)
    height, width, channels = observed.samples.shape
    if mask.samples.shape[:2] != (height, width):
        raise ImageError(
            f"{shown(path)} is {size(mask)}, the picture {size(observed)}: a mask must be as large as the picture."
        )
    marked: NDArray[np.bool_] = unit_values(mask.samples) > 0.5  # of its type: a faint mask is none
    if mask.samples.any() and not marked.any():
        brightest, most = mask.samples.max(), white(mask.samples.dtype)
        raise ImageError(
            f"{shown(path)} is nowhere white, its brightest value is {brightest:g} of {most}: "
            "make white what it is to mark."
        )
    if mask.alpha is not None:  # what was rubbed out in an editor is transparent, of whatever colour
        marked &= unit_values(mask.alpha)[..., None] > 0.5
    if channels == 1:
        marked = marked.max(2, keepdims=True)
    return np.broadcast_to(marked, (height, width, channels)), mask.digest or ""


def size(picture: Picture) -> str:
    """Say size and colours of a picture."""
    height, width, channels = picture.samples.shape
    return f"{width}x{height} {'grey' if channels == 1 else 'RGB'}"
