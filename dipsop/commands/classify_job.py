"""One training run, from its options to the list of suspect labels. Imported once the command has begun."""

import math
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import typer

from dipsop import __version__
from dipsop.classification import report, run_folder
from dipsop.classification.config import RECIPES, TrainConfig, by_data
from dipsop.classification.dataset import Dataset
from dipsop.classification.trainer import Epoch, Trainer
from dipsop.commands.classify_data import load, noisy
from dipsop.commands.classify_display import Lines, in_words
from dipsop.commands.options import DeviceName
from dipsop.commands.processes import Process, in_turn, process
from dipsop.commands.stopping import Stopping
from dipsop.errors import DataError
from dipsop.files import as_json, exists, reason, save_json, shown

SECONDS_BETWEEN_CURVES = 10


@dataclass(frozen=True, kw_only=True)
class Job:
    """What was asked for: the options of `dipsop classify`."""

    data: str
    out: Path
    recipe: str
    settings: dict[str, Any]  # of TrainConfig, those that were given
    seed: int
    noise: str
    human_labels: Path | None
    fetch: bool
    images: int | None
    size: int
    test_fraction: float
    device: DeviceName
    resume: bool
    json: bool
    quiet: bool


def run(job: Job) -> int:
    """Do the job; returns the exit status."""
    with Stopping() as stopping, process(job.device) as me:
        summary = course(job, me, stopping)
    if me.rank == 0:
        if job.json:
            typer.echo(as_json(summary))
        elif not job.quiet:
            typer.echo(in_words(summary))
    return stopping.exit_status


def course(job: Job, me: Process, stopping: Stopping) -> dict[str, Any]:
    """Go from the data to the summary."""
    begun = is_begun(job.out)
    if begun and not job.resume:
        raise DataError(f"{shown(job.out)} holds a run already: go on with it by --resume, or choose another --out.")
    with in_turn(me) if job.fetch else nullcontext():
        data = load(
            job.data,
            fetch=job.fetch,
            size=job.size,
            test_fraction=job.test_fraction,
            seed=job.seed,
            quiet=job.quiet,
        )
    data = noisy(data, job.noise, job.seed, job.human_labels, job.images)
    config = settled(job, data, me.world)
    about = {
        "dipsop": __version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": str(me.device),
        "data": job.data,
        "images": job.images,
        "test_fraction": job.test_fraction,
        "noise": job.noise,
        "human_labels": job.human_labels and str(job.human_labels),
        "size": data.images.shape[-1],
        "classes": list(data.classes),
        "recipe": job.recipe,
        "train": asdict(config),
    }
    trainer = Trainer(data, config, me.device, me.rank, me.world)
    epochs: list[Epoch] = []
    if me.world > 1:
        dist.barrier()  # all have looked into the folder before one writes there
    if begun:
        epochs = resumed(job.out, trainer, about, data)
    elif me.rank == 0:
        run_folder.begin(job.out, about, data)
    try:
        train(job, trainer, epochs, me, stopping)
        return finish(job, trainer, data, epochs, me, stopping)
    except SystemExit:
        if me.rank == 0 and not job.quiet:
            done = f"stopped after {len(epochs)} of {config.epochs} epochs"
            print(f"{done}: go on with --resume", file=sys.stderr)
        raise


def is_begun(out: Path) -> bool:
    """Whether there is a run in that folder."""
    try:
        return exists(out / run_folder.CONFIG)
    except OSError as error:
        raise DataError(f"{shown(out)} cannot be looked into ({reason(error)}): choose another --out.") from None


def train(job: Job, trainer: Trainer, epochs: list[Epoch], me: Process, stopping: Stopping) -> None:
    """Go through the epochs left, appending each to those done and writing it to the folder.

    A signal ends an epoch at once, and waits where an epoch is written: libraries that draw abort when interrupted.
    """
    show, drawn = Lines(trainer.config.epochs, job.quiet or me.rank > 0), -math.inf
    for epoch in trainer.epochs():
        with stopping.put_off():
            epochs.append(epoch)
            state = trainer.state()
            if me.rank == 0:
                run_folder.save_checkpoint(job.out, state, epochs)
                if time.monotonic() > drawn + SECONDS_BETWEEN_CURVES:
                    run_folder.write_curves(job.out, epochs)
                    drawn = time.monotonic()
            show.epoch(epoch)


def settled(job: Job, data: Dataset, world: int) -> TrainConfig:
    """The settings that were given, and for the others what suits the data; refuse what cannot be trained on."""
    shares, batch = job.settings.get("shares", world), job.settings.get("batch")
    if shares % world:
        raise DataError(f"{world} processes cannot share {shares} parts: choose --shares a multiple of the processes.")
    if batch and (batch % shares or batch < 2 * shares):
        raise DataError(
            f"A batch of {batch} cannot be dealt to {shares} shares: choose --batch a multiple of them, 2 or more each."
        )
    if len(data.given) < 2 * shares:
        raise DataError(f"There are {len(data.given)} training images, too few: give more.")
    by_itself = replace(RECIPES[job.recipe], **by_data(job.recipe, len(data.classes), job.noise, len(data.given)))
    # Two images a share at least: of one alone, batch normalization leaves nothing.
    batch = batch or max(2, math.ceil(by_itself.batch / shares)) * shares
    settings = by_data(job.recipe, len(data.classes), job.noise, len(data.given), batch)
    return replace(by_itself, **settings | job.settings | {"shares": shares, "batch": batch})


def resumed(out: Path, trainer: Trainer, about: dict[str, Any], data: Dataset) -> list[Epoch]:
    """Go on from the last epoch of a run, which must be one of the same settings, images and labels."""
    before = run_folder.load_config(out)
    for key in ("noise", "size", "classes", "train"):
        if before.get(key) != about[key]:
            raise DataError(
                f"{shown(out)} is a run of other settings ({key}): give those in its {run_folder.CONFIG}, or choose "
                "another --out."
            )
    if not run_folder.is_of(out, data):
        raise DataError(
            f"{shown(out)} is a run of other images or labels: restore them and its command, or choose another --out."
        )
    if not (out / run_folder.CHECKPOINT).exists():
        return []  # stopped before the end of its first epoch
    state, epochs = run_folder.load_checkpoint(out)
    try:
        trainer.load(state)
    except (KeyError, TypeError, ValueError, RuntimeError):
        raise DataError(
            f"{shown(out)} is a run of another version, which this one cannot go on with: choose another --out."
        ) from None
    return epochs


def finish(
    job: Job, trainer: Trainer, data: Dataset, epochs: list[Epoch], me: Process, stopping: Stopping
) -> dict[str, Any]:
    """Write the list and the summary; the headline is the last epoch."""
    s = trainer.explained()
    probabilities = trainer.network.probabilities(torch.from_numpy(data.images)).cpu().numpy()
    last, best = epochs[-1], max(epochs, key=lambda epoch: epoch.test_accuracy)
    tested = not math.isnan(last.test_accuracy)
    summary: dict[str, Any] = {
        "out": str(job.out),
        "method": trainer.config.method,
        "noise": data.noise,
        "epochs": last.number,
        "test_accuracy": last.test_accuracy,
        "best_test_accuracy": best.test_accuracy,
        "best_epoch": best.number if tested else None,
        "seconds": sum(epoch.seconds for epoch in epochs),
        "device": str(me.device),
    }
    if data.true is not None:
        wrong, scores = data.true != data.given, report.doubt(s, probabilities, data.given)
        summary |= {
            "wrong_labels": float(wrong.mean()),
            "auroc": report.auroc(scores, wrong),
            "average_precision": report.average_precision(scores, wrong),
        }
    stopping.kept = True  # from here on a signal comes too late to stop anything
    if me.rank == 0:
        listed = report.suspects(s, probabilities, data.given, data.classes, data.names)
        run_folder.write_metrics(job.out, epochs)
        run_folder.write_curves(job.out, epochs)
        run_folder.write_suspects(job.out, listed)
        save_json(job.out / run_folder.SUMMARY, summary)
    return summary
