"""Reading a clean picture beside its corrupted version."""

from pathlib import Path

from dipsop.errors import ImageError
from dipsop.files import shown
from dipsop.restoration import images
from dipsop.restoration.images import Picture
from dipsop.restoration.quality import Array


def load_truth(path: Path, observed: Picture) -> Array:
    """Read the clean picture, which must be as large and as coloured as the corrupted one."""
    clean = images.load(path)
    if clean.values.shape != observed.values.shape:
        raise ImageError(
            f"{shown(path)} is {size(clean)}, the corrupted picture {size(observed)}: "
            "as the truth, name the clean version of the same picture."
        )
    return clean.values


def size(picture: Picture) -> str:
    """Say size and colours of a picture."""
    height, width, channels = picture.samples.shape
    return f"{width}x{height} {'grey' if channels == 1 else 'RGB'}"
