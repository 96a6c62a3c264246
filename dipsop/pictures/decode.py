"""From the bytes of a file to a Picture, decided from the header before anything large is decoded.

Eight bits go through Pillow, which knows the most kinds of files. What Pillow would reduce to eight bits or not open
goes through libpng (16-bit PNG) and tifffile (16-bit and float TIFF).
"""

import logging
import math
import zlib
from typing import Any, BinaryIO, NoReturn

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from dipsop.errors import ImageError
from dipsop.pictures import exif
from dipsop.pictures.picture import Picture, in_unit_range

MAX_PIXELS = 100_000_000
# What the decoders raise on hostile files; the classes of imagecodecs are RuntimeErrors, of tifffile ValueErrors.
DECODING_ERRORS = (*exif.BROKEN, EOFError, MemoryError, NotImplementedError, UnicodeError, zlib.error)

_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"BM": "BMP", b"RIFF": "WEBP",
    b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF", b"MM\0+": "TIFF",
}  # fmt: skip
_DEEP_TIFF_TYPES = (np.uint16, np.float16, np.float32, np.float64)
_DNG_VERSION = 50706

# The libraries log what they find odd. With no handler at all Python would print that on stderr.
for _library in ("PIL", "tifffile"):
    logging.getLogger(_library).addHandler(logging.NullHandler())


def decode(file: BinaryIO, name: str) -> Picture:
    """Decode an open file.

    Parameters
    ----------
    file : binary file
        Open at its beginning, seekable.
    name : str
        How to call it in an error.

    Returns
    -------
    Picture
        Upright, at the depth of the file.

    Raises
    ------
    ImageError
        It is not a picture, too large, of several pages, or of a kind that is not taken.
    One of DECODING_ERRORS
        It is damaged.
    """
    head = file.read(32)
    file.seek(0)
    format = next((format for signature, format in _SIGNATURES.items() if head.startswith(signature)), None)
    if format is None or (format == "WEBP" and head[8:12] != b"WEBP"):
        raise ImageError(f"{name} is not a picture that can be read: give a PNG, JPEG, TIFF, WebP or BMP file.")
    return _decode_tiff(file, name) if format == "TIFF" else _decode_with_pillow(file, name, format)


def _decode_with_pillow(file: BinaryIO, name: str, format: str) -> Picture:
    with _open(file, name, format) as image:
        # A multi-picture JPEG is what telephones write: one photograph, and previews or depth maps after it.
        _check_pages(1 if image.format == "MPO" else getattr(image, "n_frames", 1), name)
        image.load()
        record, orientation = exif.upright(_exif_record(image))
        deep = format == "PNG" and _bits_of_png(file) == 16
        samples, alpha = _decode_deep_png(file) if deep else _eight_bits(image, name)
        return Picture(
            samples=exif.turned(samples, orientation),
            alpha=None if alpha is None else exif.turned(alpha, orientation),
            icc_profile=image.info.get("icc_profile") or None,
            exif=record,
            dpi=_plausible_dpi(image.info.get("dpi"), orientation),
            format=format,
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


def _open(file: BinaryIO, name: str, format: str) -> Image.Image:
    """Read the header only, and refuse what is too large."""
    try:
        image = Image.open(file, formats=[format])
    except Image.DecompressionBombError:
        _refuse_size("", name)
    _check_size(image.width, image.height, name)
    return image


def _eight_bits(image: Image.Image, name: str) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Take the samples out of a decoded Pillow image: palettes and key colours are resolved, two levels become 256."""
    mode = image.mode
    if mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "YCbCr"):
        _refuse_kind(f"{mode} colours", name)
    transparent = "transparency" in image.info or mode in ("LA", "PA")
    if mode in ("P", "PA", "RGB", "YCbCr"):
        image = image.convert("RGBA" if transparent else "RGB")
    elif mode in ("1", "L"):
        image = image.convert("LA" if transparent else "L")
    return _without_alpha(np.array(image))


def _without_alpha(array: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Split (H, W) or (H, W, 1 to 4) into colour samples (H, W, 1 or 3) and the alpha plane, if there is one."""
    array = array.reshape(*array.shape[:2], -1)
    channels = array.shape[2]
    return (array[..., :-1], array[..., -1]) if channels in (2, 4) else (array, None)


def _decode_deep_png(file: BinaryIO) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Decode a 16-bit PNG that Pillow has found to be sound; libpng makes alpha of a transparent key colour."""
    file.seek(0)
    return _without_alpha(imagecodecs.png_decode(file.read()))


def _bits_of_png(file: BinaryIO) -> int:
    file.seek(24)
    return file.read(1)[0]


def _decode_tiff(file: BinaryIO, name: str) -> Picture:
    with tifffile.TiffFile(file) as tiff:
        page = _first_page(tiff, name)
        stored = _tag(page, 274)
        orientation = stored if stored in range(1, 9) else 1
        record = exif.from_tiff(file, offset=page.offset, order=tiff.byteorder, big=tiff.is_bigtiff)
        profile = _tag(page, 34675)
        if np.max(page.bitspersample) > 8:
            samples, alpha = _decode_deep_tiff(page, name)
            samples = exif.turned(samples, orientation)
            alpha = None if alpha is None else exif.turned(alpha, orientation)
        else:
            file.seek(0)
            with _open(file, name, "TIFF") as image:
                image.load()  # which also turns it upright
                samples, alpha = _eight_bits(image, name)
        return Picture(
            samples=samples,
            alpha=alpha,
            icc_profile=bytes(profile) if profile else None,
            exif=record,
            dpi=_plausible_dpi(_tiff_dpi(page), orientation),
            format="TIFF",
        )


def _first_page(tiff: tifffile.TiffFile, name: str) -> tifffile.TiffPage:
    """Give the only page, once its header says that it can be taken."""
    page = tiff.pages[0]
    if not isinstance(page, tifffile.TiffPage):
        raise ValueError("no page")
    _check_size(page.imagewidth, page.imagelength, name)
    if page.is_tiled:
        _check_size(page.tilewidth, page.tilelength, name)
    if _DNG_VERSION in page.tags or page.imagedepth != 1:
        _refuse_kind("raw sensor data or a volume", name)
    if len(page.dataoffsets) < math.prod(page.chunked) or 0 in page.databytecounts:
        raise ValueError("strips or tiles are missing, which the decoders would fill with zeros")
    try:
        tiff.pages[1]
    except IndexError:
        return page
    _check_pages(2, name)
    return page


def _decode_deep_tiff(page: tifffile.TiffPage, name: str) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Decode 16-bit or float samples, not turned upright."""
    photometric, extra = page.photometric, tuple(page.extrasamples)
    channels = {0: 1, 1: 1, 2: 3}.get(int(photometric))
    if channels is None:
        _refuse_kind(f"{tifffile.PHOTOMETRIC(photometric).name} colours", name)
    if extra == (1,):
        _refuse_kind("colours that are multiplied by their alpha", name)
    if page.samplesperpixel not in (channels, channels + 1):
        _refuse_kind(f"{page.samplesperpixel} channels", name)
    bits = int(np.max(page.bitspersample))
    if page.dtype not in _DEEP_TIFF_TYPES or bits != 8 * np.dtype(page.dtype).itemsize:
        _refuse_kind(f"{bits}-bit samples of type {page.dtype}", name)
    array = page.asarray()
    if page.planarconfig == 2 and page.samplesperpixel > 1:
        array = np.moveaxis(array, 0, -1)
    samples, alpha = _without_alpha(array.astype(array.dtype.newbyteorder("=")))
    if photometric == 0 and samples.dtype == np.uint16:  # 0 is white in the file
        samples = 65535 - samples
    if np.issubdtype(samples.dtype, np.floating) and not in_unit_range(samples):
        _refuse_range(samples, name)
    return samples, alpha


def _refuse_range(samples: NDArray[Any], name: str) -> NoReturn:
    if not np.isfinite(samples).all():
        raise ImageError(f"{name} holds values that are NaN or infinite: replace them by numbers in [0, 1].")
    low, high = samples.min(), samples.max()
    raise ImageError(f"{name} holds values from {low:g} to {high:g}: scale them to [0, 1].")


def _tag(page: tifffile.TiffPage, code: int) -> Any:
    tag = page.tags.get(code)
    return None if tag is None else tag.value


def _tiff_dpi(page: tifffile.TiffPage) -> tuple[float, float] | None:
    per_inch = {2: 1.0, 3: 2.54}.get(_tag(page, 296) or 2)
    across, down = _tag(page, 282), _tag(page, 283)
    if per_inch is None or across is None or down is None or not across[1] or not down[1]:
        return None
    return across[0] / across[1] * per_inch, down[0] / down[1] * per_inch


def _plausible_dpi(dpi: Any, orientation: int) -> tuple[float, float] | None:
    """Leave out a resolution that no format could hold; turn it with the picture."""
    try:
        across, down = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not all(math.isfinite(value) and 1 <= value <= 65535 for value in (across, down)):
        return None
    return (down, across) if orientation >= 5 else (across, down)


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        _refuse_size(f"{width}×{height} pixels, ", name)
    if width < 1 or height < 1:
        raise ValueError("no pixels")


def _refuse_size(claim: str, name: str) -> NoReturn:
    raise ImageError(f"{name} claims {claim}more than {MAX_PIXELS // 1_000_000} megapixels: crop or scale it down.")


def _check_pages(pages: int, name: str) -> None:
    if pages > 1:
        raise ImageError(f"{name} has several pages or frames: save the one to restore as a file of its own.")


def _refuse_kind(kind: str, name: str) -> NoReturn:
    raise ImageError(f"{name} holds {kind}, which are not taken: convert it to 8- or 16-bit grey or RGB.")
