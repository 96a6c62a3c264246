"""The options of `dipsop restore`: what each says in --help, and which values it takes."""

from pathlib import Path
from typing import Annotated

import typer

from dipsop import compute
from dipsop.commands.options import NONE, OFF, positive
from dipsop.restoration import config
from dipsop.restoration.config import PRESETS, RANDOM_START_STEPS

STEPS = "by preset: " + ", ".join(f"{name} {preset.steps}" for name, preset in PRESETS.items())
DTYPE = "by preset: " + ", ".join(f"{name} {preset.dtype}" for name, preset in PRESETS.items())

KNOWN, SHOWN, LONG, MANY = "What you know", "What to write besides", "Long work", "Many pictures"


def _preset(name: str) -> str:
    """A preset by its name; a name that one had before is refused with the one that it has."""
    if name == "scratch":
        raise typer.BadParameter("scratch is called dip now, the deep image prior with (u, v): say --preset dip.")
    if name not in PRESETS:
        raise typer.BadParameter(f"{name} is none of the presets {', '.join(PRESETS)}.")
    return name


Pictures = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="IN...",
        help="Corrupted pictures (PNG, JPEG, TIFF, WebP, BMP, HEIC, AVIF), folders, patterns; - is standard input.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Where the clean picture goes, the suffix is the format; a folder for several; -: standard output.",
        show_default="IN.restored.png, of one",
    ),
]
Truth = Annotated[
    Path | None,
    typer.Option(help="The clean picture, where there is one; only adds PSNR and SSIM.", show_default=NONE),
]
Preset = Annotated[
    str,
    typer.Option(
        parser=_preset,
        metavar=f"<{'|'.join(PRESETS)}>",
        help="quick and best for specks and noise; dip: deep image prior from noise; paper: as published, days.",
    ),
]
Steps = Annotated[int | None, typer.Option(min=1, help="Optimizer steps.", show_default=STEPS)]
TimeLimit = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="End sooner.", callback=positive, show_default=NONE)
]
Dtype = Annotated[
    compute.Dtype | None,
    typer.Option(help="What the network computes in; auto: bfloat16 where the processor has it.", show_default=DTYPE),
]
RandomStart = Annotated[
    bool,
    typer.Option(
        "--random-start",
        help=f"quick, best: start from random weights, not shipped; quick then takes {RANDOM_START_STEPS} steps.",
        show_default=OFF,
    ),
]
NetworkOutput = Annotated[
    bool,
    typer.Option("--network-output", help="Write f everywhere, not only where corrupted.", show_default=OFF),
]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as a JSON object.", show_default=OFF)]
Mask = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="White where corrupted: that is filled, nothing else touched. More than half white counts, and opaque.",
        show_default=NONE,
        rich_help_panel=KNOWN,
    ),
]
Protect = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="White where nothing is to be touched: of a date stamp, all but a box around it.",
        show_default=NONE,
        rich_help_panel=KNOWN,
    ),
]
Polarity = Annotated[
    config.Polarity,
    typer.Option(help="Look for what is too bright (salt) or too dark (pepper) alone.", rich_help_panel=KNOWN),
]
Strength = Annotated[
    float,
    typer.Option(
        help="Factor on the odds of corruption: 10 finds more, 0.1 less.", callback=positive, rich_help_panel=KNOWN
    ),
]
SharedCorruption = Annotated[
    bool,
    typer.Option(
        "--shared-corruption",
        help="Corruption hits whole pixels, not channels.",
        show_default=OFF,
        rich_help_panel=KNOWN,
    ),
]
Scratches = Annotated[
    bool,
    typer.Option(
        "--scratches",
        help="Scratches, hairs or lettering that are missed; not for print or drawings.",
        show_default=OFF,
        rich_help_panel=KNOWN,
    ),
]
CorruptionMap = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.png",
        help="Where corruption was found, in white; edit it for --mask.",
        show_default=NONE,
        rich_help_panel=SHOWN,
    ),
]
Preview = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.png",
        help="The picture so far, at once and every few seconds.",
        show_default=NONE,
        rich_help_panel=SHOWN,
    ),
]
Trace = Annotated[
    Path | None,
    typer.Option(metavar="FILE.json", help="Record the course of the fit.", show_default=NONE, rich_help_panel=SHOWN),
]
Plot = Annotated[
    Path | None,
    typer.Option(metavar="FILE.png", help="Draw the course of the fit.", show_default=NONE, rich_help_panel=SHOWN),
]
Record = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.json",
        help="All that it takes to do the same again.",
        show_default=NONE,
        rich_help_panel=SHOWN,
    ),
]
FromRecord = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.json",
        help="Do what was recorded again; no other options but --out, --json, --quiet.",
        show_default=NONE,
        rich_help_panel=LONG,
    ),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Save the state every few seconds, to a new file; removed at the end.",
        show_default=NONE,
        rich_help_panel=LONG,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on from --checkpoint, where there is one.", show_default=OFF, rich_help_panel=LONG
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        metavar="AMOUNT",
        help="Take no more than 4G, 1.5G, for all pictures side by side (--dask: for each): large ones in pieces.",
        show_default="most of what is free",
        rich_help_panel=LONG,
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Refuse what has to be converted first (CMYK) or in part left out, rather than say so.",
        show_default=OFF,
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Do pictures again whose results are there already.",
        show_default=OFF,
        rich_help_panel=MANY,
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(min=1, help="How many at a time, at most.", show_default="by cores and GPUs", rich_help_panel=MANY),
]
Series = Annotated[
    bool,
    typer.Option(
        "--series",
        help="One camera: find what is dead or hot in all pictures, fill that in each, look for nothing else. "
        "The map goes to --corruption-map, or dead-pixels.png in --out; one that is there is used, and is a --mask "
        "for other pictures.",
        show_default=OFF,
        rich_help_panel=MANY,
    ),
]
Dask = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Share out over the workers of a Dask scheduler that see the same files.",
        show_default=NONE,
        rich_help_panel=MANY,
    ),
]
