"""What Pillow and the other decoders give, as samples: colours, transparency, resolution."""

import math
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dipsop.pictures.colours import rgb_of_cmyk
from dipsop.pictures.refusals import check_size, refuse_kind, refuse_size

Decoded = tuple[NDArray[Any], NDArray[Any] | None, bytes | None, tuple[str, ...]]
"""Samples (H, W, C), the alpha plane, the colour profile, and what is to be said of them."""


def open_with_pillow(file: IO[bytes], name: str, format: str) -> Image.Image:
    """Read the header only, and refuse what is too large."""
    try:
        image = Image.open(file, formats=[format])
    except Image.DecompressionBombError:
        refuse_size("", name)
    check_size(image.width, image.height, name)
    for key in ("xmp", "XML:com.adobe.xmp"):  # Pillow would turn by the orientation there, which viewers do not heed
        image.info.pop(key, None)
    return image


def decoded_samples(image: Image.Image, profile: bytes | None, name: str) -> Decoded:
    """Take the samples out of a decoded Pillow image: palettes, key colours and inks are resolved, two levels become
    256.
    """
    mode = image.mode
    if mode == "CMYK":
        image, note = rgb_of_cmyk(image, profile, name)
        return *without_alpha(np.array(image)), None, (note,)  # sRGB, which is what no profile means
    if mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "YCbCr"):
        refuse_kind(f"{mode} colours", name)
    transparent = "transparency" in image.info or mode in ("LA", "PA")
    if mode in ("P", "PA", "RGB", "YCbCr"):
        image = image.convert("RGBA" if transparent else "RGB")
    elif mode in ("1", "L"):
        image = image.convert("LA" if transparent else "L")
    return *without_alpha(np.array(image)), profile, ()


def without_alpha(array: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Split (H, W) or (H, W, 1 to 4) into colour samples (H, W, 1 or 3) and the alpha plane, if there is one."""
    array = array.reshape(*array.shape[:2], -1)
    channels = array.shape[2]
    return (array[..., :-1], array[..., -1]) if channels in (2, 4) else (array, None)


def widened(samples: NDArray[Any], bits: int) -> NDArray[np.uint16]:
    """Spread samples of 9 to 15 bits over the 16 that a picture has, white to white; ValueError beyond that white."""
    most = (1 << bits) - 1
    if samples.max() > most:
        raise ValueError(f"samples of more than {bits} bits")
    return ((samples.astype(np.uint32) * 65535 + most // 2) // most).astype(np.uint16)


def plausible_dpi(dpi: Any, orientation: int) -> tuple[float, float] | None:
    """Leave out a resolution that no format could hold; turn it with the picture."""
    try:
        across, down = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not all(math.isfinite(value) and 1 <= value <= 65535 for value in (across, down)):
        return None
    return (down, across) if orientation >= 5 else (across, down)
