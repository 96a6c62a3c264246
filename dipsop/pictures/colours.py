"""From the inks of a press to the colours of a screen."""

import io

from PIL import Image, ImageChops, ImageCms

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
