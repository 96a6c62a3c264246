"""What of a file is not taken, in sentences that say what to do."""

from typing import NoReturn

from dipsop.errors import ImageError

MAX_PIXELS = 100_000_000
LONGEST_PNG = 1_000_000  # pixels of a side, by libpng


def check_size(width: int, height: int, name: str) -> None:
    """Raise an ImageError where a header claims too many pixels, a ValueError where it claims none."""
    if width * height > MAX_PIXELS:
        refuse_size(f"{width}×{height} pixels, ", name)
    if width < 1 or height < 1:
        raise ValueError("no pixels")


def refuse_size(claim: str, name: str) -> NoReturn:
    """Say that a picture is too large."""
    raise ImageError(f"{name} claims {claim}more than {MAX_PIXELS // 1_000_000} megapixels: crop or scale it down.")


def refuse_length(name: str) -> NoReturn:
    """Say that a side is too long for libpng."""
    raise ImageError(f"{name} has a side of more than {LONGEST_PNG} pixels, of 16 bits: crop it, or make it a TIFF.")


def refuse_pages(name: str) -> NoReturn:
    """Say that one picture was asked for, where a file has several."""
    raise ImageError(f"{name} has several pages or frames: save the one to restore as a file of its own.")


def refuse_animation(kind: str, name: str) -> NoReturn:
    """Say that films are not taken."""
    raise ImageError(f"{name} is {kind}: save its frames as PNG files, and restore those.")


def refuse_raw(name: str) -> NoReturn:
    """Say that what a sensor saw has to become a picture first: how its colours are made is the photographer's."""
    raise ImageError(
        f"{name} is a camera's raw file, whose colours are not made yet: "
        "develop it to a 16-bit TIFF, with darktable for instance, and restore that."
    )


def refuse_packing(what: str, name: str) -> NoReturn:
    """Say that samples are compressed or arranged in a way that no decoder at hand knows."""
    raise ImageError(f"{name} packs {what} in a way that is not read: save it without compression, or as PNG.")


def refuse_kind(kind: str, name: str) -> NoReturn:
    """Say that samples of some kind are not taken."""
    raise ImageError(f"{name} holds {kind}, which are not taken: convert it to 8- or 16-bit grey or RGB.")
