"""`dipsop restore`: corrupted pictures in, clean ones out. Its options; jobs/ does the work."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dipsop.commands.options import NONE, OFF, Device, Quiet, Seed, given, positive, refuse
from dipsop.compute import Dtype
from dipsop.errors import DipsopError
from dipsop.files import exists, shown
from dipsop.restoration.config import PRESETS, HeldOut, Polarity

if TYPE_CHECKING:
    from dipsop.jobs.job import RestoreJob

DEFAULT = "quick"
STEPS = "by preset: " + ", ".join(f"{name} {config.steps}" for name, config in PRESETS.items())
DTYPE = "by preset: " + ", ".join(f"{name} {config.dtype}" for name, config in PRESETS.items())

KNOWN, SHOWN, LONG, MANY = "What you know", "What to write besides", "Long work", "Many pictures"
# Parameters that others would ignore.
OF_HELD_OUT = ("random_start", "mask", "protect", "polarity", "strength", "scratches", "series")
OF_SEARCH = ("polarity", "strength")
OF_ONE = ("truth", "protect", "corruption_map", "preview", "trace", "plot", "record", "checkpoint", "resume")
OF_MANY = ("series", "jobs", "dask")
OF_NO_SERIES = ("mask", "random_start")


def _preset(name: str) -> str:
    """A preset by its name; a name that one had before is refused with the one that it has."""
    if name == "scratch":
        raise typer.BadParameter("scratch is called dip now, the deep image prior with (u, v): say --preset dip.")
    if name not in PRESETS:
        raise typer.BadParameter(f"{name} is none of the presets {', '.join(PRESETS)}.")
    return name


def restore(
    context: typer.Context,
    pictures: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IN...",
            help="Corrupted pictures (PNG, JPEG, TIFF, WebP, BMP, HEIC, AVIF), folders, patterns; - is standard input.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where the clean picture goes, the suffix is the format; a folder for several; -: standard output.",
            show_default="IN.restored.png, of one",
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(help="The clean picture, where there is one; only adds PSNR and SSIM.", show_default=NONE),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            parser=_preset,
            metavar=f"<{'|'.join(PRESETS)}>",
            help="quick and best for specks and noise; dip: deep image prior from noise; paper: as published, days.",
        ),
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
    random_start: Annotated[
        bool,
        typer.Option("--random-start", help="quick, best: start from random weights, not shipped.", show_default=OFF),
    ] = False,
    network_output: Annotated[
        bool,
        typer.Option("--network-output", help="Write f everywhere, not only where corrupted.", show_default=OFF),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as a JSON object.", show_default=OFF)] = False,
    quiet: Quiet = False,
    mask: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="White where corrupted: that is filled, nothing else touched.",
            show_default=NONE,
            rich_help_panel=KNOWN,
        ),
    ] = None,
    protect: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="White where nothing is to be touched.", show_default=NONE, rich_help_panel=KNOWN
        ),
    ] = None,
    polarity: Annotated[
        Polarity,
        typer.Option(help="Look for what is too bright (salt) or too dark (pepper) alone.", rich_help_panel=KNOWN),
    ] = "both",
    strength: Annotated[
        float,
        typer.Option(
            help="Factor on the odds of corruption: 10 finds more, 0.1 less.", callback=positive, rich_help_panel=KNOWN
        ),
    ] = 1.0,
    shared_corruption: Annotated[
        bool,
        typer.Option(
            "--shared-corruption",
            help="Corruption hits whole pixels, not channels.",
            show_default=OFF,
            rich_help_panel=KNOWN,
        ),
    ] = False,
    scratches: Annotated[
        bool,
        typer.Option(
            "--scratches",
            help="Scratches, hairs or lettering over a photograph; not for print or drawings.",
            show_default=OFF,
            rich_help_panel=KNOWN,
        ),
    ] = False,
    corruption_map: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png",
            help="Where corruption was found, in white; edit it for --mask.",
            show_default=NONE,
            rich_help_panel=SHOWN,
        ),
    ] = None,
    preview: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png",
            help="The picture so far, at once and every few seconds.",
            show_default=NONE,
            rich_help_panel=SHOWN,
        ),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json", help="Record the course of the fit.", show_default=NONE, rich_help_panel=SHOWN
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw the course of the fit.", show_default=NONE, rich_help_panel=SHOWN),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="All that it takes to do the same again.",
            show_default=NONE,
            rich_help_panel=SHOWN,
        ),
    ] = None,
    from_record: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="Do what was recorded again; no other options but --out.",
            show_default=NONE,
            rich_help_panel=LONG,
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Save the state every few seconds; removed at the end.",
            show_default=NONE,
            rich_help_panel=LONG,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on from --checkpoint, where there is one.", show_default=OFF, rich_help_panel=LONG
        ),
    ] = False,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="AMOUNT",
            help="Take no more than 4G, 800M: large pictures in pieces.",
            show_default="most of what is free",
            rich_help_panel=LONG,
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Refuse what has to be converted first (CMYK) or in part left out, rather than say so.",
            show_default=OFF,
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Do pictures again whose results are there already.",
            show_default=OFF,
            rich_help_panel=MANY,
        ),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="How many at a time.", show_default="by cores and GPUs", rich_help_panel=MANY),
    ] = None,
    series: Annotated[
        bool,
        typer.Option(
            "--series",
            help="One camera: find what is dead or hot in all pictures, fill that in each, look for nothing else. "
            "The map goes to --corruption-map, or dead-pixels.png in --out; one that is there is used, and is a --mask "
            "for other pictures.",
            show_default=OFF,
            rich_help_panel=MANY,
        ),
    ] = False,
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Share out over the workers of a Dask scheduler that see the same files.",
            show_default=NONE,
            rich_help_panel=MANY,
        ),
    ] = None,
) -> None:
    """Take sparse corruption out of pictures: no mask, no noise level, no iteration to stop at.

    Values in which no corruption is found stay as they are, bit for bit. Ctrl-C writes the result so far, a second one
    leaves at once. Of several pictures, those whose results are there are skipped; a run that was killed goes on.
    A TIFF of several pages is restored page by page. With - a picture comes from standard input or goes to standard
    output.
    """
    if from_record is not None:
        others = given(context).keys() - {"from_record", "out", "json", "quiet"}
        refuse(context, others, "would be ignored: --from-record takes --out, --json and --quiet alone.")
        raise typer.Exit(_repeat(from_record, out, json, quiet))
    if not pictures:
        raise typer.BadParameter("name at least one picture.", param_hint="IN...")
    if resume and checkpoint is None:
        raise typer.BadParameter("say --checkpoint FILE too.", param_hint="--resume")
    config = replace(
        PRESETS[preset],
        steps=PRESETS[preset].steps if steps is None else steps,
        time_limit=time_limit,
        seed=seed,
        dtype=PRESETS[preset].dtype if dtype is None else dtype,
        shared_corruption=shared_corruption,
    )
    if isinstance(config, HeldOut):
        config = replace(config, pretrained=not random_start, polarity=polarity, strength=strength, scratches=scratches)
    else:
        refuse(context, OF_HELD_OUT, "goes with the presets quick and best.")
    if mask is not None:
        refuse(context, OF_SEARCH, "would be ignored: with --mask nothing is looked for.")
    if series:
        refuse(context, OF_NO_SERIES, "does not go with --series, which finds the mask by the shipped weights.")
    if dask is not None:
        refuse(context, ("jobs",), "would be ignored: with --dask its workers decide.")
    from dipsop.commands.display import follow_many
    from dipsop.commands.stopping import Stopping
    from dipsop.jobs import folder, targets
    from dipsop.jobs import series as camera
    from dipsop.jobs.job import RestoreJob

    many = targets.is_batch(pictures, out)
    if "-" in (*pictures, str(out)):
        _check_pipes(context, out, many)
    if out is None:
        out = _beside(pictures[0], many, overwrite)
    job = RestoreJob(
        source=Path(pictures[0]),
        out=out,
        truth=truth,
        preset=preset,
        config=config,
        device=device,
        network_output=network_output,
        mask=mask,
        protect=protect,
        corruption_map=corruption_map,
        preview=preview,
        checkpoint=checkpoint,
        resume=resume,
        record=record,
        trace=trace,
        plot=plot,
        memory=_bytes(memory),
        strict=strict,
    )
    if not many:
        refuse(context, OF_MANY, "goes with several pictures and a folder as --out.")
        raise typer.Exit(_restore(job, json, quiet))
    of_one = [name for name in OF_ONE if name != "corruption_map" or not series]
    refuse(context, of_one, "goes with one picture and a file as --out.")
    album = folder.FolderJob(pictures=pictures, each=job, overwrite=overwrite, at_once=jobs, dask=dask)
    with Stopping() as stopping:
        events = camera.run(album, stopping.came) if series else folder.run(album, stopping.came)
        failed = follow_many(events, stopping, json, quiet)
    raise typer.Exit(stopping.exit_status or int(failed > 0))


def _beside(picture: str, many: bool, overwrite: bool) -> Path:
    """Where the result of a picture goes that no place was named for."""
    from dipsop.jobs.targets import beside

    if many:
        raise typer.BadParameter("name a folder for the results of several pictures.", param_hint="--out")
    out = beside(Path(picture))
    if exists(out) and not overwrite:
        raise DipsopError(f"{shown(out)} is there already: say --overwrite, or choose another name as --out.")
    return out


def _check_pipes(context: typer.Context, out: Path | None, many: bool) -> None:
    """Refuse what standard input and output cannot be: several pictures, or files to come back to."""
    if many or out is None:
        raise typer.BadParameter("- is one picture: give it alone, with a file or - as --out.", param_hint="-")
    refuse(context, ("record",), "would name files that are gone: with - there is nothing to do again.")


def _restore(job: "RestoreJob", json: bool, quiet: bool, expected: Mapping[str, str | None] | None = None) -> int:
    """Restore one picture, show how it goes, and print its summary; returns the exit status."""
    from dipsop.commands.display import follow, in_words
    from dipsop.commands.stopping import Stopping
    from dipsop.files import as_json
    from dipsop.jobs.pipes import PIPE, run

    with Stopping() as stopping:
        report = follow(run(job, stopping.came, expected), stopping, quiet)
    if report is not None and (json or not quiet):
        typer.echo(as_json(report) if json else in_words(report), err=job.out == PIPE)
    return stopping.exit_status


def _repeat(from_record: Path, out: Path | None, json: bool, quiet: bool) -> int:
    """Do again what a record says, and write nothing but the picture: the record itself stays what it was."""
    from dipsop.jobs.record import recorded

    job, digests = recorded(from_record)
    job = replace(job, out=out or job.out, truth=None, resume=False, checkpoint=None)
    job = replace(job, record=None, trace=None, plot=None, corruption_map=None, preview=None)
    return _restore(job, json, quiet, digests)


def _bytes(amount: str | None) -> int | None:
    from dipsop.jobs.memory import parsed

    try:
        return parsed(amount)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--memory") from None
