"""A picture in memory: the values that the fit works on, and all that is needed to write it back as it came."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False, kw_only=True)
class Picture:
    """A grey or RGB picture at its own depth, with what it carries along.

    Parameters
    ----------
    samples : ndarray, (H, W, C)
        The colour channels as they are stored, C = 1 (grey) or 3 (RGB): uint8, uint16, or floats in [0, 1].
    alpha : ndarray or None, (H, W)
        The transparency of the same type, which is carried over and never restored.
    icc_profile : bytes or None
        The colour profile.
    exif : bytes or None
        The EXIF record without its ``Exif`` prefix, orientation 1: the pixels are upright already.
    dpi : (float, float) or None
        Resolution in dots per inch, across and down.
    orientation : int, 1 to 8
        How the file has the pixels, as EXIF counts (of HEIC and AVIF always 1); here they are upright.
    format : str or None
        What the file was: PNG, JPEG, TIFF, WEBP, BMP, HEIC or AVIF; None for an array.
    digest : str or None
        SHA-256 of the file, in hexadecimal digits; None for an array.
    notes : tuple of str
        Sentences that a person should read: in what it is not as the file had it.
    """

    samples: NDArray[Any]
    alpha: NDArray[Any] | None = None
    icc_profile: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    orientation: int = 1
    format: str | None = None
    digest: str | None = None
    notes: tuple[str, ...] = ()

    @cached_property
    def white(self) -> float:
        """The sample that stands for 1.0; see `white_of`."""
        return white_of(self.samples)

    @cached_property
    def values(self) -> Array:
        """The samples as float32 in [0, 1], (H, W, C)."""
        return unit_values(self.samples, self.white)

    @property
    def samples_and_alpha(self) -> NDArray[Any]:
        """The samples with the alpha plane, if there is one, as the last channel."""
        return self.samples if self.alpha is None else np.dstack([self.samples, self.alpha])

    @classmethod
    def from_array(cls, array: NDArray[Any]) -> "Picture":
        """Make a picture of a numpy array.

        Parameters
        ----------
        array : ndarray, (H, W), (H, W, 1) or (H, W, 3)
            uint8, uint16, or floats in [0, 1]. It is copied.

        Returns
        -------
        Picture
            With nothing but samples.

        Raises
        ------
        ValueError
            Another shape or type, or floats outside [0, 1].
        """
        samples = native_samples(array)
        if samples.shape[2] not in (1, 3):
            raise ValueError(f"expected shape (H, W), (H, W, 1) or (H, W, 3), alpha left out, got {array.shape}")
        return cls(samples=samples)

    def replaced(self, values: NDArray[Any], where: NDArray[np.bool_]) -> "Picture":
        """Put new values in some places; every sample in the other places stays bit-identical.

        Parameters
        ----------
        values : ndarray, (H, W, C)
            The new values; they are clipped to [0, 1] and rounded to the depth of the samples.
        where : ndarray of bool, (H, W, C)
            True where a sample is replaced.

        Returns
        -------
        Picture
            A new one; this one is unchanged.

        Raises
        ------
        ValueError
            A wrong shape or type, or a value to put in that is not finite.
        """
        samples = self.samples.copy()
        put(samples, values, where, self.white)
        return replace(self, samples=samples)


def put(samples: NDArray[Any], values: NDArray[Any], where: NDArray[np.bool_], one: float) -> None:
    """Overwrite samples by values in [0, 1] in some places, 1.0 by `one`; see `Picture.replaced`."""
    shape = samples.shape
    if values.shape != shape or where.shape != shape or where.dtype != np.bool_:
        raise ValueError(
            f"expected values and a boolean where of shape {shape}, "
            f"got {values.shape} and {where.shape} of {where.dtype}"
        )
    if not np.isfinite(values, where=where, out=np.ones(shape, bool)).all():
        raise ValueError("expected finite values to put in, got NaN or infinity")
    # Row by row: in float64 all of them are many times the picture.
    for row, of_row, here in zip(samples, values, where, strict=True):
        row[here] = quantized(of_row[here], samples.dtype, one)


def native_samples(array: NDArray[Any]) -> NDArray[Any]:
    """Return a copy of an array (H, W) or (H, W, C) as (H, W, C), of any C, in the machine's byte order.

    Raises ValueError for another shape, a type that is not uint8, uint16 or floating, or floats outside [0, 1].
    """
    array = np.asarray(array)
    if array.ndim not in (2, 3) or array.size == 0:
        raise ValueError(f"expected an array (H, W) or (H, W, C) with something in it, got shape {array.shape}")
    if array.dtype not in (np.uint8, np.uint16) and not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"expected uint8, uint16 or floats in [0, 1], got {array.dtype}")
    if np.issubdtype(array.dtype, np.floating) and not in_unit_range(array):
        raise ValueError(f"expected finite values in [0, 1], got {array.min()} to {array.max()}: divide by their white")
    native: NDArray[Any] = array.astype(array.dtype.newbyteorder("="))
    return native.reshape(*array.shape[:2], -1)


def unit_values(samples: NDArray[Any], one: float | None = None) -> Array:
    """Return samples of any type as float32 in [0, 1], where `one`, or the white of their type, becomes 1.0."""
    return (samples / np.float32(one or white(samples.dtype))).astype(np.float32, copy=False)


def white(dtype: np.dtype[Any]) -> int:
    """Give the sample value that stands for 1.0: 255, 65535, or 1 for floats."""
    return 1 if np.issubdtype(dtype, np.floating) else int(np.iinfo(dtype).max)


def white_of(samples: NDArray[Any]) -> float:
    """Give the sample that stands for 1.0: that of the type, but 4095 where samples of 16 bits use 12, as a camera has.

    Floats likewise: the least power of two that none exceeds. At least 255 and 1/256, as of 8 bits. Were a picture that
    uses a part of its range taken for a dark one, nothing would be found in it: all of it would lie within what counts
    as noise.
    """
    if samples.dtype == np.uint8:
        return white(samples.dtype)
    most = samples.max()
    if samples.dtype == np.uint16:
        return max(255, (1 << int(most).bit_length()) - 1)
    return 2.0 ** min(0, max(-8, math.ceil(math.log2(most)))) if most else 1.0


def quantized(values: NDArray[Any], dtype: np.dtype[Any], one: float | None = None) -> NDArray[Any]:
    """Clip values to [0, 1] and round them to the nearest sample of a type (integers), or just cast (floats).

    1.0 becomes `one`, or the white of the type.
    """
    if values.dtype == np.bool_:
        mapped: NDArray[Any] = values.astype(dtype) * dtype.type(white(dtype))
        return mapped
    scaled = np.clip(values.astype(np.float64), 0, 1) * (one or white(dtype))
    return (scaled if np.issubdtype(dtype, np.floating) else np.rint(scaled)).astype(dtype)


def in_unit_range(values: NDArray[Any]) -> bool:
    """Say whether all values are finite and in [0, 1]; NaN is not."""
    return bool(((values >= 0) & (values <= 1)).all())
