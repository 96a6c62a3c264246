"""One training run, from the labelled images to the list of suspect labels."""

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from dipsop import __version__
from dipsop.classification import (
    corrections,
    features,
    image_folder,
    label_noise,
    review,
    run_folder,
    sources,
)
from dipsop.classification.config import SIDE, TrainConfig
from dipsop.classification.dataset import Dataset
from dipsop.classification.distributed import Process, in_turn, process
from dipsop.classification.trainer import Epoch, Trainer
from dipsop.compute import DeviceName
from dipsop.errors import DataError
from dipsop.files import identity, shown
from dipsop.jobs import settings
from dipsop.jobs.events import (
    Advice,
    Begun,
    Done,
    Fetching,
    Looking,
    Noted,
    Saving,
    Stop,
    Stopped,
    Underway,
    Written,
    never,
)
from dipsop.jobs.looking import look
from dipsop.jobs.time_left import TimeLeft
from dipsop.jobs.training import Training, telling

UNINSTALLED = "pip install 'dipsop[features]' finds far more of the wrong labels, in less time"
FROM_SCRATCH = (
    "the network is trained from scratch, as torchrun, --dtype, --shares, --compile and --method sop+ ask for: without "
    "them one that knows ImageNet finds far more of the wrong labels"
)
Event = Fetching | Noted | Advice | Looking | Begun | Underway | Saving | Epoch | Written | Done | Stopped


@dataclass(frozen=True, kw_only=True)
class ClassifyJob:
    """Labelled images, where the run goes, and how it is trained.

    Parameters
    ----------
    data : str
        A folder, a CSV of path,label, or cifar10 or cifar100 for those in the cache.
    out : Path
        Folder for the model, the curves and the list of labels.
    recipe : a key of RECIPES, or None
        None is that of the run that is gone on with; else "pretrained" for a person's own images where its extra is
        installed, and "fast".
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
    size : int or None
        Side in pixels that images are resized to which are not CIFAR's. None is 32, or 224 for "pretrained".
    test_fraction : float in [0, 1)
        Share of these that is set aside for testing.
    made_before : Path or None
        A file of features that another run has kept, for "pretrained".
    device : "auto", "cpu", "cuda" or "mps"
    resume : bool
        Go on with the run in `out`, if one was begun there.
    """

    data: str
    out: Path
    recipe: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    noise: str = "none"
    human_labels: Path | None = None
    fetch: bool = False
    images: int | None = None
    corrections: tuple[Path, ...] = ()
    size: int | None = None
    test_fraction: float = 0.0
    made_before: Path | None = None
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
    Noted
        Where files are left out.
    Advice
        Where a person's own images would be judged far better by the network that knows ImageNet.
    Looking
        While features of images are made.
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
    if not begun:
        if identity(job.out) == identity(Path(job.data)):
            raise DataError(f"{shown(job.out)} is the data, to which nothing is added: choose another --out.")
        run_folder.check_free(job.out)
    recipe = settings.recipe(job, begun, me.world)
    if recipe == "pretrained" and me.world > 1:
        raise DataError("Features are made by one process: leave torchrun out, or choose --network fast.")
    advised = recipe == "fast" and not (job.recipe or begun or sources.is_cifar(job.data))
    job = replace(job, recipe=recipe)
    start = time.monotonic()
    pictures = data = yield from _data(job, me)
    loading = time.monotonic() - start
    if advised:
        yield Advice(FROM_SCRATCH if features.installed() else UNINSTALLED)
    config = settings.settled(job, recipe, data, me.world)
    seen_at = settings.seen_at(job, data) if recipe == "pretrained" else data.images.shape[-1]
    side = data.images.shape[-1] or seen_at
    about = _about(job, data, config, side, seen_at, me)
    if begun:
        _refuse_another(job.out, about, data)  # before minutes are spent on features
    if recipe == "pretrained":
        seen = yield from look(data, seen_at, job.out / run_folder.FEATURES, job.made_before, me.device, stop)
        if seen is None:
            yield Stopped(completed=0, of=config.epochs)
            return
        data = seen
    trainer = Trainer(data, config, me.device, me.rank, me.world)
    if me.world > 1:
        dist.barrier()  # all have looked into the folder before one writes there
    epochs = _resumed(job.out, trainer) if begun else []
    if not begun and me.rank == 0:
        run_folder.begin(job.out, about, data)
    yield Begun(steps=config.epochs)
    left = TimeLeft(trainer, review.seconds(pictures, loading))
    training = Training(job, me, trainer, data, pictures, left, epochs)
    stopped = yield from training.train(stop)
    if not stopped:
        stopped = yield from training.finish(stop)
    if stopped:
        yield Stopped(completed=len(training.epochs), of=config.epochs)


def _data(job: ClassifyJob, me: Process) -> Generator[Event, None, Dataset]:
    """Read the data, make it noisy where asked for, and correct it."""
    for path in job.corrections:
        corrections.read(path)  # what is wrong with it is said before the images are read
    loading = sources.load(job.data, fetch=job.fetch, test_fraction=job.test_fraction, seed=job.seed)
    with in_turn(me) if job.fetch else nullcontext():
        data = yield from telling(loading, lambda said: Noted(said) if isinstance(said, str) else Fetching(*said))
    data = label_noise.apply(data, job.noise, job.seed, job.human_labels)
    # A decision may be on an image that is left out now.
    data = sources.some(corrections.apply(data, job.corrections), job.images)
    # "pretrained" reads images as it looks at them.
    unread = data.paths is not None and job.recipe != "pretrained"
    return image_folder.with_images(data, job.size or SIDE) if unread else data


def _about(
    job: ClassifyJob, data: Dataset, config: TrainConfig, side: int, seen_at: int, me: Process
) -> dict[str, Any]:
    """What there is to know of a run, for its config.json."""
    return {
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
        "side": side,
        "size": seen_at,
        "classes": list(data.classes),
        "recipe": job.recipe,
        "features": features.NETWORK if job.recipe == "pretrained" else None,
        "train": asdict(config),
    }


def _refuse_another(out: Path, about: dict[str, Any], data: Dataset) -> None:
    """Refuse a run that is not of the same settings, images and labels."""
    before = run_folder.load_config(out)
    for key in ("noise", "size", "classes", "train"):
        if before.get(key) != about[key]:
            raise DataError(
                f"{shown(out)} is a run of other settings ({_difference(key, before.get(key), about[key])}): "
                f"give those in its {run_folder.CONFIG}, or choose another --out."
            )
    if not run_folder.is_of(out, data):
        raise DataError(
            f"{shown(out)} is a run of other images or labels: restore them and its command, or choose another --out."
        )


def _difference(key: str, before: Any, now: Any) -> str:
    """Say in what two settings differ: of many together, in which of them."""
    if not isinstance(before, dict):
        return key
    return ", ".join(f"{name} {before.get(name)}, not {now[name]}" for name in now if before.get(name) != now[name])


def _resumed(out: Path, trainer: Trainer) -> list[Epoch]:
    """Go on from the last epoch of a run."""
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
