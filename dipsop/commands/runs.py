"""What a run of `dipsop classify` is good for: `dipsop predict`, `dipsop relabel`, `dipsop export`."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dipsop.classification.config import ExportFormat
from dipsop.commands.options import NONE, OFF, Device, Quiet
from dipsop.files import check_apart, check_suffix, csv_bytes, printable, shown, write_atomically

if TYPE_CHECKING:
    from dipsop.jobs.predict import Prediction

Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder that dipsop classify wrote.")]


def predict(
    run: Run,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Images to classify, or folders of them.")],
    top: Annotated[int, typer.Option(min=1, help="How many classes of each image, the likeliest first.")] = 1,
    table: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Write image,rank,label,probability there.", show_default=NONE),
    ] = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object per line.", show_default=OFF)] = False,
) -> None:
    """Name the class of each image, and the probability that the model gives it, a line per image.

    An image that cannot be read is said, and the others are classified. Ctrl-C writes what the CSV has so far.
    """
    if table is not None:
        if as_json:
            raise typer.BadParameter("It goes without --csv, which prints nothing.", param_hint="--json")
        check_suffix(table, (".csv",))
    from dipsop.classification import run_folder
    from dipsop.commands.stopping import Stopping
    from dipsop.jobs import predict
    from dipsop.jobs.events import Noted

    check_apart([run / name for name in run_folder.FILES], [table])
    found, failed = [], False
    with Stopping() as stopping:
        job = predict.PredictJob(run=run, images=tuple(images), top=top, device=device)
        for one in predict.run(job, stopping.came):
            if isinstance(one, Noted):
                print(f"note: {one.sentence}", file=sys.stderr)
            elif isinstance(one, predict.Unread):
                failed = True
                print(f"dipsop: {one.why}", file=sys.stderr)
            elif table is not None:
                found.append(one)
                stopping.kept = True
            else:
                typer.echo(_as_json(one, top) if as_json else _in_words(one))
    if table is not None:
        write_atomically(table, _as_csv(found))
        if stopping.came():
            print(f"note: stopped, {shown(table)} has the images so far", file=sys.stderr)
    raise typer.Exit(stopping.exit_status or int(failed))


def _in_words(prediction: "Prediction") -> str:
    """Path, class, probability, and further classes."""
    return "  ".join(
        [shown(prediction.image), *(f"{printable(label)}  {value:.3f}" for label, value in prediction.ranked)]
    )


def _as_json(prediction: "Prediction", top: int) -> str:
    """The same as a JSON object; several classes under `top`."""
    ranked = [{"label": label, "probability": round(value, 6)} for label, value in prediction.ranked]
    return json.dumps({"image": str(prediction.image)} | ranked[0] | ({"top": ranked} if top > 1 else {}))


def _as_csv(predictions: Sequence["Prediction"]) -> bytes:
    lines = (
        (one.image, k, label, f"{value:.6g}") for one in predictions for k, (label, value) in enumerate(one.ranked, 1)
    )
    return csv_bytes([("image", "rank", "label", "probability"), *lines])


def relabel(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="A folder with a folder of images per class, or a CSV of path,label.")
    ],
    corrections: Annotated[
        list[Path],
        typer.Argument(metavar="CORRECTIONS...", help="What labels.html saved; several are applied one after another."),
    ],
    out: Annotated[Path, typer.Option(metavar="NEW", help="The corrected folder, or the corrected CSV.")],
    link: Annotated[
        bool,
        typer.Option(
            "--link",
            help="Link the files of a folder rather than copy them; what is edited in place then changes in both.",
            show_default=OFF,
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Write labelled images once more, with corrections applied. What is in DATA stays as it is.

    An image whose new folder has another of its name becomes NAME_from_CLASS. Files that are no images are left out.
    """
    if link and os.path.isfile(data):  # Path's raises where the system does not let one look
        raise typer.BadParameter("It goes with a folder: a CSV names its images where they are.", param_hint="--link")
    from dipsop.commands.display import follow
    from dipsop.commands.stopping import Stopping
    from dipsop.jobs.relabel import RelabelJob, run

    with Stopping() as stopping:
        job = RelabelJob(data=data, corrections=tuple(corrections), out=out, link=link)
        report = follow(run(job, stopping.came), stopping, quiet)
    if report is None:
        raise typer.Exit(stopping.exit_status)
    if not quiet:
        typer.echo(f"wrote {shown(out)}: {report['images']} images, {report['changed']} with another label")


def export(
    run: Run,
    to: Annotated[
        ExportFormat, typer.Option(help="The list for cleanlab, label-studio, fiftyone; the model for the others.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="For cleanlab a .csv or .parquet, for label-studio a .json, for fiftyone a folder, else by its name.",
        ),
    ],
    quiet: Quiet = False,
) -> None:
    """Turn the list or the model of a run into what other tools read.

    For label-studio the labelling interface is printed, and how it comes to show the images; for fiftyone the call that
    loads the folder.
    """
    from dipsop.jobs.events import Done, Written
    from dipsop.jobs.export import ExportJob
    from dipsop.jobs.export import run as run_job

    for event in run_job(ExportJob(run=run, to=to, out=out)):
        if quiet:
            continue
        match event:
            case Written(path):
                typer.echo(f"wrote {shown(path)}")
            case Done({"labelling_interface": interface, "serving": serving}):
                typer.echo(f"labelling interface: {interface}")
                typer.echo(f"to see the images: {serving}")
            case Done({"loading": call}):
                typer.echo(f"to load it: {call}")
