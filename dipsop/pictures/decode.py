"""From the bytes of a file to a Picture, decided from the header before anything large is decoded.

Eight bits go through Pillow, which knows the most kinds of files. What Pillow would reduce to eight bits or not open
goes through libpng (16-bit PNG), tifffile (16-bit and float TIFF), libavif (10- and 12-bit AVIF) and libheif (HEIC).
"""

import logging
import zlib
from typing import Any, BinaryIO

import imagecodecs
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from dipsop.pictures import exif
from dipsop.pictures.colours import other_than_srgb
from dipsop.pictures.decode_heif import bits_of_avif, decode_deep_avif, decode_heic
from dipsop.pictures.decode_tiff import Pages
from dipsop.pictures.kinds import HEAD, kind_of
from dipsop.pictures.picture import Picture
from dipsop.pictures.pixels import decoded_samples, open_with_pillow, plausible_dpi, without_alpha
from dipsop.pictures.refusals import LONGEST_PNG, refuse_animation, refuse_length, refuse_pages

# What the decoders raise on hostile files; the classes of imagecodecs are RuntimeErrors, of tifffile ValueErrors.
DECODING_ERRORS = (*exif.BROKEN, EOFError, MemoryError, NotImplementedError, UnicodeError, zlib.error)

_ANIMATED = {"PNG": "an animated PNG", "WEBP": "an animated WebP", "AVIF": "a sequence of pictures"}

# Pillow takes colour profiles of up to 1 MB; those of scanners can be longer.
PngImagePlugin.MAX_TEXT_CHUNK = 16 << 20

# The libraries log what they find odd. With no handler at all Python would print that on stderr.
for _library in ("PIL", "tifffile"):
    logging.getLogger(_library).addHandler(logging.NullHandler())


def decode(file: BinaryIO, name: str, page: int | None = None) -> Picture:
    """Decode an open file.

    Parameters
    ----------
    file : binary file
        Open at its beginning, seekable.
    name : str
        How to call it in an error.
    page : int or None
        Of several pages the one to take, counted from 0; None takes no file of several.

    Returns
    -------
    Picture
        Upright, at the depth of the file.

    Raises
    ------
    ImageError
        It is not a picture, too large, of several pages or frames, or of a kind that is not taken.
    One of DECODING_ERRORS
        It is damaged.
    """
    kind = kind_of(head_of(file), name)
    if kind == "HEIC":
        return decode_heic(file, name)
    if kind == "TIFF":
        with Pages(file, name) as pages:
            if len(pages) == 1:
                return pages.picture(0)
            if page is None:
                refuse_pages(name)
            return pages.picture(page)
    return _decode_with_pillow(file, name, kind)


def head_of(file: BinaryIO) -> bytes:
    """Read the bytes that say the kind of a file, and go back to its beginning."""
    file.seek(0)
    head = file.read(HEAD)
    file.seek(0)
    return head


def _decode_with_pillow(file: BinaryIO, name: str, format: str) -> Picture:
    with open_with_pillow(file, name, format) as image:
        # A multi-picture JPEG is what telephones write: one photograph, and previews or depth maps after it.
        if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
            refuse_animation(_ANIMATED[format], name)
        image.load()
        if format == "PNG" and image.mode == "L" and isinstance(image.info.get("transparency"), int):
            # The level that is transparent is said in the bits of the file, which Pillow has spread over eight.
            image.info["transparency"] *= 255 // ((1 << min(8, _bits_of_png(file))) - 1)
        record, orientation = exif.upright(_exif_record(image))
        profile = image.info.get("icc_profile") or None
        notes: tuple[str, ...] = ()
        if format == "PNG" and _bits_of_png(file) == 16:
            if max(image.size) > LONGEST_PNG:
                refuse_length(name)
            samples, alpha = _decode_deep_png(file)
        elif format == "AVIF" and (bits := bits_of_avif(file)) > 8:
            samples, alpha = decode_deep_avif(file, bits)
        else:
            samples, alpha, profile, notes = decoded_samples(image, profile, name)
        if format in ("PNG", "AVIF"):
            notes += other_than_srgb(file, image.info, name)
        return Picture(
            samples=exif.turned(samples, orientation),
            alpha=None if alpha is None else exif.turned(alpha, orientation),
            icc_profile=profile,
            exif=record,
            dpi=plausible_dpi(image.info.get("dpi"), orientation),
            orientation=orientation,
            format=format,
            notes=notes,
        )


def _exif_record(image: Image.Image) -> bytes:
    """Take the record as it is, or what Pillow makes of older ways to store one; a broken record is none."""
    if record := image.info.get("exif"):
        return bytes(record)
    try:
        found = image.getexif()
        return found.tobytes() if len(found) else b""
    except exif.BROKEN:
        return b""


def _decode_deep_png(file: BinaryIO) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Decode a 16-bit PNG that Pillow has found to be sound; libpng makes alpha of a transparent key colour."""
    file.seek(0)
    return without_alpha(imagecodecs.png_decode(file.read()))


def _bits_of_png(file: BinaryIO) -> int:
    file.seek(24)
    return file.read(1)[0]
