"""Cutting a picture into tiles that overlap, so that each can be worked on alone and no seam shows."""

from collections.abc import Iterator
from typing import NamedTuple

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
