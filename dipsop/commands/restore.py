"""`dipsop restore`: corrupted pictures in, clean ones out. Its options; jobs/ does the work."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from dipsop.commands import restore_options as opt
from dipsop.commands.options import Device, Quiet, Seed, given, refuse
from dipsop.errors import DipsopError
from dipsop.files import shown
from dipsop.restoration.config import PRESETS, RANDOM_START_STEPS, HeldOut

if TYPE_CHECKING:
    from dipsop.jobs.job import RestoreJob

DEFAULT = "quick"
# Parameters that others would ignore.
OF_HELD_OUT = ("random_start", "mask", "protect", "polarity", "strength", "scratches", "series")
OF_SEARCH = ("polarity", "strength", "scratches")
OF_ONE = ("truth", "protect", "corruption_map", "preview", "trace", "plot", "record", "checkpoint", "resume")
OF_MANY = ("series", "jobs", "dask")
OF_NO_SERIES = ("mask", "random_start", "scratches")


def restore(
    context: typer.Context,
    pictures: opt.Pictures = None,
    out: opt.Out = None,
    truth: opt.Truth = None,
    preset: opt.Preset = DEFAULT,
    steps: opt.Steps = None,
    time_limit: opt.TimeLimit = PRESETS[DEFAULT].time_limit,
    seed: Seed = PRESETS[DEFAULT].seed,
    device: Device = "auto",
    dtype: opt.Dtype = None,
    random_start: opt.RandomStart = False,
    network_output: opt.NetworkOutput = False,
    json: opt.Json = False,
    quiet: Quiet = False,
    mask: opt.Mask = None,
    protect: opt.Protect = None,
    polarity: opt.Polarity = "both",
    strength: opt.Strength = 1.0,
    shared_corruption: opt.SharedCorruption = False,
    scratches: opt.Scratches = False,
    corruption_map: opt.CorruptionMap = None,
    preview: opt.Preview = None,
    trace: opt.Trace = None,
    plot: opt.Plot = None,
    record: opt.Record = None,
    from_record: opt.FromRecord = None,
    checkpoint: opt.Checkpoint = None,
    resume: opt.Resume = False,
    memory: opt.Memory = None,
    strict: opt.Strict = False,
    overwrite: opt.Overwrite = False,
    jobs: opt.Jobs = None,
    series: opt.Series = False,
    dask: opt.Dask = None,
) -> None:
    """Take sparse corruption out of pictures: no mask, no noise level, no iteration to stop at.

    Values that are likely to be clean stay as they are, bit for bit. Ctrl-C writes the result so far, a second one
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
    if "" in pictures:  # of a variable that is not set; as a path it would be the folder that one is in
        raise typer.BadParameter("an empty name is no picture.", param_hint="IN...")
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
        if random_start:
            refuse(context, ("scratches",), "does not go with --random-start: a shipped network finds them.")
            if steps is None:
                config = replace(config, steps=max(config.steps, RANDOM_START_STEPS))
        config = replace(config, pretrained=not random_start, polarity=polarity, strength=strength, scratches=scratches)
    else:
        refuse(context, OF_HELD_OUT, "goes with the presets quick and best.")
    if mask is not None:
        refuse(context, OF_SEARCH, "would be ignored: with --mask nothing is looked for.")
    if series:
        refuse(context, OF_NO_SERIES, "does not go with --series, which finds the mask by the shipped weights.")
    if time_limit is not None:
        refuse(context, ("record",), "would not do the same again: what fits into --time-limit varies. Say --steps.")
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
        goes_on = resume and checkpoint is not None and os.path.exists(checkpoint)  # the result so far may be there
        out = _beside(pictures[0], many, overwrite or goes_on)
    source = Path(pictures[0])
    if pictures[0] != "-" and source == Path("-"):  # ./-, a file
        source = source.absolute()
    job = RestoreJob(
        source=source,
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
    if os.path.exists(out) and not overwrite:
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
