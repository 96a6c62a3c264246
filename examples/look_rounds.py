"""Make fits to corrupted crops, and keep what the look sees at every round of them, to train it on (train_look.py).

    python examples/look_rounds.py PHOTOGRAPHS --out ROUNDS --minutes 60 --seed 0

PHOTOGRAPHS holds the files that train_start.csv lists, as for train_start.py. Over crops of them, and over drawn pieces
of print, all the damage of damage.py is laid, or none. At its first round a fit predicts by the shipped weights. At
later ones it has learned the picture, and predicts better; and what it trusts is what was found. So the look has to
learn from whole fits, that is from what it leads to itself (Ross et al. 2011, imitation learning with a dataset that is
aggregated). A third of the fits, and all grey ones, go by residuals alone, within the range that the look sees. ROUNDS
gets one file for every fit, named by its seed; run it under several seeds at once, and it goes on.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from damage import damaged, page
from numpy.typing import NDArray
from torch import Tensor
from train_start import LUMA, cut, exposed, pictures, turned

from dipsop import PRESETS
from dipsop.compute import tune_process
from dipsop.restoration.config import HeldOut
from dipsop.restoration.held_out import HeldOutFit
from dipsop.restoration.look import Asked
from dipsop.sop import SparseCorruption

SIDE, STEPS, ROUNDS = 160, 28, 4
DRAWN = 0.16  # share of crops that are print or drawing
Pictures = list[list[NDArray[np.uint8]]]


class Lessons:
    """Draws crops under damage."""

    def __init__(self, photographs: Pictures, drawn: Pictures, seed: int, side: int = SIDE) -> None:
        self.photographs, self.drawn, self.side = photographs, drawn, side
        self.random = np.random.default_rng(seed)

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return what is seen, the clean picture, and 1 where the one is corrupted, each (1, 3, side, side)."""
        random = self.random
        kind = random.random()
        crop = self._crop(self.drawn if kind < DRAWN else self.photographs)
        clean = page(random, self.side) if kind < DRAWN / 2 else crop
        if random.random() < 0.15:
            clean = clean @ LUMA
        parts = (np.broadcast_to(part, (self.side, self.side, 3)) for part in damaged(random, clean))
        y, x, hit = (torch.from_numpy(part.astype(np.float32)).permute(2, 0, 1)[None] for part in parts)
        return y.contiguous(), x.contiguous(), hit.contiguous()

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


class Recorder:
    """Stands for a look, and keeps what it sees: prediction, its scale, log-odds by residuals alone."""

    def __init__(self, look: Asked | None) -> None:
        self.look, self.seen = look, list[tuple[Tensor, Tensor, Tensor]]()

    def __call__(self, y: Tensor, residual: Tensor, scale: Tensor, corruption: SparseCorruption) -> Tensor:
        """See `dipsop.restoration.look.TiledLook`; without one, nothing is added."""
        self.seen.append((y + residual, scale.clone(), corruption.odds.log_()))
        return self.look(y, residual, scale, corruption) if self.look else torch.zeros_like(y)


def rounds(lessons: Lessons, seed: int) -> dict[str, NDArray[np.generic]]:
    """Make one fit; returns y, clean and hit (3, SIDE, SIDE) as bytes, and (rounds, 3, SIDE, SIDE) of the rest."""
    y, clean, hit = lessons.draw()
    config = PRESETS["quick"]
    assert isinstance(config, HeldOut)
    # Small crops for the steps: there are many more pictures to see than time.
    config = replace(config, steps=STEPS, rounds=ROUNDS, crop=80, hold=STEPS, seed=seed, look="always")
    fit = HeldOutFit(y, config)
    recorder = Recorder(fit.detection.look if seed % 3 else None)
    fit.detection.look = recorder
    for step in range(STEPS):
        fit.step(step / STEPS)
    predicted, scale, alone = (torch.cat(part).half().numpy() for part in zip(*recorder.seen, strict=True))
    seen = {"predicted": predicted, "scale": scale, "alone": alone}
    levels = {name: (255 * part[0]).round().byte().numpy() for name, part in (("y", y), ("clean", clean))}
    return {**levels, "hit": hit[0].bool().numpy(), **seen}


def main() -> None:
    """Make fits until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path, help="folder with the files that train_start.csv lists")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0, help="of the first fit; the next have the next ones")
    a = parser.parse_args()
    tune_process()
    a.out.mkdir(parents=True, exist_ok=True)
    photographs, drawn = pictures(a.photographs), pictures(a.photographs, "drawn")
    end, seed = time.monotonic() + 60 * a.minutes, a.seed
    while time.monotonic() < end:
        out = a.out / f"{seed:06}.npz"
        if not out.exists():
            np.savez(out, **rounds(Lessons(photographs, drawn, seed), seed))  # type: ignore[arg-type]
        seed += 1


if __name__ == "__main__":
    main()
