"""How fast a step is against what the processor can do, and how time and memory grow with the picture.

    python examples/speed.py --out speed                    # speed/speed.json, speed/time_vs_pixels.png
    python examples/speed.py --sizes 512x512 2048x1536 --out speed

Convolution rate: the best that 3×3 convolutions reach here, forward and backward, at the crops of a step, counted by
their floating-point operations; a step's rate is its operations over its time, all that it does besides included.
Pictures for the sizes are a sample, resized, with random values on 30 % of its values; PSNR is that of the result and
of the best median filter, which the truth picks, in dB. "Seam": the mean absolute jump of f across the borders of the
tiles over that across the lines beside them, divided by the same of the truth; 1 where no seam shows.
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from benchmark_restoration import SAMPLES, machine
from PIL import Image
from rivals import best_median
from torch.utils.flop_counter import FlopCounterMode

import dipsop
from dipsop.compute import autocast, tune_process
from dipsop.files import save_json
from dipsop.pictures import noise
from dipsop.pictures.picture import Array
from dipsop.pictures.quality import psnr
from dipsop.pictures.tiles import TILE
from dipsop.restoration.fit import as_tensor
from dipsop.restoration.held_out import HeldOutFit

SIZES = ["64x64", "128x128", "256x256", "512x512", "1024x1024", "2048x1536", "4000x3000"]
MOST_PIXELS_OF_MEDIAN = 4_000_000  # takes minutes beyond
QUICK = cast(dipsop.HeldOut, dipsop.PRESETS["quick"])


def median_seconds(call: Callable[[], object], times: int = 15) -> float:
    """Median time of a call, after two that do not count."""
    taken = []
    for _ in range(times + 2):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[2:])


def convolution_rate() -> float:
    """Best rate of 3×3 convolutions, forward and backward, FLOP/s."""

    def rate(channels: int) -> float:
        x = torch.randn(QUICK.batch, channels, QUICK.crop, QUICK.crop).contiguous(memory_format=torch.channels_last)
        x.requires_grad_()
        layer = torch.nn.Conv2d(channels, channels, 3, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        sign = torch.ones_like(x)

        def once() -> None:
            with autocast(x.device, QUICK.dtype):
                out = layer(x)
            out.backward(sign.to(out.dtype))

        return 3 * 2 * x.numel() * channels * 9 / median_seconds(once)

    return max(map(rate, (32, 64, 96, 128)))


def step_rate() -> tuple[float, float, float]:
    """Return FLOP and seconds of a step of `quick` at 512×512, and seconds of a round that is not the last."""
    fit = HeldOutFit(as_tensor(sample(512, 512)[1], torch.device("cpu")), replace(QUICK, first_rounds=0))
    with FlopCounterMode(display=False) as counter:
        fit.step(0.0)
    flop = float(counter.get_total_flops())
    return flop, median_seconds(lambda: fit.step(0.0), 40), median_seconds(fit.detect, 3)


def sample(width: int, height: int) -> tuple[Array, Array]:
    """The astronaut, resized, clean and corrupted, (height, width, 3)."""
    with Image.open(SAMPLES / "astronaut.png") as picture:
        resized = picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    clean = np.asarray(resized, np.float32) / np.float32(255)
    return clean, noise.random_valued(clean, 0.3, seed=0)[0]


def jump_at_borders(f: Array) -> float:
    """How much larger the jumps across the borders of tiles are than those beside them; 1 where there is one tile."""
    ratios = []
    for axis in (0, 1):
        jumps = np.abs(np.diff(f, axis=axis)).mean((1 - axis, 2))
        borders = np.arange(TILE - 1, len(jumps), TILE)
        if len(borders):
            # Against the lines beside them: how much content jumps is not the same all over a picture.
            beside = np.concatenate(
                [borders - k for k in range(2, 12)] + [np.minimum(borders + k, len(jumps) - 1) for k in range(2, 12)]
            )
            ratios.append(jumps[borders].mean() / jumps[beside].mean())
    return float(np.mean(ratios)) if ratios else 1.0


def measure(size: str, preset: str) -> dict[str, Any]:
    """Restore one picture in this process."""
    width, height = map(int, size.split("x"))
    tune_process()
    clean, image = sample(width, height)
    start = time.perf_counter()
    result = dipsop.restore(image, preset)
    seconds, memory = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "size": size,
        "pixels": width * height,
        "seconds": seconds,
        "peak_memory": memory,
        "psnr": psnr(result.image, clean),
        "psnr_best_median": psnr(best_median(image, clean), clean) if width * height <= MOST_PIXELS_OF_MEDIAN else None,
        "seam": jump_at_borders(result.network_output) / jump_at_borders(clean),
    }


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Seconds and memory against pixels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    pixels = [row["pixels"] / 1e6 for row in rows]
    for ax, key, unit, label in zip(
        axes, ("seconds", "peak_memory"), (1, 2**30), ("seconds", "peak memory, GiB"), strict=True
    ):
        ax.loglog(pixels, [row[key] / unit for row in rows], "o-")
        ax.set(xlabel="megapixels", ylabel=label)
        ax.xaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter("{x:g}")
        ax.grid(True, which="both", alpha=0.3)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure and write DIR/speed.json and DIR/time_vs_pixels.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="*", default=SIZES, help="WIDTHxHEIGHT (default: " + " ".join(SIZES) + ")")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--out", type=Path, default=Path("speed"))
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    tune_process()
    best = convolution_rate()
    flop, step, detection = step_rate()
    record = {
        **machine(),
        "convolution_flop_per_second": best,
        "step_flop": flop,
        "step_seconds": step,
        "step_share_of_convolution_rate": flop / step / best,
        "round_seconds": detection,
    }
    print(f"convolution {best / 1e9:.0f} GFLOP/s; a step {flop / 1e9:.1f} GFLOP in {1e3 * step:.1f} ms, ", end="")
    print(f"{flop / step / 1e9:.0f} GFLOP/s, {flop / step / best:.0%} of it; a round {detection:.2f} s", flush=True)
    rows: list[dict[str, Any]] = []
    for size in a.sizes:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            row = process.submit(measure, size, a.preset).result()
        rows.append(row)
        print(
            f"{size}: {row['seconds']:.0f} s, {row['peak_memory'] / 2**30:.2f} GiB, {row['psnr']:.1f} dB, "
            f"seam {row['seam']:.3f}",
            flush=True,
        )
        save_json(a.out / "speed.json", {**record, "sizes": rows})
    if rows:
        plot(rows, a.out / "time_vs_pixels.png")


if __name__ == "__main__":
    main()
