"""TIFF files of one page or many, at every depth."""

import io
import math
from types import TracebackType
from typing import Any, BinaryIO, NoReturn, Self, cast

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from dipsop.errors import ImageError
from dipsop.pictures import exif
from dipsop.pictures.picture import Picture, in_unit_range, white
from dipsop.pictures.pixels import Decoded, decoded_samples, open_with_pillow, plausible_dpi, without_alpha
from dipsop.pictures.refusals import check_size, refuse_kind, refuse_packing, refuse_raw

_DEEP_TYPES = (np.uint16, np.float16, np.float32, np.float64)
_DNG_VERSION = 50706
_WEBP = 50001  # compression that the libtiff of Pillow lacks
_SENSOR = (32803, 34892)  # photometric interpretations of raw files: colour filter array, linear raw
_OWN_CHANNELS = {0: 1, 1: 1, 2: 3}  # of the photometric interpretations grey, from white or from black, and RGB
_REDUCED = 1  # of the bits of NewSubfileType
_MULTIPLIED, _UNMULTIPLIED = 1, 2  # of ExtraSamples: an alpha that the colours are multiplied by, and one they are not


class Pages:
    """The pages of an open TIFF file, decoded one at a time.

    Copies of reduced size, which some programs put after a page, are none.

    Parameters
    ----------
    file : binary file
        It stays open.
    name : str
        How to call it in an error.

    Raises
    ------
    ImageError
        A camera's raw file, or a stack that has more images than directories.
    One of decode.DECODING_ERRORS
        It is damaged.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        file.seek(0)
        self._file, self._name = file, name
        self._tiff = tifffile.TiffFile(file)
        directories = range(len(self._tiff.pages))
        self._check_chain()
        self._numbers = [k for k in directories if k == 0 or not _tag(self._page(k), 254, 0) & _REDUCED]
        left_out = len(directories) - len(self._numbers)
        self._notes = (f"{name} holds reduced copies of its pages, they are left out.",) if left_out else ()
        if any(_is_raw(page) for page in (self._page(0), *(self._page(0).pages or ()))):
            refuse_raw(name)
        described = self._tiff.imagej_metadata if self._tiff.is_imagej else None
        if described and int(described.get("images", 1)) > len(directories):
            raise ImageError(f"{name} is an ImageJ stack under one header: save it as a TIFF of several pages.")

    def __enter__(self) -> Self:
        """Give these pages."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the decoders go; the file stays open."""
        self._tiff.close()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._numbers)

    def picture(self, number: int) -> Picture:
        """Decode a page, counted from 0; errors as for decode.decode."""
        page = self._page(self._numbers[number])
        _check_page(page, self._name)
        stored = _tag(page, 274)
        orientation = stored if stored in range(1, 9) else 1
        record = exif.from_tiff(self._file, offset=page.offset, order=self._tiff.byteorder, big=self._tiff.is_bigtiff)
        profile = bytes(_tag(page, 34675, b"")) or None
        notes: tuple[str, ...] = ()
        if np.max(page.bitspersample) > 8:
            samples, alpha = _deep(page, self._name)
            samples = exif.turned(samples, orientation)
            alpha = None if alpha is None else exif.turned(alpha, orientation)
        else:
            samples, alpha, profile, notes = self._eight_bits(page, profile)
        if _MULTIPLIED in page.extrasamples and not _all_or_nothing(alpha):
            refuse_kind("colours that are multiplied by their alpha", self._name)
        more = page.samplesperpixel - samples.shape[2] - (alpha is not None)
        if page.photometric in _OWN_CHANNELS and more > 0:
            notes = (*notes, f"{self._name} holds more channels than its colours and an alpha, they are left out.")
        return Picture(
            samples=samples,
            alpha=alpha,
            icc_profile=profile,
            exif=record,
            dpi=plausible_dpi(_dpi(page), orientation),
            orientation=orientation,
            format="TIFF",
            notes=self._notes + notes,
        )

    def _check_chain(self) -> None:
        """See whether the last directory names no next one: tifffile leaves out those that it does not find."""
        sizes = self._tiff.tiff
        self._file.seek(self._tiff.pages.next_page_offset)
        if self._file.read(sizes.offsetsize) != bytes(sizes.offsetsize):
            raise ValueError("a page is missing")

    def _page(self, directory: int) -> tifffile.TiffPage:
        page = self._tiff.pages[directory]
        if not isinstance(page, tifffile.TiffPage):
            raise ValueError("no page")
        return page

    def _eight_bits(self, page: tifffile.TiffPage, profile: bytes | None) -> Decoded:
        """Let Pillow decode a page, which also turns it upright."""
        sizes = self._tiff.tiff
        if self._tiff.is_bigtiff and sizes.byteorder == ">":
            refuse_kind("8-bit samples in a big-endian BigTIFF", self._name)
        if page.planarconfig == 2 and _MULTIPLIED in page.extrasamples:
            refuse_kind("planes that are multiplied by their alpha", self._name)
        self._file.seek(0)
        first = sizes.offsetsize  # of a directory: in the second 4 bytes of the header, in the second 8 of a BigTIFF
        header = self._file.read(first) + page.offset.to_bytes(first, "little" if sizes.byteorder == "<" else "big")
        try:
            if page.compression == _WEBP:
                raise UnidentifiedImageError
            opened = open_with_pillow(cast(BinaryIO, _Beginning(self._file, header)), self._name, "TIFF")
        except UnidentifiedImageError:  # its directory is sound: it has been read before
            refuse_packing(f"{page.samplesperpixel} channels of 8 bits", self._name)
        with opened as image:
            image.load()
            return decoded_samples(image, profile, self._name)


class _Beginning(io.BufferedIOBase):
    """A file with another header: Pillow reads its first directory, whatever stands in those before.

    (libtiff, which is given the file's number and the offset of the directory, needs no header.)
    """

    def __init__(self, file: BinaryIO, header: bytes) -> None:
        self._file, self._header = file, header
        file.seek(0)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as of the file."""
        at = self._file.tell()
        data = self._file.read(-1 if size is None else size)
        header = self._header[at : at + len(data)]
        return header + data[len(header) :]

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Seek in the file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Where in the file."""
        return self._file.tell()

    def fileno(self) -> int:
        """The number of the file."""
        return self._file.fileno()


def _is_raw(page: tifffile.TiffPage) -> bool:
    return _DNG_VERSION in page.tags or _tag(page, 262) in _SENSOR


def _check_page(page: tifffile.TiffPage, name: str) -> None:
    """See from its header whether a page can be taken."""
    check_size(page.imagewidth, page.imagelength, name)
    if page.is_tiled:
        check_size(page.tilewidth, page.tilelength, name)
    if page.imagedepth != 1:
        refuse_kind("a volume", name)
    if np.max(page.bitspersample) <= 8 and page.sampleformat != 1:
        refuse_kind("signed 8-bit samples", name)
    if len(page.dataoffsets) < math.prod(page.chunked) or 0 in page.databytecounts:
        raise ValueError("strips or tiles are missing, which the decoders would fill with zeros")


def _deep(page: tifffile.TiffPage, name: str) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Decode 16-bit or float samples, not turned upright."""
    photometric, extra = page.photometric, tuple(page.extrasamples)
    channels = _OWN_CHANNELS.get(int(photometric))
    if channels is None:
        refuse_kind(f"{tifffile.PHOTOMETRIC(photometric).name} colours", name)
    if page.samplesperpixel not in (channels, channels + 1):
        refuse_kind(f"{page.samplesperpixel} channels", name)
    bits = int(np.max(page.bitspersample))
    if page.dtype not in _DEEP_TYPES or bits != 8 * np.dtype(page.dtype).itemsize:
        refuse_kind(f"{bits}-bit samples of type {page.dtype}", name)
    array = page.asarray()
    if page.planarconfig == 2 and page.samplesperpixel > 1:
        array = np.moveaxis(array, 0, -1)
    samples, more = without_alpha(array.astype(array.dtype.newbyteorder("=")))
    alpha = more if extra in ((_MULTIPLIED,), (_UNMULTIPLIED,)) else None
    if np.issubdtype(samples.dtype, np.floating) and not in_unit_range(samples):
        _refuse_range(samples, name)
    if photometric == 0:  # 0 is white in the file
        samples = white(samples.dtype) - samples
    return samples, alpha


def _all_or_nothing(alpha: NDArray[Any] | None) -> bool:
    """Whether every pixel is opaque or invisible: then colours are as they were, multiplied by alpha or not."""
    return alpha is None or bool(((alpha == 0) | (alpha == white(alpha.dtype))).all())


def _refuse_range(samples: NDArray[Any], name: str) -> NoReturn:
    if not np.isfinite(samples).all():
        raise ImageError(f"{name} holds values that are NaN or infinite: replace them by numbers in [0, 1].")
    low, high = samples.min(), samples.max()
    raise ImageError(f"{name} holds values from {low:g} to {high:g}: scale them to [0, 1].")


def _tag(page: tifffile.TiffPage, code: int, otherwise: Any = None) -> Any:
    tag = page.tags.get(code)
    return otherwise if tag is None else tag.value


def _dpi(page: tifffile.TiffPage) -> tuple[float, float] | None:
    try:
        unit = int(_tag(page, 296, 2))  # the default; 1 is none, as of arrays that were written by a program
        (across, of_across), (down, of_down) = _tag(page, 282), _tag(page, 283)
        per_inch = {2: 1.0, 3: 2.54}[unit]
        return across / of_across * per_inch, down / of_down * per_inch
    except (TypeError, KeyError, ZeroDivisionError):  # not said, or not as two whole numbers
        return None
