"""The canvas of a picture: the pieces that it is restored in, and what of it is done."""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from dipsop.pictures.picture import Array, Picture, put, unit_values
from dipsop.pictures.tiles import Tile, tiles


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
    side : int
        No piece is longer or wider, its margin left out.
    samples : ndarray, the shape and type of the picture's samples
    found : bool array of that shape
        Where corruption was found.
    """

    def __init__(self, picture: Picture, most_pixels: int | None = None) -> None:
        height, width, _ = picture.samples.shape
        side = max(height, width) if most_pixels is None else max(1, math.isqrt(most_pixels))
        # Pieces of about one size: a last one of a few rows would be a picture of a few rows.
        self.side = max(math.ceil(length / math.ceil(length / side)) for length in (height, width))
        self.pieces = list(tiles(height, width, self.side))
        self.picture, self.most_pixels = picture, most_pixels
        self.samples = picture.samples.copy()
        self.found = np.zeros(self.samples.shape, bool)

    def values(self, piece: Tile) -> Array:
        """What a fit to a piece is given: float32 in [0, 1]."""
        return unit_values(self.picture.samples[piece.outer], self.picture.white)

    def put(self, piece: Tile, values: Array, where: Any, found: Any) -> None:
        """Put in the values of a piece where they replace the samples, and where corruption was found."""
        put(self.samples[piece.inner], values[piece.inner_of_outer], where[piece.inner_of_outer], self.picture.white)
        self.found[piece.inner] = found[piece.inner_of_outer]

    def restored(self) -> Picture:
        """The picture as it stands."""
        return replace(self.picture, samples=self.samples)
