"""Options that several commands have, and checks of values that typer cannot make."""

import math
from typing import Annotated, Literal

import typer

NONE, OFF = "none", "off"  # how --help says these defaults

DeviceName = Literal["auto", "cpu", "cuda", "mps"]

Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Same seed, same device, same result.")]
Device = Annotated[DeviceName, typer.Option(help="Where to compute; auto takes a GPU where there is one.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show nothing but errors.", show_default=OFF)]


def finite(value: float | None) -> float | None:
    """Refuse nan and inf, which pass every comparison with a minimum or a maximum one way or the other."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number.")
    return value


def positive(value: float | None) -> float | None:
    """Refuse what is not a finite number above 0."""
    if finite(value) is not None and not value > 0:  # type: ignore[operator]
        raise typer.BadParameter(f"{value} is not above 0.")
    return value
