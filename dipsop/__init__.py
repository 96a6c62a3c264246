"""dipsop takes sparse corruption of unknown kind out of a picture: y = f(θ) + u∘u − v∘v at discrepant rates."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dipsop.errors import DipsopError, DivergenceError, ImageError
from dipsop.restoration.config import PRESETS, HeldOut, WholeImage

if TYPE_CHECKING:
    from dipsop.restoration.fit import Restoration, Step, iter_restore, restore
    from dipsop.restoration.series import dead_pixels

__version__ = "0.1.0"
__all__ = [
    "PRESETS",
    "DipsopError",
    "DivergenceError",
    "HeldOut",
    "ImageError",
    "Restoration",
    "Step",
    "WholeImage",
    "dead_pixels",
    "iter_restore",
    "restore",
]


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is first asked for, so that `dipsop --help` answers at once."""
    if name in ("Restoration", "Step", "iter_restore", "restore"):
        return getattr(import_module("dipsop.restoration.fit"), name)
    if name == "dead_pixels":
        return import_module("dipsop.restoration.series").dead_pixels
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
