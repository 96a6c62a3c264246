"""What telephones and the web write in boxes: HEIC by libheif, which is an extra, and deep AVIF by libavif."""

from typing import Any, BinaryIO

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from dipsop.errors import ImageError
from dipsop.pictures import exif
from dipsop.pictures.colours import other_than_srgb
from dipsop.pictures.picture import Picture
from dipsop.pictures.pixels import widened, without_alpha
from dipsop.pictures.refusals import check_size, refuse_kind

_MODES = ("L", "LA", "RGB", "RGBA")


def decode_heic(file: BinaryIO, name: str) -> Picture:
    """Decode the main picture of a HEIC file.

    libheif turns it upright as the file says. An orientation that stands in the EXIF record too is not for the pixels,
    and is set to 1.

    Raises
    ------
    ImageError
        libheif is not installed, or as decode.decode.
    One of decode.DECODING_ERRORS
        It is damaged.
    """
    try:
        import pillow_heif
    except ImportError:
        raise ImageError(f"{name} is a HEIC file, to read it: pip install 'dipsop[heic]'.") from None
    container = pillow_heif.open_heif(file, convert_hdr_to_8bit=False, hdr_to_16bit=False)
    image = container[container.primary_index]
    carried: dict[str, Any] = image.info
    check_size(*image.size, name)
    mode, _, bits = image.mode.partition(";")
    if mode not in _MODES:
        refuse_kind("colours that are multiplied by their alpha" if mode[-1:] == "a" else f"{mode} colours", name)
    array = np.asarray(image)
    samples, alpha = without_alpha(widened(array, int(bits)) if array.dtype != np.uint8 else array)
    record, _ = exif.upright(carried["exif"] or b"")
    others = len(container) - 1
    notes = (f"{name} holds {others + 1} pictures, the main one alone is taken.",) if others else ()
    return Picture(
        samples=samples,
        alpha=alpha,
        icc_profile=carried.get("icc_profile") or None,
        exif=record,
        format="HEIC",
        notes=notes + other_than_srgb(file, carried, name),
    )


def bits_of_avif(file: BinaryIO) -> int:
    """Read from the configuration of its codec how many bits a sample has: 8, 10 or 12."""
    file.seek(0)
    data = file.read()
    at = data.index(b"av1C") + 6
    flags = data[at]
    return 8 + 2 * (flags >> 6 & 1) + 2 * (flags >> 5 & 1)


def decode_deep_avif(file: BinaryIO, bits: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Decode an AVIF file of more than 8 bits that Pillow has found to be sound; not turned upright."""
    file.seek(0)
    return without_alpha(widened(imagecodecs.avif_decode(file.read()), bits))
