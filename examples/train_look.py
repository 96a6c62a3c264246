"""Train the look of look.py: a network that says of every value what its surroundings say of its being corrupted.

    python examples/train_look.py PHOTOGRAPHS --minutes 600 --checkpoint look.pt

PHOTOGRAPHS holds the files that train_start.csv lists, as for train_start.py. Over crops of them, and over drawn pieces
of print, all the damage of damage.py is laid, or none; what is learned is which values it changed, from what a fit
knows when it looks: the predictions of the shipped weights. It goes on from its checkpoint if there is one, or
from the weights beside look.py.
"""

import argparse
import copy
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from damage import damaged, page
from look import WEIGHTS, Look, trained
from numpy.typing import NDArray
from train_start import LIST, LUMA, cut, exposed, pictures, turned

from dipsop.compute import tune_process
from dipsop.restoration.local_stats import first_guess
from dipsop.restoration.predictor import (
    SHIPPED_CHANNELS,
    SHIPPED_WIDTHS,
    HeldOutPredictor,
    pretrained_weights,
    save_weights,
)

LR, WARMUP, AVERAGING = 2e-3, 100, 0.998
CROP, BATCH = 96, 4
DRAWN = 0.16  # share of crops that are print or drawing
Pictures = list[list[NDArray[np.uint8]]]


class Lessons:
    """Draws batches of (y, hit), each (BATCH, 3, CROP, CROP)."""

    def __init__(self, photographs: Pictures, drawn: Pictures, seed: int) -> None:
        self.photographs, self.drawn, self.random = photographs, drawn, np.random.default_rng(seed)

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what is seen, and 1 where it is corrupted."""
        lessons = [self._lesson() for _ in range(BATCH)]
        y, hit = (torch.from_numpy(np.stack(part)).permute(0, 3, 1, 2) for part in zip(*lessons, strict=True))
        return y.contiguous(), hit.float().contiguous()

    def _lesson(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        random = self.random
        kind = random.random()
        crop = self._crop(self.drawn if kind < DRAWN else self.photographs)
        clean = page(random, CROP) if kind < DRAWN / 2 else crop
        if random.random() < 0.15:
            clean = clean @ LUMA
        y, hit = damaged(random, clean)
        return np.broadcast_to(y, (CROP, CROP, 3)).copy(), np.broadcast_to(hit, (CROP, CROP, 3)).copy()

    def _crop(self, pictures: Pictures) -> NDArray[np.float32]:
        """Return a crop (CROP, CROP, 3), flipped, colours in another order, exposed anew."""
        random = self.random
        sizes = pictures[random.integers(len(pictures))]
        picture = sizes[random.integers(len(sizes))]
        # Most of most photographs is smooth, and soon learned: half of the time the most detailed of three crops.
        piece = max((cut(random, picture, CROP) for _ in range(random.choice((1, 3)))), key=_detail)
        crop = turned(random, piece).astype(np.float32) / 255
        if random.random() < 0.5:
            crop = crop[..., random.permutation(3)]
        if random.random() < 0.3:  # of which a part is clipped, as in real pictures
            crop = exposed(random, crop)
        return crop.clip(0, 1).astype(np.float32)


def _detail(crop: NDArray[np.uint8]) -> float:
    green = crop[::2, :, 1].astype(np.int16)
    return float(np.abs(np.diff(green, axis=1)).mean())


class Eye:
    """What a fit shows the look: predictions by the shipped weights, made while the values are hidden."""

    def __init__(self) -> None:
        weights = pretrained_weights(SHIPPED_CHANNELS, SHIPPED_WIDTHS)
        assert weights is not None
        predictor = HeldOutPredictor(SHIPPED_CHANNELS, SHIPPED_WIDTHS).requires_grad_(False)
        predictor.load_state_dict(weights)
        self.predictor = predictor.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def predict(self, y: torch.Tensor, trust: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict every value, a half or a third of them at a time, and how far off that may be."""
        parts = 2 if torch.rand(()) < 0.8 else 3
        # Where whole pixels are corrupted, a fit hides whole pixels.
        part = torch.randint(parts, (len(y), int(torch.randint(2, ())) * 2 + 1, *y.shape[2:])).expand_as(y)
        value, scale = torch.zeros_like(y), torch.zeros_like(y)
        for k in range(parts):
            prediction = self.predictor(y, trust * (part != k))
            value = torch.where(part == k, prediction.value, value)
            scale = torch.where(part == k, prediction.scale, scale)
        return value.clamp(0, 1), scale


def loss(look: Look, eye: Eye, y: torch.Tensor, hit: torch.Tensor, second: bool) -> torch.Tensor:
    """Cross-entropy of the log-odds of a first look, or of a second that goes by the first."""
    trust = first_guess(y)
    if second:
        with torch.no_grad():
            alone, context = look(y, trust, *eye.predict(y, trust))
            trust = torch.sigmoid(-alone - context)
    alone, context = look(y, trust, *eye.predict(y, trust))
    return F.binary_cross_entropy_with_logits(alone + context, hit)


class Course:
    """A training that can go on: the network, its running mean, the optimizer."""

    def __init__(self, checkpoint: Path | None) -> None:
        self.look = Look()
        self.look.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.eye = Eye()
        self.average = copy.deepcopy(self.look).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.look.parameters(), fused=True)
        self.steps, self.seconds, self.checkpoint = 0, 0.0, checkpoint
        if checkpoint and checkpoint.exists():
            state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
            self.look.load_state_dict(state["look"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.steps, self.seconds = state["steps"], state["seconds"]
        elif WEIGHTS.exists():
            for network in (self.look, self.average):
                network.load_state_dict(trained("auto").state_dict())

    def save(self, out: Path) -> None:
        """Write the mean weights, and all that is needed to go on."""
        save_weights(self.average, out)
        if self.checkpoint:
            parts = {name: getattr(self, name).state_dict() for name in ("look", "average", "optimizer")}
            temporary = self.checkpoint.with_suffix(".part")
            torch.save({**parts, "steps": self.steps, "seconds": self.seconds}, temporary)
            temporary.replace(self.checkpoint)

    def step(self, y: torch.Tensor, hit: torch.Tensor, lr: float) -> tuple[float, bool]:
        """Take one step; returns the loss, and whether it was that of a second look."""
        second = self.steps % 3 == 2
        value = loss(self.look, self.eye, y, hit, second)
        self.optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.look.parameters(), 0.5)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * min(1, (self.steps + 1) / WARMUP)
        self.optimizer.step()
        self.steps += 1
        with torch.no_grad():
            for mean, weight in zip(self.average.parameters(), self.look.parameters(), strict=True):
                mean.lerp_(weight, max(1 - AVERAGING, 10 / (self.steps + 10)))
        return float(value.detach()), second


def train(lessons: Lessons, course: Course, seconds: float, lr: float, out: Path) -> None:
    """Train for so many seconds more; the rate falls over the last half of them. Everything is written as it goes."""
    start, saved, before, means = time.monotonic(), 0.0, course.seconds, [0.0, 0.0]
    while (now := time.monotonic() - start) < seconds:
        y, hit = lessons.draw()
        value, second = course.step(y, hit, lr * min(1, 2 * (1 - now / seconds) + 0.01))
        means[second] = value if means[second] == 0 else 0.98 * means[second] + 0.02 * value
        course.seconds = before + now
        if now > saved + 120:
            saved = now
            course.save(out)
            print(
                f"{course.steps} steps, {course.seconds:.0f} s: loss {means[0]:.4f}, second look {means[1]:.4f}",
                flush=True,
            )
    course.save(out)


def main() -> None:
    """Read the photographs and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path, help=f"folder with the files that {LIST.name} lists")
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("--lr", type=float, default=LR)
    parser.add_argument("--seed", type=int, default=0, help="another one for every leg of a training that goes on")
    parser.add_argument("--checkpoint", type=Path, help="goes on from there, and writes it")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    a = parser.parse_args()
    tune_process()
    torch.manual_seed(a.seed)
    lessons = Lessons(pictures(a.photographs), pictures(a.photographs, "drawn"), a.seed)
    train(lessons, Course(a.checkpoint), 60 * a.minutes, a.lr, a.out)


if __name__ == "__main__":
    main()
