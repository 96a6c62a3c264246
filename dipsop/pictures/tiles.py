"""Cutting a picture into tiles that overlap, so that each can be worked on alone and no seam shows."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from dipsop.pictures.picture import Picture, put, unit_values
from dipsop.pictures.quality import Array

Rectangle = tuple[slice, slice]
TILE = 512  # side in pixels of what is predicted at a time: bounds memory
LARGE = 1 << 20  # pixels: of pictures beyond this, fewer or coarser looks show enough, and each look takes long
MARGIN = 56  # pixels beyond its border that a tile sees: as far as the held-out network does


class Tile(NamedTuple):
    """A part of a picture: what is wanted of it, what is looked at for that, and where the one lies in the other."""

    inner: Rectangle
    outer: Rectangle
    inner_of_outer: Rectangle


def tiles(height: int, width: int, side: int, margin: int = MARGIN) -> Iterator[Tile]:
    """Cut a picture into tiles of at most side × side pixels that see `margin` pixels beyond their borders."""
    for rows in _cuts(height, side, margin):
        for columns in _cuts(width, side, margin):
            yield Tile(*zip(rows, columns, strict=True))


def _cuts(length: int, side: int, margin: int) -> Iterator[tuple[slice, slice, slice]]:
    for start in range(0, length, side):
        stop, first = min(length, start + side), max(0, start - margin)
        yield slice(start, stop), slice(first, min(length, stop + margin)), slice(start - first, stop - first)


class Canvas:
    """What of a picture is restored so far, piece by piece, at its own depth; the rest is as it was.

    One piece is the whole picture where memory allows. Else every piece is fitted by itself, with a margin around it,
    so that what a picture needs beyond its own samples and a map of what was found is that of one piece.

    Parameters
    ----------
    picture : Picture
    most_pixels : int or None
        Of a piece, its margin left out; None takes the picture as one.

    Attributes
    ----------
    pieces : list of Tile
    samples : ndarray, the shape and type of the picture's samples
    found : bool array of that shape
        Where corruption was found.
    """

    def __init__(self, picture: Picture, most_pixels: int | None = None) -> None:
        height, width, _ = picture.samples.shape
        side = max(height, width) if most_pixels is None else max(1, math.isqrt(most_pixels))
        # Pieces of about one size: a last one of a few rows would be a picture of a few rows.
        side = max(math.ceil(length / math.ceil(length / side)) for length in (height, width))
        self.pieces = list(tiles(height, width, side))
        self.picture, self.most_pixels = picture, most_pixels
        self.samples = picture.samples.copy()
        self.found = np.zeros(self.samples.shape, bool)

    def values(self, piece: Tile) -> Array:
        """What a fit to a piece is given: float32 in [0, 1]."""
        return unit_values(self.picture.samples[piece.outer])

    def put(self, piece: Tile, values: Array, where: Any, found: Any) -> None:
        """Put in the values of a piece where they replace the samples, and where corruption was found."""
        put(self.samples[piece.inner], values[piece.inner_of_outer], where[piece.inner_of_outer])
        self.found[piece.inner] = found[piece.inner_of_outer]

    def restored(self) -> Picture:
        """The picture as it stands."""
        return replace(self.picture, samples=self.samples)
