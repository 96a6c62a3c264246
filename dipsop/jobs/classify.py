"""One training run, from the labelled images to the list of suspect labels."""

import math
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from dipsop import __version__
from dipsop.classification import corrections, label_noise, report, review, run_folder, sources
from dipsop.classification.config import RECIPES, TrainConfig, by_data
from dipsop.classification.dataset import Dataset
from dipsop.classification.distributed import Process, in_turn, process
from dipsop.classification.trainer import Epoch, Step, Trainer
from dipsop.compute import DeviceName
from dipsop.errors import DataError
from dipsop.files import save_json, shown
from dipsop.jobs.events import Begun, Done, Fetching, Saving, Stop, Stopped, Underway, Written, never
from dipsop.jobs.time_left import TimeLeft

SECONDS_BETWEEN_CURVES = 10
Event = Fetching | Begun | Underway | Saving | Epoch | Written | Done | Stopped


@dataclass(frozen=True, kw_only=True)
class ClassifyJob:
    """Labelled images, where the run goes, and how it is trained.

    Parameters
    ----------
    data : str
        A folder, a CSV of path,label, or cifar10 or cifar100 for those in the cache.
    out : Path
        Folder for the model, the curves and the list of labels.
    recipe : a key of RECIPES
    settings : mapping
        Fields of TrainConfig that the recipe is not to settle, `seed` apart.
    seed : int
        Of all that is drawn: the noise, the test images, the training.
    noise : str
        As label_noise.apply takes it.
    human_labels : Path or None
        The file of CIFAR-10N, where the noise is human.
    fetch : bool
        Fetch cifar10 or cifar100 into the cache.
    images : int or None
        Train on so many alone.
    corrections : tuple of Path
        As labels.html saved them, applied one after the other: labels that are replaced, or kept, and trusted.
    size : int
        Side in pixels that images are resized to which are not CIFAR's.
    test_fraction : float in [0, 1)
        Share of these that is set aside for testing.
    device : "auto", "cpu", "cuda" or "mps"
    resume : bool
        Go on with the run in `out`, if one was begun there.
    """

    data: str
    out: Path
    recipe: str = "fast"
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    noise: str = "none"
    human_labels: Path | None = None
    fetch: bool = False
    images: int | None = None
    corrections: tuple[Path, ...] = ()
    size: int = 32
    test_fraction: float = 0.0
    device: DeviceName = "auto"
    resume: bool = False


def run(job: ClassifyJob, stop: Stop = never) -> Generator[Event, None, None]:
    """Train, and list the labels by how suspect they are.

    Of the processes of torchrun each does its share; the first writes, and it alone yields Written and Done.

    Parameters
    ----------
    job : ClassifyJob
    stop : callable
        Asked after every epoch and, in a single process, before every step: true ends the training, and `resume` goes
        on from the last whole epoch. Once the list is being written it is not asked any more.

    Yields
    ------
    Fetching
        While data is fetched.
    Begun
        Before the training; its steps are epochs.
    Underway
        After every step.
    Saving, Epoch
        For every epoch, before and after its state is written.
    Saving, Written, Done
        Before and after the results are written; Done has the summary.
    Stopped
        At the end instead, where `stop()` ended it.

    Raises
    ------
    DipsopError
        Data, folder or device are not as they must be, or the loss diverges.
    ValueError
        There is no such noise.
    """
    label_noise.check(job.noise)
    with process(job.device) as me:
        yield from _course(job, me, stop)


def _course(job: ClassifyJob, me: Process, stop: Stop) -> Iterator[Event]:
    """Go from the data to the summary, in this process among others."""
    begun = run_folder.is_begun(job.out)
    if begun and not job.resume:
        raise DataError(f"{shown(job.out)} holds a run already: go on with it by --resume, or choose another --out.")
    start = time.monotonic()
    data = yield from _data(job, me)
    loading = time.monotonic() - start
    config = _settled(job, data, me.world)
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
        "corrections": [str(path) for path in job.corrections],
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
        epochs = _resumed(job.out, trainer, about, data)
    elif me.rank == 0:
        run_folder.begin(job.out, about, data)
    yield Begun(steps=config.epochs)
    stopped = yield from _train(job, trainer, epochs, TimeLeft(trainer, review.seconds(data, loading)), me, stop)
    if not stopped:
        stopped = yield from _finish(job, trainer, data, epochs, me, stop)
    if stopped:
        yield Stopped(completed=len(epochs), of=config.epochs)


def _data(job: ClassifyJob, me: Process) -> Generator[Event, None, Dataset]:
    """Read the data, make it noisy where asked for, and correct it."""
    for path in job.corrections:
        corrections.read(path)  # what is wrong with it is said before the images are read
    loading = sources.load(job.data, fetch=job.fetch, size=job.size, test_fraction=job.test_fraction, seed=job.seed)
    with in_turn(me) if job.fetch else nullcontext():
        while True:
            try:
                there, total = next(loading)
            except StopIteration as end:
                data: Dataset = end.value
                break
            yield Fetching(there, total)
    data = sources.noisy(data, job.noise, job.seed, job.human_labels, job.images)
    return corrections.apply(data, job.corrections)


def _settled(job: ClassifyJob, data: Dataset, world: int) -> TrainConfig:
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
    return replace(by_itself, **settings | dict(job.settings) | {"shares": shares, "batch": batch, "seed": job.seed})


def _resumed(out: Path, trainer: Trainer, about: dict[str, Any], data: Dataset) -> list[Epoch]:
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


def _train(
    job: ClassifyJob, trainer: Trainer, epochs: list[Epoch], left: TimeLeft, me: Process, stop: Stop
) -> Generator[Event, None, bool]:
    """Go through the epochs left, appending each to those done and writing it to the folder.

    Returns whether `stop()` ended it.
    """
    drawn = -math.inf
    for epoch in trainer.steps(stop):
        left.see(epoch)
        if isinstance(epoch, Step):
            yield Underway(left.done, left.seconds, f"epoch {epoch.epoch}/{trainer.config.epochs}")
            continue
        yield Saving()
        epochs.append(epoch)
        state = trainer.state()
        if me.rank == 0:
            run_folder.save_checkpoint(job.out, state, epochs)
            if time.monotonic() > drawn + SECONDS_BETWEEN_CURVES:
                run_folder.write_curves(job.out, epochs)
                drawn = time.monotonic()
        yield epoch
        if me.any(stop()):
            return True
    return len(epochs) < trainer.config.epochs


def _finish(
    job: ClassifyJob, trainer: Trainer, data: Dataset, epochs: list[Epoch], me: Process, stop: Stop
) -> Generator[Event, None, bool]:
    """Write the list and the summary; the headline is the last epoch. Returns whether `stop()` came before."""
    s = trainer.explained()
    probabilities = trainer.network.probabilities(torch.from_numpy(data.images)).cpu().numpy()
    summary = _summary(job, trainer.config, data, epochs, str(me.device))
    if data.true is not None:
        wrong, scores = data.true != data.given, report.doubt(s, probabilities, data.given)
        summary |= {
            "wrong_labels": float(wrong.mean()),
            "auroc": report.auroc(scores, wrong),
            "average_precision": report.average_precision(scores, wrong),
        }
    if me.any(stop()):
        return True
    yield Saving()
    if me.rank == 0:
        listed = report.suspects(s, probabilities, data.given, data.classes, data.names)
        run_folder.write_metrics(job.out, epochs)
        run_folder.write_curves(job.out, epochs)
        run_folder.write_suspects(job.out, listed)
        review.write(job.out, listed, data, job.data)
        save_json(job.out / run_folder.SUMMARY, summary)
        yield Written(job.out / run_folder.SUSPECTS)
        yield Written(job.out / review.PAGE)
        yield Done(summary)
    return False


def _summary(job: ClassifyJob, config: TrainConfig, data: Dataset, epochs: list[Epoch], device: str) -> dict[str, Any]:
    """What came out, the quality of the list apart."""
    last, best = epochs[-1], max(epochs, key=lambda epoch: epoch.test_accuracy)
    return {
        "out": str(job.out),
        "method": config.method,
        "noise": data.noise,
        "epochs": last.number,
        "test_accuracy": last.test_accuracy,
        "best_test_accuracy": best.test_accuracy,
        "best_epoch": None if math.isnan(last.test_accuracy) else best.number,
        "seconds": sum(epoch.seconds for epoch in epochs),
        "device": device,
    }
