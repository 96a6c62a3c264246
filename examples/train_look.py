"""Train the look: a network that says what the surroundings of a value say of its being corrupted.

    python examples/train_look.py ROUNDS --minutes 600 --checkpoint look.pt --out dipsop/restoration/look.npz

ROUNDS holds what the look sees at every round of whole fits (look_rounds.py): at the first one predictions of the
shipped weights, at later ones those of weights that have learned the picture. Every twentieth fit is held back; by them
a line tells at the end how near pictures come to the truth by residuals alone and with the look. It goes on from its
checkpoint if there is one, or from the weights at --out.
"""

import argparse
import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from course import Course, options
from numpy.typing import NDArray
from torch import Tensor, nn

from dipsop.compute import tune_process
from dipsop.optimizers import Adam
from dipsop.restoration.look import MOST_ALONE, Look

LR, WARMUP, AVERAGING = 7e-4, 100, 0.998  # at 2e-3 it goes astray after some thousand steps
CROP, BATCH = 128, 3
HELD_BACK = 20
LEAST_ERROR = 1e-6  # of a picture, squared, in the mean: what lies below is as good as none
Part = dict[str, NDArray[Any]]


class Rounds:
    """What the look saw in some fits, round by round.

    Parameters
    ----------
    files : list of Path
    seed : int
    """

    def __init__(self, files: list[Path], seed: int) -> None:
        self.fits: list[Part] = [dict(np.load(file)) for file in files]
        self.random = np.random.default_rng(seed)

    def draw(self) -> dict[str, Tensor]:
        """Return crops, flipped, transposed, the colours in another order: each part (BATCH, 3, CROP, CROP)."""
        crops = [self._crop() for _ in range(BATCH)]
        return {name: torch.cat([crop[name] for crop in crops]) for name in crops[0]}

    def whole(self, last: bool) -> list[dict[str, Tensor]]:
        """Return the first or the last round of every fit, each part (1, 3, H, W)."""
        return [_seen(fit, -1 if last else 0) for fit in self.fits]

    def _crop(self) -> dict[str, Tensor]:
        random = self.random
        fit = self.fits[random.integers(len(self.fits))]
        parts = _seen(fit, int(random.integers(len(fit["alone"]))))
        height, width = fit["y"].shape[1:]
        top, left = int(random.integers(height - CROP + 1)), int(random.integers(width - CROP + 1))
        colours, axes = random.permutation(3).tolist(), [a for a in (2, 3) if random.random() < 0.5]
        upright = random.random() < 0.5

        def turned(part: Tensor) -> Tensor:
            part = part[:, colours, top : top + CROP, left : left + CROP].flip(axes)
            return part if upright else part.transpose(2, 3)

        return {name: turned(part) for name, part in parts.items()}


def _seen(fit: Part, k: int) -> dict[str, Tensor]:
    """One round of a fit as float32 tensors (1, 3, H, W)."""
    parts = {name: fit[name] / np.float32(255) for name in ("y", "clean")}
    parts |= {"hit": fit["hit"], **{name: fit[name][k] for name in ("predicted", "scale", "alone")}}
    return {name: torch.from_numpy(part.astype(np.float32))[None] for name, part in parts.items()}


def error(log_odds: Tensor, parts: dict[str, Tensor]) -> Tensor:
    """How far p·f + (1 − p)·y will be off the clean picture, squared, in the mean over each: (N,).

    f is not P, the prediction at hand: that of the middle of a stroke goes by the rest of it, and is the stroke again,
    as long as the stroke is not found. Where it was found, f is off by what b says, 2b² in the mean of the square.
    """
    probability = torch.sigmoid(log_odds)
    off, usual = (parts["predicted"] - parts["clean"]).square(), 2 * parts["scale"].square()
    kept = (1 - probability).square() * (parts["y"] - parts["clean"]).square()
    found = kept + probability.square() * torch.minimum(off, usual)
    false_alarm = probability.square() * torch.maximum(off, usual)
    return torch.where(parts["hit"] > 0, found, false_alarm).mean((1, 2, 3))


def log_odds(look: nn.Module, parts: dict[str, Tensor]) -> Tensor:
    """Those of residuals alone, as the look knows them, and what it adds."""
    alone = parts["alone"].clamp(-MOST_ALONE, MOST_ALONE)
    context: Tensor = look(*(parts[name] for name in ("y", "predicted", "scale")), alone)
    return alone + context


def loss(look: nn.Module, parts: dict[str, Tensor]) -> Tensor:
    """The logarithm of every picture's error, as decibels count it; and the cross-entropy of every value."""
    said = log_odds(look, parts)
    off = (error(said, parts) + LEAST_ERROR).log().mean()
    return 0.2 * off + F.binary_cross_entropy_with_logits(said, parts["hit"])


def course(checkpoint: Path | None, weights: Path) -> Course:
    """Return the training of the look, new or to go on."""
    look = Look()
    look.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Course(look, Adam, checkpoint, weights, warmup=WARMUP, averaging=AVERAGING)


def step(course: Course, rounds: Rounds, lr: float) -> Tensor:
    """Take one step; returns the loss."""
    value = loss(course.network, rounds.draw())
    course.learn(value, lr)
    return value.detach()


@torch.no_grad()
def compared(look: nn.Module, rounds: Rounds, last: bool) -> str:
    """Return the PSNR in the mean over the fits, by residuals alone and with the look."""
    pictures = rounds.whole(last)

    def psnr(said: list[Tensor]) -> float:
        errors = torch.cat([error(each, parts) for each, parts in zip(said, pictures, strict=True)])
        return float(-10 * (errors + LEAST_ERROR).log10().mean())

    without, seeing = psnr([parts["alone"] for parts in pictures]), psnr([log_odds(look, p) for p in pictures])
    return f"{'last' if last else 'first'} round: {without:.2f} dB by residuals alone, {seeing:.2f} with the look"


def main() -> None:
    """Read the rounds and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", type=Path, help="folder that look_rounds.py filled")
    options(parser, minutes=600, lr=LR, out="look.npz")
    a = parser.parse_args()
    tune_process()
    torch.manual_seed(a.seed)
    files = sorted(a.rounds.glob("*.npz"))
    held_back = files[::HELD_BACK]
    training = course(a.checkpoint, a.out)
    one = functools.partial(step, training, Rounds(sorted({*files} - {*held_back}), a.seed))
    training.train(one, 60 * a.minutes, a.lr, a.out, held=1 / 2)
    for last in (False, True):
        print(compared(training.average, Rounds(held_back, 0), last))


if __name__ == "__main__":
    main()
