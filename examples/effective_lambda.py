"""The theory at work on an image: what the rate α and the start γ do, they do through λ = −log γ / (2α) alone.

A deep image prior with (u, v) is fitted to a corrupted crop, once for every pair (γ, α) of a grid of γ and λ. Against
α, the share of the corruption that is found and the PSNR of f make a curve for every γ; against λ the curves fall onto
each other: u∘u is of order one where the residual, summed over the steps times their rate, comes to λ. (At larger γ the
switch is softer, and the curves come apart a little.) The residual is clipped at 0.2, as in the preset dip.

    python examples/effective_lambda.py --out examples/benchmark/effective_lambda.png
"""

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from benchmark_restoration import machine

import dipsop
from dipsop.compute import tune_process
from dipsop.pictures import images, noise
from dipsop.pictures.picture import Array
from dipsop.pictures.quality import psnr
from dipsop.sop import alpha_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLE = Path(__file__).parents[1] / "images" / "coffee.png"
TOP, LEFT, SIDE = 150, 200, 128
FRACTION = 0.3  # of the values, random
INIT_SCALES = (1e-4, 1e-6, 1e-8)  # γ
LAMBDAS = (0.05, 0.1, 0.2, 0.4)

Point = tuple[float, float, float, float, float]  # γ, λ, α, share found, PSNR in dB


def picture(path: Path) -> Array:
    """Return the crop."""
    return images.load(path).values[TOP : TOP + SIDE, LEFT : LEFT + SIDE]


def fit(path: Path, init_scale: float, lam: float, steps: int) -> Point:
    """Fit with one pair, by one thread."""
    tune_process()
    import torch

    torch.set_num_threads(1)
    clean = picture(path)
    y, mask = noise.random_valued(clean, FRACTION, seed=0)
    alpha = alpha_for(lam, init_scale)
    config = dipsop.WholeImage(steps=steps, alpha=alpha, init_scale=init_scale)
    result = dipsop.restore(y, config)
    return init_scale, lam, alpha, float(result.corrupted[mask].mean()), psnr(result.network_output, clean)


def figure(points: Sequence[Point]) -> "Figure":
    """Share found above and PSNR below, against α on the left and against λ on the right."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(8.5, 5.5), layout="constrained")
    panels = drawing.subplots(2, 2, sharex="col", sharey="row")
    for init_scale in sorted({point[0] for point in points}, reverse=True):
        _, lams, alphas, found, decibels = zip(*(p for p in points if p[0] == init_scale), strict=True)
        for column, x in enumerate((alphas, lams)):
            panels[0, column].semilogx(x, 100 * np.array(found), "o-", label=f"γ = {init_scale:.0e}")
            panels[1, column].semilogx(x, decibels, "o-")
    panels[0, 0].set_ylabel("corrupted values found, %")
    panels[1, 0].set_ylabel("PSNR of f, dB")
    panels[1, 0].set_xlabel("α, rate of (u, v) over that of θ")
    panels[1, 1].set_xlabel("λ = −log γ / (2α)")
    panels[0, 0].legend()
    for panel in panels.flat:
        panel.grid(alpha=0.3)
        panel.minorticks_off()
    for panel, ticks in zip(panels[1], ((10, 20, 50, 100, 200), LAMBDAS), strict=True):
        panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    return drawing


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit with all pairs, print them, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, default=SAMPLE)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--jobs", type=int, default=2, help="fits side by side")
    parser.add_argument("--out", type=Path, default=Path("effective_lambda.png"))
    a = parser.parse_args(arguments)
    a.out.parent.mkdir(parents=True, exist_ok=True)
    pairs = [(a.image, init_scale, lam, a.steps) for init_scale in INIT_SCALES for lam in LAMBDAS]
    with ProcessPoolExecutor(a.jobs, mp_context=get_context("spawn")) as pool:
        points = list(pool.map(fit, *zip(*pairs, strict=True)))
    print("| γ | λ | α | found | PSNR |\n|---|---|---|---|---|")
    for init_scale, lam, alpha, found, decibels in points:
        print(f"| {init_scale:.0e} | {lam:g} | {alpha:.2f} | {found:.1%} | {decibels:.2f} |")
    figure(points).savefig(a.out, dpi=110)
    record = {"command": sys.argv, **machine(), "points": points}
    a.out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
