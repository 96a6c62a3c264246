"""TIFF files of deflated strips, page by page: no library at hand writes one at every depth and with EXIF."""

import io
import struct
import zlib
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import TiffImagePlugin, TiffTags

from dipsop.pictures import exif
from dipsop.pictures.picture import Picture

LARGEST_CLASSIC = 4_000_000_000  # bytes; offsets of 32 bits end a little later
_STRIP_BYTES = 1 << 18


def encode_tiff(picture: Picture) -> bytes:
    """Encode a TIFF file of one page."""
    buffer = io.BytesIO()
    TiffWriter(buffer).add(picture)
    return buffer.getvalue()


class TiffWriter:
    """A TIFF file that grows by a page at a time, of which none is kept in memory.

    Parameters
    ----------
    file : binary file
        Empty, seekable.
    pages : int
        How many it is going to have.
    big : bool
        Write a BigTIFF, which may be of more than 4 GB.
    """

    def __init__(self, file: IO[bytes], pages: int = 1, big: bool = False) -> None:
        self._file, self._pages, self._big = file, pages, big
        self._header = b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) if big else b"II*\0" + struct.pack("<I", 8)
        self._link = 0  # where the offset of the next page is to be written
        self._added = 0
        file.write(self._header)

    def add(self, picture: Picture) -> None:
        """Write the next page."""
        strips, tags = _page(picture)
        if self._pages > 1:
            tags |= {254: 2, 297: (self._added, self._pages)}  # a page, and which one
        start = self._file.seek(0, io.SEEK_END)
        if start % 2:
            start += self._file.write(b"\0")
        count, entry, offset = ("<Q", 20, "<Q") if self._big else ("<H", 12, "<I")
        if self._link:
            self._file.seek(self._link)
            self._file.write(struct.pack(offset, start))
            self._file.seek(start)
        directory = self._directory(tags)
        self._file.write(directory.tobytes(start))
        for strip in strips:
            self._file.write(strip)
        self._link = start + struct.calcsize(count) + entry * len(directory)
        self._added += 1

    def _directory(self, tags: dict[int, Any]) -> TiffImagePlugin.ImageFileDirectory_v2:
        """Put the tags in order; Pillow counts the offsets of strips from the directory's end."""
        directory = TiffImagePlugin.ImageFileDirectory_v2(self._header)
        # Also where the numbers are small before counting.
        directory.tagtype[273] = directory.tagtype[279] = TiffTags.LONG8 if self._big else TiffTags.LONG
        for tag, value in tags.items():
            directory[tag] = value
        return directory


def _page(picture: Picture) -> tuple[list[bytes], dict[int, Any]]:
    """The strips of a page, and the tags that say how they lie and what the picture carries."""
    array = picture.samples_and_alpha
    height, width, channels = array.shape
    rows = max(1, _STRIP_BYTES // (width * channels * array.itemsize))
    strips = [zlib.compress(_predicted(array[row : row + rows])) for row in range(0, height, rows)]
    lengths = [len(strip) for strip in strips]
    floats = np.issubdtype(array.dtype, np.floating)
    tags = exif.to_tiff(picture.exif)
    tags |= {
        256: width,
        257: height,
        258: (8 * array.itemsize,) * channels,
        259: 8,  # deflate
        262: 2 if picture.samples.shape[2] == 3 else 1,
        273: tuple(int(offset) for offset in np.cumsum([0, *lengths[:-1]])),
        277: channels,
        278: rows,
        279: tuple(lengths),
        284: 1,  # channels lie together
        317: 1 if floats else 2,  # predictor
        339: (3 if floats else 1,) * channels,
    }
    if picture.alpha is not None:
        tags[338] = 2  # alpha that is not multiplied into the colours
    if picture.icc_profile:
        tags[34675] = picture.icc_profile
    if picture.dpi:
        tags |= {282: picture.dpi[0], 283: picture.dpi[1], 296: 2}
    return strips, tags


def _predicted(strip: NDArray[Any]) -> bytes:
    """Replace integer samples by their differences to the left, which deflate packs better; little-endian bytes."""
    if not np.issubdtype(strip.dtype, np.floating):
        differences = strip.copy()
        differences[:, 1:] -= strip[:, :-1]
        strip = differences
    return strip.astype(strip.dtype.newbyteorder("<")).tobytes()
