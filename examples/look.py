"""What does the look bring to a held-out fit (dipsop/restoration/look.py)?

    python examples/look.py PICTURE... --corruption random-valued:0.3 --crop 160 --steps 60

Printed is the PSNR in dB without the outer 8 pixels, as the fit goes on, with the look heeded never, as it is by
default, and always; and what share of the corrupted values was found, and of the clean ones with them.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from benchmark_restoration import corrupted, inner
from numpy.typing import NDArray
from torch import Tensor

from dipsop import PRESETS
from dipsop.compute import tune_process
from dipsop.pictures import images
from dipsop.pictures.quality import psnr
from dipsop.restoration.config import HeldOut, Looking
from dipsop.restoration.fit import as_tensor
from dipsop.restoration.held_out import HeldOutFit

LOOKED_AT = (1, 2, 3, 5, 10, 25, 50, 100, 200, 400)  # steps


def course(fit: HeldOutFit, steps: int, truth: Tensor) -> str:
    """Return what PSNR the fit has after some of its steps, and what it has found by then."""

    def array(picture: Tensor) -> NDArray[np.float32]:
        return picture[0].permute(1, 2, 0).numpy()

    hit, said = fit.y != truth, []
    for step in range(1, steps + 1):
        fit.step((step - 1) / steps)
        if step in LOOKED_AT or step == steps:
            restored = fit.restored(fit.network_output())
            said.append(f"{step}: {psnr(inner(array(restored)), inner(array(truth))):.2f}")
    found = fit.found()
    shares = f"found {float(found[hit].float().mean()):.1%} and {float(found[~hit].float().mean()):.2%}"
    return f"{'  '.join(said)}  ({shares})"


def main() -> None:
    """Fit to every picture three times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--corruption", default="random-valued:0.3", help="as for benchmark_restoration.py")
    parser.add_argument("--crop", type=int, help="take so many pixels of the middle")
    parser.add_argument("--steps", type=int, default=60)
    a = parser.parse_args()
    tune_process()
    config = replace(PRESETS["quick"], steps=a.steps)
    assert isinstance(config, HeldOut)
    for path in a.pictures:
        values = images.load(path).values
        if a.crop:
            top, left = ((length - a.crop) // 2 for length in values.shape[:2])
            values = values[top : top + a.crop, left : left + a.crop]
        clean, y, _ = corrupted(values, a.corruption, seed=0)
        truth, seen = (as_tensor(part, torch.device("cpu")) for part in (clean, y))
        for look in get_args(Looking):
            fit = HeldOutFit(seen, replace(config, look=look))
            print(f"{path.name} {a.corruption} look {look:8}{course(fit, a.steps, truth)}", flush=True)


if __name__ == "__main__":
    main()
