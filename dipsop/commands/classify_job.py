"""One training run: data, noise, epochs, the list of suspect labels. Imported once the command has begun."""

import gc
import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import typer

from dipsop import __version__
from dipsop.classification import cifar, download, folder, label_noise, report, run_folder
from dipsop.classification.config import RECIPES, TrainConfig, by_data
from dipsop.classification.dataset import Dataset
from dipsop.classification.trainer import Epoch, Trainer
from dipsop.commands.device import pick_device
from dipsop.commands.display import clock
from dipsop.commands.options import DeviceName
from dipsop.commands.stopping import Stopping
from dipsop.errors import DataError
from dipsop.files import as_json, save_json, shown

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


@dataclass(frozen=True)
class Process:
    """This process among those that torchrun started."""

    rank: int
    world: int
    device: torch.device


def run(job: Job) -> int:
    """Do the job; returns the exit status."""
    with process(job.device) as me:
        begun = (job.out / run_folder.CONFIG).exists()
        if begun and not job.resume:
            raise DataError(
                f"{shown(job.out)} holds a run already: go on with it by --resume, or choose another --out."
            )
        with in_turn(me) if job.fetch else nullcontext():
            data = load(job)
        data = noisy(job, data)
        config = settled(job, data, me.world)
        about = {"dipsop": __version__, "data": job.data, "noise": job.noise, "size": data.images.shape[-1],
                 "classes": list(data.classes), "train": asdict(config)}  # fmt: skip
        trainer = Trainer(data, config, me.device, me.rank, me.world)
        epochs: list[Epoch] = []
        if me.world > 1:
            dist.barrier()  # all have looked into the folder before one writes there
        if begun:
            epochs = resumed(job.out, trainer, about, data)
        elif me.rank == 0:
            run_folder.begin(job.out, about, data)
        train(job, trainer, epochs, me)
        summary = finish(job, trainer, data, epochs, me)
        if me.world > 1:
            # The threads of the data-parallel wrapper must end before the interpreter does.
            dist.barrier()
            del trainer
            gc.collect()
    if me.rank == 0:
        if job.json:
            typer.echo(as_json(summary))
        elif not job.quiet:
            typer.echo(in_words(summary))
    return 0


def train(job: Job, trainer: Trainer, epochs: list[Epoch], me: Process) -> None:
    """Go through the epochs left, appending each to those done and writing it to the folder.

    A signal ends an epoch at once, and waits where an epoch is written: libraries that draw abort when interrupted.
    """
    show, drawn = Lines(trainer.config.epochs, job.quiet or me.rank > 0), -math.inf
    with Stopping() as stopping:
        try:
            for epoch in trainer.epochs():
                stopping.kept = True
                epochs.append(epoch)
                state = trainer.state()
                if me.rank == 0:
                    run_folder.save_checkpoint(job.out, state, epochs)
                    if time.monotonic() > drawn + SECONDS_BETWEEN_CURVES:
                        run_folder.write_curves(job.out, epochs)
                        drawn = time.monotonic()
                show.epoch(epoch)
                if stopping.signal is not None:
                    raise SystemExit(stopping.exit_status)
                stopping.kept = False
        except SystemExit:
            if me.rank == 0 and not job.quiet:
                print(
                    f"stopped after {len(epochs)} of {trainer.config.epochs} epochs: go on with --resume",
                    file=sys.stderr,
                )
            raise


@contextmanager
def process(device: DeviceName) -> Iterator[Process]:
    """Join the processes that torchrun started, if it did: gloo on processors, nccl on GPUs."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Process(0, 1, pick_device(device))
        return
    picked = pick_device(device)
    if picked.type == "cuda":
        picked = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(picked)
    dist.init_process_group("nccl" if picked.type == "cuda" else "gloo")
    try:
        yield Process(dist.get_rank(), world, picked)
    finally:
        dist.destroy_process_group()


@contextmanager
def in_turn(me: Process) -> Iterator[None]:
    """Let the first process go through alone, then the others."""
    if me.world > 1 and me.rank > 0:
        dist.barrier()
    yield
    if me.world > 1 and me.rank == 0:
        dist.barrier()


def load(job: Job) -> Dataset:
    """Read the data, whichever form it has."""
    layouts = {"cifar10": cifar.CIFAR10, "cifar100": cifar.CIFAR100}
    path = Path(job.data)
    if job.data in layouts and not path.exists():
        layout = layouts[job.data]
        there = cifar.find(download.cache_folder(), layout)
        if there is None and job.fetch:
            there = download.fetched(download.ARCHIVES[job.data], download.cache_folder(), Bytes(job.quiet))
        if there is None:
            raise DataError(
                f"{layout.name} is not in {shown(download.cache_folder())}: fetch it with --fetch, or name the folder "
                "that holds it with --data."
            )
        data = cifar.load(there, layout)
    elif path.is_dir():
        found = [(cifar.find(path, layout), layout) for layout in layouts.values()]
        there, layout = next(((f, layout) for f, layout in found if f is not None), (None, cifar.CIFAR10))
        if there is not None:
            data = cifar.load(there, layout)
        else:
            data = folder.load(folder.list_folder(path), job.size, job.test_fraction, job.seed)
    elif path.is_file():
        data = folder.load(folder.list_csv(path), job.size, job.test_fraction, job.seed)
    else:
        raise DataError(f"{shown(path)} does not exist: name a folder, a CSV of path,label, cifar10 or cifar100.")
    return data


def noisy(job: Job, data: Dataset) -> Dataset:
    """Make labels wrong as asked for, and take the first images only, where asked to."""
    try:
        data = label_noise.apply(data, job.noise, job.seed, job.human_labels)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--noise") from None
    if job.images is None or data.paths is None:
        return data.first(job.images)
    some = data.spread(job.images)
    if np.bincount(some.given, minlength=len(data.classes)).min() < 2:
        raise DataError(f"--images {job.images} leaves less than two images of a class: take more.")
    return some


def settled(job: Job, data: Dataset, world: int) -> TrainConfig:
    """The settings that were given, and for the others what suits the data; refuse what cannot be trained on."""
    settings = by_data(job.recipe, len(data.classes), job.noise, len(data.given)) | job.settings
    shares = settings["shares"] = settings.get("shares", world)
    batch = settings.get("batch", RECIPES[job.recipe].batch)
    if shares % world:
        raise DataError(f"{world} processes cannot share {shares} parts: choose --shares a multiple of the processes.")
    if batch % shares and "batch" in job.settings:
        raise DataError(f"A batch of {batch} cannot be dealt to {shares} shares: choose --batch a multiple of them.")
    if len(data.given) < 2 * shares:
        raise DataError(f"There are {len(data.given)} training images, too few: give more.")
    return replace(RECIPES[job.recipe], **settings | {"batch": math.ceil(batch / shares) * shares})


def resumed(out: Path, trainer: Trainer, about: dict[str, Any], data: Dataset) -> list[Epoch]:
    """Go on from the last epoch of a run, which must be one of the same settings."""
    before = run_folder.load_config(out)
    for key in ("data", "noise", "size", "classes", "train"):
        if before.get(key) != about[key]:
            raise DataError(
                f"{shown(out)} is a run of other settings ({key}): repeat its command, or choose another --out."
            )
    if not run_folder.is_of(out, data):
        raise DataError(
            f"{shown(out)} is a run of other images or labels: restore them and its command, or choose another --out."
        )
    if not (out / run_folder.CHECKPOINT).exists():
        return []  # stopped before the end of its first epoch
    state, epochs = run_folder.load_checkpoint(out)
    trainer.load(state)
    return epochs


def finish(job: Job, trainer: Trainer, data: Dataset, epochs: list[Epoch], me: Process) -> dict[str, Any]:
    """Write the list and the summary; the headline is the last epoch."""
    s = trainer.explained()
    probabilities = trainer.network.probabilities(torch.from_numpy(data.images)).cpu().numpy()
    last, best = epochs[-1], max(epochs, key=lambda epoch: epoch.test_accuracy)
    summary: dict[str, Any] = {
        "out": str(job.out),
        "method": trainer.config.method,
        "noise": data.noise,
        "epochs": last.number,
        "test_accuracy": last.test_accuracy,
        "best_test_accuracy": best.test_accuracy,
        "best_epoch": best.number,
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
    if me.rank == 0:
        run_folder.write_metrics(job.out, epochs)
        run_folder.write_curves(job.out, epochs)
        listed = report.suspects(s, probabilities, data.given, data.classes, data.names)
        run_folder.write_suspects(job.out, listed)
        save_json(job.out / run_folder.SUMMARY, summary)
    return summary


class Lines:
    """A line per epoch, on stderr."""

    def __init__(self, epochs: int, quiet: bool) -> None:
        self._epochs, self._quiet, self._start, self._first = epochs, quiet, time.monotonic(), 0

    def epoch(self, epoch: Epoch) -> None:
        """Show an epoch."""
        if self._quiet:
            return
        self._first = self._first or epoch.number
        here = epoch.number - self._first + 1
        left = (time.monotonic() - self._start) / here * (self._epochs - epoch.number)
        figures = [f"loss {epoch.loss:.3f}", f"given {epoch.given_accuracy:.3f}"]
        figures += [f"true {epoch.true_accuracy:.3f}"] if epoch.true_accuracy == epoch.true_accuracy else []
        figures += [f"test {epoch.test_accuracy:.3f}"] if epoch.test_accuracy == epoch.test_accuracy else []
        print(
            f"epoch {epoch.number}/{self._epochs}  {'  '.join(figures)}  {clock(left)} left",
            file=sys.stderr,
            flush=True,
        )


class Bytes:
    """Progress of a download, on stderr."""

    def __init__(self, quiet: bool) -> None:
        self._quiet, self._shown = quiet, 0.0

    def __call__(self, there: int, total: int) -> None:
        """Show how much is there."""
        if not self._quiet and (time.monotonic() > self._shown + 2 or there == total):
            self._shown = time.monotonic()
            of = f" of {total / 1e6:.0f}" if total else ""
            print(f"fetching  {there / 1e6:.0f}{of} MB", file=sys.stderr, flush=True)


def in_words(summary: dict[str, Any]) -> str:
    """Return the summary as a person reads it."""
    lines = {"wrote": shown(Path(summary["out"]))}
    if summary["test_accuracy"] == summary["test_accuracy"]:
        lines["test"] = (
            f"{100 * summary['test_accuracy']:.1f} % after the last epoch "
            f"(best {100 * summary['best_test_accuracy']:.1f} %, epoch {summary['best_epoch']})"
        )
    if summary.get("wrong_labels"):
        lines["list"] = f"AUROC {summary['auroc']:.3f}, average precision {summary['average_precision']:.3f}"
    lines["suspects"] = f"{shown(Path(summary['out']) / run_folder.SUSPECTS)}, the most suspect label first"
    return "\n".join(f"{name:<10} {value}" for name, value in lines.items())
