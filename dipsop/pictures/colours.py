"""From the inks of a press to the colours of a screen, and which colours of a screen."""

import io
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

from PIL import Image, ImageChops, ImageCms

_SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)  # where its white, red, green and blue are
# By the numbers of ITU-T H.273: its own, those of HDTV, and what is not said.
_SRGB_PRIMARIES, _SRGB_TRANSFERS = (1, 2), (1, 2, 6, 13)
_HEAD = 1 << 20  # bytes in which a file says of its colours what it says
_PROBLEMS = (ImageCms.PyCMSError, OSError, ValueError, TypeError)


def rgb_of_cmyk(image: Image.Image, profile: bytes | None, name: str) -> tuple[Image.Image, str]:
    """Convert a CMYK picture to RGB.

    Parameters
    ----------
    image : PIL image of mode CMYK
        0 is no ink. Pillow turns round the values of every JPEG file; those without Adobe's mark are turned back.
    profile : bytes or None
        The colour profile that came with it.
    name : str
        How to call it in the sentence.

    Returns
    -------
    image : PIL image of mode RGB
        In sRGB by the profile, with relative colorimetric intent and black point compensation; where there is none for
        CMYK, by the plain formula (255 − ink) · (255 − black) / 255.
    note : str
        A sentence that says so.
    """
    if image.format == "JPEG" and "adobe" not in image.info:
        image = ImageChops.invert(image)
    converted = None if profile is None else _by_profile(image, profile)
    if converted is None:
        note = f"{name} holds CMYK colours and no profile of them, they are converted to RGB by a plain formula."
        return image.convert("RGB"), note
    note = f"{name} holds CMYK colours, they are converted to RGB by its colour profile."
    return converted, note


def _by_profile(image: Image.Image, profile: bytes) -> Image.Image | None:
    """Convert by a profile; None where it is broken, or not one of CMYK."""
    try:
        return ImageCms.profileToProfile(
            image,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except _PROBLEMS:
        return None


def other_than_srgb(file: BinaryIO, info: Mapping[Any, Any], name: str) -> tuple[str, ...]:
    """See what a PNG, AVIF or HEIC file says of its colours by other means than a profile, which is not carried over.

    Parameters
    ----------
    file : binary file
    info : mapping
        What the decoder tells of it: icc_profile, and of a PNG srgb, gamma, chromaticity.
    name : str
        How to call it in the sentence.

    Returns
    -------
    tuple of str
        A sentence where they are not those of sRGB.
    """
    if info.get("icc_profile"):
        return ()
    if code := _code(file):
        same = code[0] in _SRGB_PRIMARIES and code[1] in _SRGB_TRANSFERS
    else:
        same = "srgb" in info or _as_in_srgb(info)
    note = f"{name} has colours that are not sRGB, without a profile, they are taken for sRGB and not converted."
    return () if same else (note,)


def _as_in_srgb(info: Mapping[Any, Any]) -> bool:
    """Whether the gamma and the primaries of a PNG, if it has them, are those of sRGB, as nearly as anybody writes."""
    places = zip(info.get("chromaticity", _SRGB), _SRGB, strict=False)
    return abs(2.2 * info.get("gamma", 1 / 2.2) - 1) < 0.01 and all(abs(a - b) < 0.01 for a, b in places)


def _code(file: BinaryIO) -> tuple[int, int] | None:
    """Primaries and transfer by the numbers of ITU-T H.273, of AVIF and HEIC in a box, of PNG in a chunk."""
    file.seek(0)
    head = file.read(_HEAD)
    for mark, layout in ((b"colrnclx", ">HH"), (b"\0\0\0\4cICP", ">BB")):
        if (at := head.find(mark)) >= 0:
            primaries, transfer = struct.unpack_from(layout, head, at + len(mark))
            return primaries, transfer
    return None
