"""Options that several commands have, and checks of values that typer cannot make."""

import math
from collections.abc import Collection
from typing import Annotated

import typer

from dipsop.compute import DeviceName

NONE, OFF = "none", "off"  # how --help says these defaults

Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="On a processor the same seed gives the same result.")]
Device = Annotated[DeviceName, typer.Option(help="Where to compute; auto: cuda if there is one, else cpu.")]
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


def given(context: typer.Context) -> dict[str, str]:
    """What stands on the command line, without the defaults: the option's name, as --help says it, by parameter."""
    return {
        parameter.name: parameter.opts[-1] if parameter.opts[-1].startswith("-") else str(parameter.metavar)
        for parameter in context.command.params
        if parameter.name is not None and _says(context, parameter.name)
    }


def refuse(context: typer.Context, names: Collection[str], why: str) -> None:
    """Refuse the first of these parameters that stands on the command line: it would be ignored."""
    for name, option in given(context).items():
        if name in names:
            raise typer.BadParameter(why, param_hint=option)


def _says(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
