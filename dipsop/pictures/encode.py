"""From a Picture to the bytes of a file: lossless and at the picture's depth, except for JPEG."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

from dipsop.errors import ImageError
from dipsop.files import shown
from dipsop.pictures import exif
from dipsop.pictures.encode_tiff import encode_tiff
from dipsop.pictures.picture import Picture, white
from dipsop.pictures.refusals import LONGEST_PNG

FORMATS = {
    ".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP",
}  # fmt: skip
READ_ALONE = (".heic", ".heif", ".hif", ".avif")  # suffixes of pictures that are not written: their results are PNG
_PILLOW_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    "WEBP": {"lossless": True, "exact": True},  # exact: also the colours under full transparency
    "BMP": {},
}
_OPAQUE = ("JPEG", "BMP")
_LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383, "PNG": LONGEST_PNG}
_LONGEST_EXIF_IN_JPEG = 65527


def format_of(path: Path) -> str:
    """Give the format that a file name asks for; ImageError where its suffix is none of FORMATS."""
    suffix = path.suffix.lower()
    format = FORMATS.get(suffix)
    if suffix in READ_ALONE:
        raise ImageError(f"{shown(path)}: {suffix} is read, not written, end it in one of {', '.join(FORMATS)}.")
    if format is None:
        raise ImageError(f"{shown(path)} has no suffix of a picture format: end it in one of {', '.join(FORMATS)}.")
    return format


def check_fits(picture: Picture, path: Path) -> None:
    """Raise an ImageError, naming formats that do, where the format of a file name cannot hold a picture."""
    problem = _problem(picture, format_of(path))
    if problem:
        better = [suffix for suffix, format in FORMATS.items() if fits(picture, format)]
        raise ImageError(f"{shown(path)} cannot hold {problem}: use {' or '.join(better[:2])}.")


def note_on(picture: Picture, path: Path) -> str | None:
    """Say what of a picture is left out for want of a place in the format of a file name; None where nothing is."""
    if format_of(path) != "BMP" or not (picture.icc_profile or picture.exif):
        return None
    what = "colour profile" if picture.icc_profile else "EXIF record"
    return f"{shown(path)} has no place for the {what} of the picture: a .png or .tif keeps it."


def fits(picture: Picture, format: str) -> bool:
    """Whether a format, one of the values of FORMATS, can hold a picture."""
    return _problem(picture, format) is None


def _problem(picture: Picture, format: str) -> str | None:
    """Say what of a picture a format cannot hold."""
    dtype, sides = picture.samples.dtype, picture.samples.shape[:2]
    if np.issubdtype(dtype, np.floating) and format != "TIFF":
        return "float samples"
    if dtype == np.uint16 and format not in ("PNG", "TIFF"):
        return "16-bit samples"
    if format in _OPAQUE and picture.alpha is not None and (picture.alpha != white(picture.alpha.dtype)).any():
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
        return encode_tiff(picture)
    return _encode_with_pillow(picture, format)


def _encode_with_pillow(picture: Picture, format: str) -> bytes:
    options: dict[str, Any] = dict(_PILLOW_OPTIONS[format])
    if picture.icc_profile:
        options["icc_profile"] = picture.icc_profile
    if picture.exif:
        options["exif"] = exif.PREFIX + picture.exif
    if picture.dpi:
        options["dpi"] = tuple(round(value) for value in picture.dpi) if format == "JPEG" else picture.dpi
    array = picture.samples if format in _OPAQUE else picture.samples_and_alpha
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
