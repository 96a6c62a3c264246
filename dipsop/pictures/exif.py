"""EXIF records as bytes: the orientation in them, and the way from and to the tags of a TIFF file.

A record is a small TIFF file. Records of PNG, JPEG and WebP files are kept byte for byte (maker notes hold offsets that
a rewrite would break); only the orientation is set to 1 in place, because the pixels are turned upright on reading, and
the thumbnail is unlinked, which shows the picture as it was.
"""

import struct
import warnings
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PREFIX = b"Exif\0\0"
# What Pillow raises on records that lie.
BROKEN = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError,
          ZeroDivisionError, RuntimeError, struct.error)  # fmt: skip

_ORIENTATION = 274
_METHODS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_SUB_RECORDS = (0x8769, 0x8825)  # EXIF proper, GPS
_INTEROPERABILITY = 0xA005  # a record within EXIF proper: which colours, where they are not sRGB
# Of the tags of a TIFF file those that describe the picture, and those of GeoTIFF and GDAL that say where it lies. Most
# others say how its samples lie in the file. XMP is left out: it may speak of further pictures in the file, or edits.
_DESCRIPTIVE = (270, 271, 272, 285, 305, 306, 315, 316, 18246, 18249, 33432, 40091, 40092, 40093, 40094, 40095,
                33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113)  # fmt: skip


def upright(record: bytes) -> tuple[bytes | None, int]:
    """Read the orientation of a record, set it to 1, and unlink the thumbnail.

    Parameters
    ----------
    record : bytes
        With or without the ``Exif`` prefix.

    Returns
    -------
    record : bytes or None
        The same without prefix, with orientation 1 and its second directory unlinked; None where it is empty.
    orientation : int
        1 to 8 as EXIF counts; 1 where there is none, or none that can be read.
    """
    while record.startswith(PREFIX):
        record = record.removeprefix(PREFIX)
    patched, orientation = bytearray(record), 1
    try:
        order, entries, end = _first_directory(record)
        for entry in entries:
            if struct.unpack_from(order + "HHI", record, entry) == (_ORIENTATION, 3, 1):
                (orientation,) = struct.unpack_from(order + "H", record, entry + 8)
                struct.pack_into(order + "H", patched, entry + 8, 1)
                break
        if struct.unpack_from(order + "I", record, end)[0] < len(record):  # else it is not there, and this is a value
            struct.pack_into(order + "I", patched, end, 0)
    except (struct.error, LookupError):
        pass
    return bytes(patched) or None, orientation if 1 <= orientation <= 8 else 1


def _first_directory(record: bytes) -> tuple[str, range, int]:
    """Find the byte order of a record, the entries of its first directory and where they end; or raise."""
    order = {b"II*\0": "<", b"MM\0*": ">"}[record[:4]]
    (first,) = struct.unpack_from(order + "I", record, 4)
    (count,) = struct.unpack_from(order + "H", record, first)
    end = first + 2 + 12 * count
    return order, range(first + 2, end, 12), end


def turned_image(image: Image.Image) -> Image.Image:
    """Turn an image of Pillow upright. An orientation that cannot be read, as of a broken record, counts as 1.

    Pillow's own ImageOps.exif_transpose writes the whole record anew, which raises on tags that matter to nobody here.
    """
    image.load()  # a PNG may hold its record after the pixels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, on odd records
        try:
            method = _METHODS.get(image.getexif().get(_ORIENTATION, 1))
        except BROKEN:
            method = None
    return image if method is None else image.transpose(method)


def turned(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn an array (H, W, ...) upright, given the EXIF orientation (1 to 8) that it was stored with."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def as_stored(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo `turned`: an upright array (H, W, ...) as a file with that orientation has it."""
    return turned(array, {6: 8, 8: 6}.get(orientation, orientation))  # all others undo themselves


def from_tiff(file: BinaryIO, *, offset: int, order: str, big: bool) -> bytes | None:
    """Collect the descriptive tags of a TIFF file as an EXIF record.

    Parameters
    ----------
    file : binary file
        The TIFF file.
    offset : int
        Where its first directory lies.
    order : str
        Its byte order, ``<`` or ``>``.
    big : bool
        Whether it is a BigTIFF.

    Returns
    -------
    bytes or None
        The record; None where nothing describes the picture, or where it cannot be read.
    """
    source = Image.Exif()
    source.endian, source.bigtiff = order, big
    try:
        source.load_from_fp(file, offset)
        tags = _descriptive(source)
        return _written(tags) if tags else None
    except BROKEN:
        return None


def to_tiff(record: bytes | None) -> dict[int, Any]:
    """Give the descriptive tags of a record, sub-records as dictionaries, for the directory of a TIFF file."""
    source = Image.Exif()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, on odd records
        try:
            source.load(record or b"")
            tags = _descriptive(source)
            _written(tags)  # raises here, where it can be let go, what would end the writing of a finished picture
        except BROKEN:
            return {}
    return tags


class _Text(str):
    """A text that is written as the bytes it was read from, mostly UTF-8: Pillow reads Latin-1 and writes ASCII.

    (Given bytes, Pillow would no longer call them text, but for the few tags of which it knows the type.)
    """

    def encode(self, encoding: str = "latin-1", errors: str = "replace") -> bytes:
        return super().encode("latin-1", "replace")


def _text(value: Any) -> Any:
    return _Text(value) if isinstance(value, str) else value


def _descriptive(source: Image.Exif) -> dict[int, Any]:
    """The tags of a record that describe the picture, sub-records as dictionaries."""
    tags = {tag: _text(source[tag]) for tag in _DESCRIPTIVE if tag in source}
    for tag in _SUB_RECORDS:
        if tag in source and (sub_record := source.get_ifd(tag)):
            tags[tag] = {key: _text(value) for key, value in sub_record.items() if key != _INTEROPERABILITY}
            if _INTEROPERABILITY in sub_record and (deepest := source.get_ifd(_INTEROPERABILITY)):
                tags[tag][_INTEROPERABILITY] = deepest
    return tags


def _written(tags: dict[int, Any]) -> bytes:
    """Write tags as a record, without prefix."""
    record = Image.Exif()
    for tag, value in tags.items():
        record[tag] = value
    return record.tobytes().removeprefix(PREFIX)
