"""`dipsop demo`: PSNR against iteration, with and without the sparse part."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from dipsop.commands.corrupt import NoiseName
from dipsop.commands.options import NONE, Device, Quiet, Seed
from dipsop.restoration.config import DEMO

STEPS = max(config.steps for config in DEMO.values())


def demo(
    image: Annotated[
        Path | None,
        typer.Option(
            help="A clean picture, to be corrupted; with --truth, a corrupted one.",
            show_default="256x256 pixels of scikit-image's astronaut",
        ),
    ] = None,
    truth: Annotated[Path | None, typer.Option(help="The clean picture of a corrupted one.", show_default=NONE)] = None,
    noise: Annotated[
        NoiseName | None,
        typer.Option(
            help="What corrupts it: black or white on 50 % of the values, or random values on 30 %.",
            show_default="salt-and-pepper",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps of each fit.")] = STEPS,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where psnr_vs_iteration.png and .json go; made if it is not there.")
    ] = Path("."),
    seed: Seed = 0,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Show that there is nothing to stop early: PSNR against iteration, for deep image prior with and without (u, v).

    The preset dip as it is, beside deep image prior with l2, with l1, and with explicit penalties on s. All start from
    the same network and fit the same corrupted picture, about five minutes in all on two cores.
    """
    if truth is not None and image is None:
        raise typer.BadParameter("name the corrupted picture by --image.", param_hint="--truth")
    if truth is not None and noise is not None:
        raise typer.BadParameter("the picture comes corrupted where --truth is given.", param_hint="--noise")

    from dipsop.commands.display import follow
    from dipsop.commands.stopping import Stopping
    from dipsop.files import shown
    from dipsop.jobs.demo import DemoJob, run

    with Stopping() as stopping:
        job = DemoJob(
            out=out, image=image, truth=truth, kind=noise or "salt-and-pepper", steps=steps, seed=seed, device=device
        )
        report = follow(run(job, stopping.came), stopping, quiet)
    if report is not None and not quiet:
        plot, record = out / "psnr_vs_iteration.png", out / "psnr_vs_iteration.json"
        typer.echo(f"{table(report)}\nwrote {shown(plot)} and {shown(record)}")
    raise typer.Exit(stopping.exit_status)


def table(report: Mapping[str, Any]) -> str:
    """Return the comparison as lines of text."""
    head = f"{'method':<13} {'peak dB':>8} {'at step':>8} {'final dB':>9} {'fall dB':>8} {'seconds':>8}"
    rows = (
        f"{name:<13} {c['peak']:>8.2f} {c['peak_step']:>8} {c['final']:>9.2f} {c['peak'] - c['final']:>8.2f} "
        f"{c['seconds']:>8.1f}"
        for name, c in report.items()
    )
    return "\n".join([head, *rows])
