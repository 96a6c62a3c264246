"""The command line: `dipsop`, `python -m dipsop`. Only this, dipsop.commands and dipsop.page print and exit.

What takes long to import (torch, matplotlib, scikit-image) is imported by a command that has begun, never for `--help`.
"""

import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from dipsop import __version__
from dipsop.commands.classify import classify
from dipsop.commands.corrupt import corrupt
from dipsop.commands.demo import demo
from dipsop.commands.doctor import doctor
from dipsop.commands.restore import restore
from dipsop.commands.runs import export, predict, relabel
from dipsop.compute import tune_process
from dipsop.errors import DipsopError
from dipsop.page.command import page

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(restore)
app.command()(corrupt)
app.command()(demo)
app.command()(classify)
app.command()(predict)
app.command()(relabel)
app.command()(export)
app.command()(doctor)
app.command()(page)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dipsop {__version__}")
        raise typer.Exit


@app.callback()
def _dipsop(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Take sparse corruption of unknown kind out of a picture: no mask, no noise level, no iteration to stop at."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; the world's faults end it here, in one sentence and with exit status 1.

    Parameters
    ----------
    arguments : sequence of str or None
        Those of the process by default.

    Raises
    ------
    SystemExit
        Always: 0 done, 1 failed, 2 a bad option, 130 Ctrl-C, 143 told to terminate.
    """
    tune_process()
    _settle_streams()
    try:
        app(arguments, prog_name="dipsop")
    except DipsopError as error:
        print(f"dipsop: {error}", file=sys.stderr)
        sys.exit(1)


def _settle_streams() -> None:
    """Let nothing that is said end a command: a closed stderr swallows it, letters that stdout lacks are escaped."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
