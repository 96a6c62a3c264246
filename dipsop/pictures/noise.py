"""Models of sparse corruption, seeded: which values are hit, and what they become.

Every draw is made by ``numpy.random.default_rng(seed)``, first the places and then the values, so that anyone can make
the same bits:

    rng = numpy.random.default_rng(seed)
    mask = rng.random(image.shape) < fraction
    value = rng.random(image.shape) < 0.5        salt-and-pepper: 0 or 1
    value = rng.random(image.shape)              random-valued: uniform on [0, 1]
    corrupted = numpy.where(mask, value, image).astype(numpy.float32)
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Corrupted = tuple[NDArray[np.float32], NDArray[np.bool_]]
FINER = 4  # times as large soft strokes are drawn
_SIGNS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def salt_and_pepper(image: NDArray[Any], fraction: float, seed: int, shared: bool = False) -> Corrupted:
    """Replace a fraction of the values by 0 or 1, each with probability one half.

    Parameters
    ----------
    image : ndarray of float, (H, W) or (H, W, C)
        Values in [0, 1].
    fraction : float, [0, 1]
        The probability with which a value is hit, not with which it changes: a 1 that is hit by a 1 stays.
    seed : int
        The same seed gives the same bits.
    shared : bool
        Hit all channels of a pixel together, to a black or a white pixel, rather than each value by itself.

    Returns
    -------
    corrupted : ndarray of float32
        Of the shape of the image.
    mask : ndarray of bool
        Of the shape of the image, true where a value was hit.

    Raises
    ------
    ValueError
        An image that is not of floats in [0, 1], or a fraction outside [0, 1].
    """
    _check(image, fraction, 1)
    rng = np.random.default_rng(seed)
    shape = _shape(image, shared)
    mask = rng.random(shape) < fraction
    return _put(image, rng.random(shape) < 0.5, mask)


def random_valued(image: NDArray[Any], fraction: float, seed: int, shared: bool = False) -> Corrupted:
    """Replace a fraction of the values by random ones, uniform on [0, 1].

    Parameters
    ----------
    image : ndarray of float, (H, W) or (H, W, C)
        Values in [0, 1].
    fraction : float, [0, 1]
        The probability with which a value is hit.
    seed : int
        The same seed gives the same bits.
    shared : bool
        Hit all channels of a pixel together, each with a value of its own, rather than each value by itself.

    Returns
    -------
    corrupted : ndarray of float32
        Of the shape of the image.
    mask : ndarray of bool
        Of the shape of the image, true where a value was hit.

    Raises
    ------
    ValueError
        An image that is not of floats in [0, 1], or a fraction outside [0, 1].
    """
    _check(image, fraction, 1)
    rng = np.random.default_rng(seed)
    mask = rng.random(_shape(image, shared)) < fraction
    return _put(image, rng.random(image.shape), mask)


MODELS = {"salt-and-pepper": salt_and_pepper, "random-valued": random_valued}
"""The models that take a fraction, by the names that the command line has for them."""


def scratches_and_lettering(image: NDArray[Any], seed: int, fraction: float = 0.05, soft: bool = False) -> Corrupted:
    """Draw scratches and lettering over a picture, each in one random colour.

    Parameters
    ----------
    image : ndarray of float, (H, W) or (H, W, C)
        Values in [0, 1].
    seed : int
        The same seed gives the same drawing, as long as Pillow draws curves and letters in the same way.
    fraction : float, [0, 0.5]
        The share of pixels to draw over. The last stroke goes beyond it, by more the smaller the picture is.
    soft : bool
        Draw them as real ones are: up to six pixels wide instead of three, with soft edges, at a strength between 0.4
        and 1. Each is drawn four times as large and made smaller.

    Returns
    -------
    corrupted : ndarray of float32
        Of the shape of the image.
    mask : ndarray of bool
        Of the shape of the image, true on all channels of a pixel that was drawn over, however faintly.

    Raises
    ------
    ValueError
        An image that is not of floats in [0, 1], or a fraction outside [0, 0.5].
    """
    _check(image, fraction, 0.5)
    rng = np.random.default_rng(seed)
    corrupted = image.astype(np.float32)
    lay = _lay_soft_stroke if soft else _lay_stroke
    drawn = np.zeros(image.shape[:2], bool)
    while drawn.mean() < fraction:
        drawn |= lay(rng, corrupted)
    return corrupted, np.broadcast_to(drawn.reshape(_shape(image, shared=True)), image.shape).copy()


def _lay_stroke(rng: np.random.Generator, picture: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Draw a stroke or a word over a picture. Returns where, (H, W)."""
    stroke = _stroke(rng, *picture.shape[:2])
    picture[stroke] = rng.random(picture.shape[2:])
    return stroke


def _lay_soft_stroke(rng: np.random.Generator, picture: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Draw a soft-edged, half-transparent one over a picture. Returns where, (H, W)."""
    height, width = picture.shape[:2]
    finer = _stroke(rng, FINER * height, FINER * width, FINER)
    cover = finer.reshape(height, FINER, width, FINER).mean((1, 3), dtype=np.float32)
    opacity = (rng.uniform(0.4, 1) * cover).reshape(_shape(picture, shared=True)).astype(np.float32)
    picture += opacity * (rng.random(picture.shape[2:]).astype(np.float32) - picture)
    covered: NDArray[np.bool_] = cover > 0
    return covered


def _stroke(rng: np.random.Generator, height: int, width: int, finer: int = 1) -> NDArray[np.bool_]:
    draw = _scratch if rng.random() < 0.7 else _lettering
    return draw(rng, height, width, finer)


def curve(
    rng: np.random.Generator, ends: NDArray[np.float64], bend: float = 0.08, points: int = 65
) -> NDArray[np.float64]:
    """Return points (N, 2) of a Bézier curve between two ends (2, 2), whose two control points are off by `bend`."""
    bends = ends[0] + (ends[1] - ends[0]) * [[1 / 3], [2 / 3]] + rng.normal(0, bend, (2, 2))
    t = np.linspace(0, 1, points)[:, None]
    between: NDArray[np.float64] = (
        (1 - t) ** 3 * ends[0] + 3 * (1 - t) ** 2 * t * bends[0] + 3 * (1 - t) * t**2 * bends[1] + t**3 * ends[1]
    )
    return between


def _scratch(rng: np.random.Generator, height: int, width: int, finer: int) -> NDArray[np.bool_]:
    """Draw a curve from anywhere to anywhere.

    It is 1 to 3 pixels wide; where it is drawn finer, to be made smaller, 1 to 6.
    """
    canvas = Image.new("1", (width, height))
    points = np.rint(curve(rng, rng.random((2, 2))) * (width - 1, height - 1)).astype(int)
    ImageDraw.Draw(canvas).line([(int(x), int(y)) for x, y in points], fill=1, width=_stroke_width(rng, finer))
    return np.array(canvas)


def _stroke_width(rng: np.random.Generator, finer: int) -> int:
    return int(rng.integers(1, 4)) if finer == 1 else round(finer * rng.uniform(1, 6))


def _lettering(rng: np.random.Generator, height: int, width: int, finer: int) -> NDArray[np.bool_]:
    """Draw a word of four to eight signs, a thirtieth to a fifteenth of the smaller side high, at least 6 pixels."""
    word = "".join(_SIGNS[i] for i in rng.integers(0, len(_SIGNS), rng.integers(4, 9)))
    font = ImageFont.load_default(max(6 * finer, min(height, width) / 30 * (1 + rng.random())))
    canvas = Image.new("1", (width, height))
    place = rng.random(2) * (0.8 * width, 0.95 * height)
    ImageDraw.Draw(canvas).text((int(place[0]), int(place[1])), word, fill=1, font=font)
    return np.array(canvas)


def _shape(image: NDArray[Any], shared: bool) -> tuple[int, ...]:
    """Give the shape of the draws: one for each value, or one for all channels of a pixel."""
    return (*image.shape[:2], *[1] * (image.ndim - 2)) if shared else image.shape


def _put(image: NDArray[Any], value: Any, mask: NDArray[np.bool_]) -> Corrupted:
    return np.where(mask, value, image).astype(np.float32), np.broadcast_to(mask, image.shape).copy()


def _check(image: NDArray[Any], fraction: float, most: float) -> None:
    if image.ndim not in (2, 3) or image.size == 0 or not np.issubdtype(image.dtype, np.floating):
        raise ValueError(f"expected a float image (H, W) or (H, W, C), got {image.dtype} of shape {image.shape}")
    if not ((image >= 0) & (image <= 1)).all():
        raise ValueError(f"expected image values in [0, 1], got {image.min()} to {image.max()}")
    if not 0 <= fraction <= most:
        raise ValueError(f"expected a fraction in [0, {most}], got {fraction}")
