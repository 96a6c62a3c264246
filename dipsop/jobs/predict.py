"""What a trained model sees in images."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dipsop.classification import image_folder
from dipsop.compute import DeviceName
from dipsop.errors import DataError
from dipsop.files import reason, shown
from dipsop.jobs import trained
from dipsop.jobs.events import Noted, Stop, never


@dataclass(frozen=True, kw_only=True)
class PredictJob:
    """The folder of a training run, and the images to classify.

    Parameters
    ----------
    run : Path
    images : tuple of Path
        Files, and folders for all the images below them.
    top : int
        Classes of each image, the likeliest first; all where there are fewer.
    device : "auto", "cpu", "cuda" or "mps"
    """

    run: Path
    images: tuple[Path, ...]
    top: int = 1
    device: DeviceName = "auto"


@dataclass(frozen=True)
class Prediction:
    """The likeliest classes of one image, and the probabilities that the model gives them."""

    image: Path
    ranked: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Unread:
    """One image that cannot be read; the others are classified."""

    image: Path
    why: str  # a sentence with the remedy


def run(job: PredictJob, stop: Stop = never) -> Iterator[Noted | Prediction | Unread]:
    """Classify images in their order, those of a folder by name.

    Parameters
    ----------
    job : PredictJob
    stop : callable
        Asked before every image: true leaves it and the others out.

    Yields
    ------
    Noted
        First, where files of a folder are left out.
    Prediction, Unread
        One of them for each image.

    Raises
    ------
    DataError
        There is no trained model, or a folder is closed or holds no image.
    """
    model = trained.load(job.run, job.device)
    left_out = Counter[str]()
    paths = [path for named in job.images for path in _below(named, left_out)]
    if note := image_folder.note_on(left_out):
        yield Noted(note)
    for path in paths:
        if stop():
            return
        try:
            image = image_folder.read([path], model.side)
        except DataError as error:
            yield Unread(path, str(error))
            continue
        best = model.probabilities(image)[0].topk(min(job.top, len(model.classes)))
        ranked = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        yield Prediction(path, tuple((model.classes[k], value) for k, value in ranked))


def _below(named: Path, left_out: Counter[str]) -> list[Path]:
    """The images that a path names: itself, or those below a folder."""
    if not os.path.isdir(named):  # Path's raises where the system does not let one look; reading says why
        return [named]
    try:
        found = image_folder.images_below(named, left_out)
    except OSError as error:
        at = shown(Path(error.filename or named))
        raise DataError(f"{at} cannot be looked into ({reason(error)}): open it, or name other images.") from None
    if not found:
        raise DataError(f"{shown(named)} holds no images: name a folder that does.")
    return found
