"""Make fits to corrupted crops, and keep what the look sees at every round of them, to train it on (train_look.py).

    python examples/look_rounds.py PHOTOGRAPHS --out ROUNDS --minutes 60 --seed 0

At its first round a fit predicts by the shipped weights. At later ones it has learned the picture, and predicts better;
and what it trusts is what was found. So the look has to learn from whole fits, that is from what it leads to itself
(Ross et al. 2011, imitation learning with a dataset that is aggregated). A third of the fits go by residuals alone.
ROUNDS gets one file for every fit, named by its seed; run it under several seeds at once, and it goes on.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from look import LookingFit
from numpy.typing import NDArray
from torch import Tensor
from train_look import Lessons
from train_start import pictures

from dipsop import PRESETS
from dipsop.compute import tune_process
from dipsop.restoration.config import HeldOut
from dipsop.restoration.prior import trust_of

SIDE, STEPS, ROUNDS = 160, 28, 4


class RecordedFit(LookingFit):
    """A fit that keeps what the look sees, round by round: trust, prediction, its scale."""

    def __init__(self, y: Tensor, config: HeldOut, looks: bool) -> None:
        super().__init__(y, config)
        self.looks, self.seen = looks, list[tuple[Tensor, Tensor, Tensor]]()

    @torch.no_grad()
    def predict_hidden(self) -> tuple[Tensor, Tensor]:
        """See `HeldOutFit.predict_hidden`."""
        trust = trust_of(self.detection.corruption)
        value, scale = super().predict_hidden()
        if not self.looks:
            self.detection.context = None  # type: ignore[attr-defined]
        self.seen.append((trust, value.clone(), scale.clone()))
        return value, scale


def rounds(lessons: Lessons, seed: int) -> dict[str, NDArray[np.generic]]:
    """Make one fit; returns y and hit (3, SIDE, SIDE) as bytes, and (rounds, 3, SIDE, SIDE) of the rest."""
    y, hit = lessons.draw(1)
    config = PRESETS["quick"]
    assert isinstance(config, HeldOut)
    # Small crops for the steps: there are many more pictures to see than time.
    config = replace(config, steps=STEPS, rounds=ROUNDS, crop=80, hold=STEPS, seed=seed)
    fit = RecordedFit(y, config, looks=seed % 3 > 0)
    for step in range(STEPS):
        fit.step(step / STEPS)
    trust, value, scale = (torch.cat(part).half().numpy() for part in zip(*fit.seen, strict=True))
    levels = (255 * y[0]).round().byte().numpy()
    return {"y": levels, "hit": hit[0].bool().numpy(), "trust": trust, "value": value, "scale": scale}


def main() -> None:
    """Make fits until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path, help="folder, as for train_look.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0, help="of the first fit; the next have the next ones")
    a = parser.parse_args()
    tune_process()
    a.out.mkdir(parents=True, exist_ok=True)
    photographs, drawn = pictures(a.photographs), pictures(a.photographs, "drawn")
    end, seed = time.monotonic() + 60 * a.minutes, a.seed
    while time.monotonic() < end:
        file = a.out / f"{seed:06}.npz"
        if not file.exists():
            np.savez(file, **rounds(Lessons(photographs, drawn, seed, SIDE), seed))  # type: ignore[arg-type]
        seed += 1


if __name__ == "__main__":
    main()
