"""What a browser shows of a picture: at 8 bits, as PNG, in the picture's own colours."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dipsop.errors import ImageError
from dipsop.pictures import images
from dipsop.pictures.masks import load_mask
from dipsop.pictures.picture import Picture
from dipsop.pictures.preview import eight_bits, first_estimate

MOST_PIXELS_AT_ONCE = 400_000  # of the first answer, which has to be there in a moment
THUMBNAIL = 160  # pixels, the longer side

ONE_AT_A_TIME = threading.Lock()
"""Held while a picture is decoded in this process: many large ones at once would take more memory than there is."""

_SHOWING = threading.Lock()


def read(source: Path, folder: Path) -> Picture:
    """Read a picture that came in; write its thumbnail and a first answer, both small.

    Raises
    ------
    ImageError
        As images.load.
    """
    with ONE_AT_A_TIME:
        picture = images.load(source)
        samples = eight_bits(picture.samples)
        every = int(np.ceil(np.sqrt(samples.shape[0] * samples.shape[1] / MOST_PIXELS_AT_ONCE)))
        images.save_eight_bits(folder / "first.png", first_estimate(samples[::every, ::every]), picture)
        _save_thumbnail(folder / "thumb.png", samples, picture)
    return picture


def show(path: Path, out: Path) -> None:
    """Write a picture of any format and depth as one that a browser shows."""
    with ONE_AT_A_TIME:
        picture = images.load(path)
        images.save_eight_bits(out, eight_bits(picture.samples), picture)


def show_result(path: Path) -> None:
    """Write beside a result what is shown of it, and its thumbnail."""
    folder = path.parent
    with ONE_AT_A_TIME:
        picture = images.load(path)
        samples = eight_bits(picture.samples)
        images.save_eight_bits(folder / "after.png", samples, picture)
        _save_thumbnail(folder / "thumb.png", samples, picture)


def show_once(path: Path, out: Path) -> None:
    """Do what `show` does, unless `out` is there already."""
    with _SHOWING:
        if not out.exists():
            show(path, out)


def check_brush(path: Path, height: int, width: int) -> None:
    """Refuse what the brush made where it is no picture, or not as large as the one that was painted on."""
    with ONE_AT_A_TIME:
        load_mask(path, _blank(height, width, 1))


def save_mask(path: Path, added: Sequence[Path | None], taken_away: Path, shape: tuple[int, int, int]) -> None:
    """Write a mask: all that is white in one of those added, and not in the one taken away; files may be missing.

    Raises
    ------
    ImageError
        Nothing is white.
    """
    blank = _blank(*shape)

    def white(path: Path | None) -> NDArray[np.bool_]:
        return load_mask(path, blank)[0] if path is not None and path.exists() else np.zeros(shape, bool)

    with ONE_AT_A_TIME:
        mask = np.logical_or.reduce([white(path) for path in added]) & ~white(taken_away)
        if not mask.any():
            raise ImageError("nothing was found, and nothing is marked as missed: mark it with the brush first.")
        images.save_values(path, mask)


def _blank(height: int, width: int, channels: int) -> Picture:
    return Picture(samples=np.broadcast_to(np.uint8(0), (height, width, channels)))


def _save_thumbnail(path: Path, samples: NDArray[np.uint8], picture: Picture) -> None:
    image = Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    small = np.asarray(image)
    images.save_eight_bits(path, small.reshape(*small.shape[:2], -1), picture)
