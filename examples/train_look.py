"""Train the look of look.py: a network that says of every value what its surroundings say of its being corrupted.

    python examples/train_look.py PHOTOGRAPHS --rounds ROUNDS --minutes 600 --checkpoint look.pt

PHOTOGRAPHS holds the files that train_start.csv lists, as for train_start.py. Over crops of them, and over drawn pieces
of print, all the damage of damage.py is laid, or none; what is learned is which values it changed, from what a fit
knows when it looks: at its first look the predictions of the shipped weights; at later ones those of weights that have
learned the picture, which look_rounds.py keeps in ROUNDS. It goes on from its checkpoint if there is one, or from the
weights beside look.py.
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
    """Draws batches of (y, hit), each (N, 3, side, side)."""

    def __init__(self, photographs: Pictures, drawn: Pictures, seed: int, side: int = CROP) -> None:
        self.photographs, self.drawn, self.side = photographs, drawn, side
        self.random = np.random.default_rng(seed)

    def draw(self, count: int = BATCH) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what is seen, and 1 where it is corrupted."""
        lessons = [self._lesson() for _ in range(count)]
        y, hit = (torch.from_numpy(np.stack(part)).permute(0, 3, 1, 2) for part in zip(*lessons, strict=True))
        return y.contiguous(), hit.float().contiguous()

    def _lesson(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        random = self.random
        kind = random.random()
        crop = self._crop(self.drawn if kind < DRAWN else self.photographs)
        clean = page(random, self.side) if kind < DRAWN / 2 else crop
        if random.random() < 0.15:
            clean = clean @ LUMA
        y, hit = damaged(random, clean)
        return np.broadcast_to(y, (self.side, self.side, 3)).copy(), np.broadcast_to(
            hit, (self.side, self.side, 3)
        ).copy()

    def _crop(self, pictures: Pictures) -> NDArray[np.float32]:
        """Return a crop (side, side, 3), flipped, colours in another order, exposed anew."""
        random = self.random
        sizes = pictures[random.integers(len(pictures))]
        picture = sizes[random.integers(len(sizes))]
        # Most of most photographs is smooth, and soon learned: half of the time the most detailed of three crops.
        piece = max((cut(random, picture, self.side) for _ in range(random.choice((1, 3)))), key=_detail)
        crop = turned(random, piece).astype(np.float32) / 255
        if random.random() < 0.5:
            crop = crop[..., random.permutation(3)]
        if random.random() < 0.3:  # of which a part is clipped, as in real pictures
            crop = exposed(random, crop)
        return crop.clip(0, 1).astype(np.float32)


def _detail(crop: NDArray[np.uint8]) -> float:
    green = crop[::2, :, 1].astype(np.int16)
    return float(np.abs(np.diff(green, axis=1)).mean())


class Rounds:
    """Draws from what the look saw at the rounds of whole fits (look_rounds.py)."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.fits = [dict(np.load(file)) for file in sorted(folder.glob("*.npz"))]
        self.random = np.random.default_rng(seed)

    def draw(self) -> tuple[torch.Tensor, ...]:
        """Return y, trust, prediction, its scale and hit, each (BATCH, 3, CROP, CROP), float32."""
        parts = zip(*(self._crops() for _ in range(BATCH)), strict=True)
        return tuple(torch.from_numpy(np.stack(part)) for part in parts)

    def _crops(self) -> list[NDArray[np.float32]]:
        """One crop of all five, flipped and transposed, the colours in another order."""
        random = self.random
        fit = self.fits[random.integers(len(self.fits))]
        k = random.integers(len(fit["trust"]))
        top, left = random.integers(fit["y"].shape[1] - CROP + 1, size=2)
        colours, back, axes = random.permutation(3), random.choice((-1, 1), 2), random.choice(([0, 1, 2], [0, 2, 1]))
        pictures = [fit["y"] / np.float32(255), *(fit[name][k] for name in ("trust", "value", "scale")), fit["hit"]]
        crops = [picture[colours, top : top + CROP, left : left + CROP] for picture in pictures]
        return [crop[:, :: back[0], :: back[1]].transpose(axes).astype(np.float32) for crop in crops]


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
    return loss_of_round(look, y, trust, *eye.predict(y, trust), hit)


def loss_of_round(
    look: Look, y: torch.Tensor, trust: torch.Tensor, value: torch.Tensor, scale: torch.Tensor, hit: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of the log-odds of one look."""
    alone, context = look(y, trust, value, scale)
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

    def step(self, lessons: Lessons, rounds: Rounds | None, lr: float) -> tuple[float, int]:
        """Take one step; returns the loss, and whether it was that of a first look, a second, or one in a fit."""
        kind = (2, 0, 2, 1)[self.steps % 4] if rounds else int(self.steps % 3 == 2)
        if rounds and kind == 2:
            value = loss_of_round(self.look, *rounds.draw())
        else:
            value = loss(self.look, self.eye, *lessons.draw(), second=kind == 1)
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
        return float(value.detach()), kind


def train(lessons: Lessons, rounds: Rounds | None, course: Course, seconds: float, lr: float, out: Path) -> None:
    """Train for so many seconds more; the rate falls over the last half of them. Everything is written as it goes."""
    start, saved, before, means = time.monotonic(), 0.0, course.seconds, [0.0, 0.0, 0.0]
    while (now := time.monotonic() - start) < seconds:
        value, kind = course.step(lessons, rounds, lr * min(1, 2 * (1 - now / seconds) + 0.01))
        means[kind] = value if means[kind] == 0 else 0.99 * means[kind] + 0.01 * value
        course.seconds = before + now
        if now > saved + 120:
            saved = now
            course.save(out)
            said = "first look {:.4f}, second {:.4f}, in fits {:.4f}".format(*means)
            print(f"{course.steps} steps, {course.seconds:.0f} s: loss of {said}", flush=True)
    course.save(out)


def main() -> None:
    """Read the photographs and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path, help=f"folder with the files that {LIST.name} lists")
    parser.add_argument("--rounds", type=Path, help="folder that look_rounds.py filled")
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("--lr", type=float, default=LR)
    parser.add_argument("--seed", type=int, default=0, help="another one for every leg of a training that goes on")
    parser.add_argument("--checkpoint", type=Path, help="goes on from there, and writes it")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    a = parser.parse_args()
    tune_process()
    torch.manual_seed(a.seed)
    lessons = Lessons(pictures(a.photographs), pictures(a.photographs, "drawn"), a.seed)
    rounds = Rounds(a.rounds, a.seed) if a.rounds else None
    train(lessons, rounds, Course(a.checkpoint), 60 * a.minutes, a.lr, a.out)


if __name__ == "__main__":
    main()
