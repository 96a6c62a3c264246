"""`dipsop restore`: a corrupted picture in, a clean one out. Its options; dipsop.commands.restore_job does the work."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from dipsop.commands.options import NONE, OFF, Device, Quiet, Seed, positive
from dipsop.dtype import Dtype
from dipsop.restoration.config import PRESETS, HeldOut

PresetName = Literal["quick", "best", "scratch", "paper"]
DEFAULT: PresetName = "quick"
STEPS = "by preset: " + ", ".join(f"{name} {config.steps}" for name, config in PRESETS.items())
DTYPE = "by preset: " + ", ".join(f"{name} {config.dtype}" for name, config in PRESETS.items())


def restore(
    picture: Annotated[Path, typer.Argument(metavar="IN", help="The corrupted picture: PNG, JPEG, TIFF, WebP or BMP.")],
    out: Annotated[Path, typer.Option(help="Where the clean picture goes; the suffix is the format.")],
    truth: Annotated[
        Path | None,
        typer.Option(help="The clean picture, where there is one; only adds PSNR and SSIM.", show_default=NONE),
    ] = None,
    preset: Annotated[
        PresetName,
        typer.Option(help="quick and best for specks and noise; scratch: deep image prior; paper: as published, days."),
    ] = DEFAULT,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps.", show_default=STEPS)] = None,
    time_limit: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="End sooner.", callback=positive, show_default=NONE)
    ] = PRESETS[DEFAULT].time_limit,
    seed: Seed = PRESETS[DEFAULT].seed,
    device: Device = "auto",
    dtype: Annotated[
        Dtype | None,
        typer.Option(
            help="What the network computes in; auto: bfloat16 where the processor has it.", show_default=DTYPE
        ),
    ] = None,
    from_nothing: Annotated[
        bool,
        typer.Option("--from-nothing", help="quick, best: start from random weights, not shipped.", show_default=OFF),
    ] = False,
    shared_corruption: Annotated[
        bool, typer.Option("--shared-corruption", help="Corruption hits whole pixels, not channels.", show_default=OFF)
    ] = False,
    network_output: Annotated[
        bool,
        typer.Option("--network-output", help="Write f everywhere, not only where corrupted.", show_default=OFF),
    ] = False,
    trace: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Record the course of the fit.", show_default=NONE)
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the course of the fit.", show_default=NONE)
    ] = None,
    corruption_map: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Show where corruption was found, in white.", show_default=NONE),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as a JSON object.", show_default=OFF)] = False,
    quiet: Quiet = False,
) -> None:
    """Take sparse corruption out of a picture: no mask, no noise level, no iteration to stop at.

    Values in which no corruption is found stay as they are, bit for bit. Ctrl-C writes the result so far, a second one
    leaves at once.
    """
    from dipsop.commands.restore_job import Job, run

    config = replace(
        PRESETS[preset],
        steps=PRESETS[preset].steps if steps is None else steps,
        time_limit=time_limit,
        seed=seed,
        dtype=PRESETS[preset].dtype if dtype is None else dtype,
        shared_corruption=shared_corruption,
    )
    if isinstance(config, HeldOut):
        config = replace(config, pretrained=not from_nothing)
    job = Job(
        source=picture,
        out=out,
        truth=truth,
        preset=preset,
        config=config,
        device=device,
        network_output=network_output,
        trace=trace,
        plot=plot,
        corruption_map=corruption_map,
        json=json,
        quiet=quiet,
    )
    raise typer.Exit(run(job))
