"""From a Picture to the bytes of a file: lossless and at the picture's depth, except for JPEG."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, TiffTags

from dipsop.errors import ImageError
from dipsop.files import shown
from dipsop.pictures import exif
from dipsop.pictures.picture import Picture

FORMATS = {
    ".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP",
}  # fmt: skip
_PILLOW_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    "WEBP": {"lossless": True, "exact": True},  # exact: also the colours under full transparency
    "BMP": {},
}
_LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383}
_LONGEST_EXIF_IN_JPEG = 65527
_STRIP_BYTES = 1 << 18


def format_of(path: Path) -> str:
    """Give the format that a file name asks for; ImageError where its suffix is none of FORMATS."""
    format = FORMATS.get(path.suffix.lower())
    if format is None:
        raise ImageError(f"{shown(path)} has no suffix of a picture format: end it in one of {', '.join(FORMATS)}.")
    return format


def check_fits(picture: Picture, path: Path) -> None:
    """Raise an ImageError, naming formats that do, where the format of a file name cannot hold a picture."""
    problem = _problem(picture, format_of(path))
    if problem:
        better = [suffix for suffix, format in FORMATS.items() if not _problem(picture, format)]
        raise ImageError(f"{shown(path)} cannot hold {problem}: use {' or '.join(better[:2])}.")


def _problem(picture: Picture, format: str) -> str | None:
    """Say what of a picture a format cannot hold."""
    dtype, sides = picture.samples.dtype, picture.samples.shape[:2]
    if np.issubdtype(dtype, np.floating) and format != "TIFF":
        return "float samples"
    if dtype == np.uint16 and format not in ("PNG", "TIFF"):
        return "16-bit samples"
    if picture.alpha is not None and format in ("JPEG", "BMP"):
        return "transparency"
    if max(sides) > _LONGEST_SIDE.get(format, max(sides)):
        return f"sides of more than {_LONGEST_SIDE[format]} pixels"
    if format == "JPEG" and len(picture.exif or b"") > _LONGEST_EXIF_IN_JPEG:
        return "so long an EXIF record"
    return None


def encode(picture: Picture, format: str) -> bytes:
    """Encode a picture that fits the format, one of the values of FORMATS."""
    if format == "PNG":
        return _encode_png(picture)
    if format == "TIFF":
        return _encode_tiff(picture)
    return _encode_with_pillow(picture, format)


def _encode_with_pillow(picture: Picture, format: str) -> bytes:
    options: dict[str, Any] = dict(_PILLOW_OPTIONS[format])
    if picture.icc_profile:
        options["icc_profile"] = picture.icc_profile
    if picture.exif:
        options["exif"] = exif.PREFIX + picture.exif
    if picture.dpi:
        options["dpi"] = tuple(round(value) for value in picture.dpi) if format == "JPEG" else picture.dpi
    array = picture.samples_and_alpha
    buffer = io.BytesIO()
    Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(buffer, format, **options)
    return buffer.getvalue()


def _encode_png(picture: Picture) -> bytes:
    """Let libpng write the pixels at either depth, and put the chunks about the picture before them."""
    array = picture.samples_and_alpha
    pixels = bytes(imagecodecs.png_encode(array[..., 0] if array.shape[2] == 1 else array, level=6))
    header_end = 8 + 12 + 13
    chunks = []
    if picture.icc_profile:
        chunks.append(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(picture.icc_profile)))
    if picture.dpi:
        across, down = (round(value / 0.0254) for value in picture.dpi)  # per metre
        chunks.append(_chunk(b"pHYs", struct.pack(">IIB", across, down, 1)))
    if picture.exif:
        chunks.append(_chunk(b"eXIf", picture.exif))
    return pixels[:header_end] + b"".join(chunks) + pixels[header_end:]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _encode_tiff(picture: Picture) -> bytes:
    """Write a TIFF file of deflated strips: no library at hand writes one at every depth and with EXIF."""
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
    return _tiff_file(b"".join(strips), tags)


def _predicted(strip: NDArray[Any]) -> bytes:
    """Replace integer samples by their differences to the left, which deflate packs better; little-endian bytes."""
    if not np.issubdtype(strip.dtype, np.floating):
        differences = strip.copy()
        differences[:, 1:] -= strip[:, :-1]
        strip = differences
    return strip.astype(strip.dtype.newbyteorder("<")).tobytes()


def _tiff_file(strips: bytes, tags: dict[int, Any]) -> bytes:
    """Put header, directory and strips together; Pillow counts the offsets of strips from the directory's end."""
    header = b"II*\0\x08\0\0\0"
    directory = TiffImagePlugin.ImageFileDirectory_v2(header)
    directory.tagtype[273] = directory.tagtype[279] = TiffTags.LONG  # also where the numbers are small before counting
    for tag, value in tags.items():
        directory[tag] = value
    return header + directory.tobytes(8) + strips
