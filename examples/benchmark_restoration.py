"""Methods × pictures × corruptions: PSNR, seconds and peak memory, as a table and as JSON.

    python examples/benchmark_restoration.py --out benchmark
    python examples/benchmark_restoration.py --images mine/*.png --corruptions random-valued:0.3 --methods ours:best

Every run has a fresh process of its own, one at a time, so that its peak memory is its own. PSNR is in dB over all
channels; "inner" leaves out the outer 8 pixels, where scans often have a frame of wrong values. Pictures are corrupted
with the seed and rounded to 8 bits, as a file holds them. Rivals see what ours sees, except that "best median" is the
best of 3×3, 5×5 and 7×7 by the truth, in its favour, and that "extremes filled" knows the suspects: 0 and 1.
"""

import argparse
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dipsop
from dipsop.restoration import images, noise
from dipsop.restoration.quality import Array, psnr

FRAME = 8  # pixels left out on each side for "inner"
SAMPLES = Path(__file__).parents[1] / "images"
PICTURES = [SAMPLES / f"{name}.png" for name in ("astronaut", "chelsea", "coffee", "camera")]
CORRUPTIONS = ["random-valued:0.3", "salt-and-pepper:0.5"]
METHODS = ["input", "best median", "extremes filled", "ours:quick"]


@dataclass(frozen=True)
class Run:
    """One method on one corrupted picture: PSNR in dB, seconds, peak memory in bytes, share of clean values changed."""

    picture: str
    corruption: str
    method: str
    psnr: float
    psnr_inner: float
    seconds: float
    peak_memory: int
    clean_changed: float


def corrupted(clean: Array, corruption: str, seed: int) -> tuple[Array, NDArray[np.bool_]]:
    """Return the corrupted picture at 8 bits and where it was hit; `corruption` is kind:fraction[:shared]."""
    kind, fraction, *shared = corruption.split(":")
    model = {"random-valued": noise.random_valued, "salt-and-pepper": noise.salt_and_pepper}[kind]
    values, mask = model(clean, float(fraction), seed, shared=bool(shared))
    return (np.rint(values * 255) / 255).astype(np.float32), mask


def best_median(image: Array, truth: Array) -> Array:
    """Return the best of the 3×3, 5×5 and 7×7 medians, channel by channel, by the truth."""
    from skimage.filters import median

    def filtered(side: int) -> Array:
        footprint = np.ones((side, side), bool)
        return np.stack([median(image[..., c], footprint) for c in range(image.shape[-1])], -1)

    return max((filtered(side) for side in (3, 5, 7)), key=lambda candidate: psnr(candidate, truth))


def extremes_filled(image: Array, truth: Array) -> Array:
    """Take every value at 0 or 1 for corrupted and fill it biharmonically from the others, channel by channel."""
    from skimage.restoration import inpaint_biharmonic

    def filled(channel: Array) -> Array:
        extreme = (channel == 0) | (channel == 1)
        return inpaint_biharmonic(channel, extreme) if extreme.any() else channel

    return np.stack([filled(image[..., c]) for c in range(image.shape[-1])], -1)


def ours(preset: str, steps: int | None) -> Callable[[Array, Array], Array]:
    """Return the restoration by a preset; the truth is not looked at."""
    config = dipsop.PRESETS[preset]
    config = config if steps is None else replace(config, steps=steps)
    return lambda image, truth: dipsop.restore(image, config).image


def method(name: str, steps: int | None) -> Callable[[Array, Array], Array]:
    """Return the function (image, truth) → picture of that name."""
    if name.startswith("ours:"):
        return ours(name.removeprefix("ours:"), steps)
    rivals = {"input": lambda image, truth: image, "best median": best_median, "extremes filled": extremes_filled}
    return rivals[name]


def measure(path: Path, corruption: str, name: str, seed: int, steps: int | None, side: int | None) -> Run:
    """Run one method on one picture, in this process."""
    truth = images.load(path).values[:side, :side]
    image, mask = corrupted(truth, corruption, seed)
    restored_by = method(name, steps)
    start = time.perf_counter()
    picture = restored_by(image, truth).clip(0, 1)
    seconds = time.perf_counter() - start
    inner = np.s_[FRAME:-FRAME, FRAME:-FRAME]
    return Run(
        picture=path.stem,
        corruption=corruption,
        method=name,
        psnr=psnr(picture, truth),
        psnr_inner=psnr(picture[inner], truth[inner]),
        seconds=seconds,
        peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        clean_changed=float(np.mean(picture[~mask] != image[~mask])),
    )


def benchmark(
    pictures: Iterable[Path],
    corruptions: Sequence[str] = CORRUPTIONS,
    methods: Sequence[str] = METHODS,
    seed: int = 0,
    steps: int | None = None,
    side: int | None = None,
) -> Iterator[Run]:
    """Run every method on every corrupted picture, each in a fresh process.

    Parameters
    ----------
    pictures : paths of clean pictures
    corruptions, methods : names as on the command line
    seed : of the corruption
    steps : of our fits, instead of the preset's
    side : crop the pictures to this many pixels, for a try
    """
    for path in pictures:
        for corruption in corruptions:
            for name in methods:
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                    yield process.submit(measure, path, corruption, name, seed, steps, side).result()


def table(runs: Sequence[Run]) -> str:
    """Lay out "inner / whole" PSNR as a Markdown table, with the mean over the pictures and medians of the cost."""
    pictures = list(dict.fromkeys(run.picture for run in runs))
    lines = [
        "| corruption | method | " + " | ".join(pictures) + " | mean inner | seconds | memory | clean values changed |",
        "|---|---|" + "---|" * (len(pictures) + 4),
    ]
    for corruption, name in dict.fromkeys((run.corruption, run.method) for run in runs):
        row = [run for run in runs if (run.corruption, run.method) == (corruption, name)]
        cells = [f"{run.psnr_inner:.1f} / {run.psnr:.1f}" for run in row]
        cells += [
            f"{np.mean([run.psnr_inner for run in row]):.2f}",
            f"{np.median([run.seconds for run in row]):.1f}",
            f"{max(run.peak_memory for run in row) / 2**30:.2f} GiB",
            f"{np.mean([run.clean_changed for run in row]):.2%}",
        ]
        lines.append(f"| {corruption} | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """Say what the numbers were measured on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("dipsop", "torch", "numpy", "scikit-image")},
        "date": time.strftime("%Y-%m-%d"),
    }


def main() -> None:
    """Run the benchmark and write DIR/benchmark.md and DIR/benchmark.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", nargs="+", type=Path, default=PICTURES, help="clean pictures (default: images/)")
    parser.add_argument("--corruptions", nargs="+", default=CORRUPTIONS, help="kind:fraction[:shared]")
    parser.add_argument("--methods", nargs="+", default=METHODS, help="among: " + ", ".join(METHODS) + ", ours:PRESET")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="of our fits, instead of the preset's")
    parser.add_argument("--side", type=int, help="crop pictures to this many pixels")
    parser.add_argument("--out", type=Path, default=Path("benchmark"), help="folder for the record")
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    runs = []
    for run in benchmark(a.images, a.corruptions, a.methods, a.seed, a.steps, a.side):
        runs.append(run)
        print(
            f"{run.picture} {run.corruption} {run.method}: {run.psnr_inner:.2f} dB, {run.seconds:.1f} s",
            file=sys.stderr,
        )
        record = {"command": sys.argv, "seed": a.seed, **machine(), "runs": [asdict(run) for run in runs]}
        (a.out / "benchmark.json").write_text(json.dumps(record, indent=1))
        (a.out / "benchmark.md").write_text(table(runs) + "\n")
    print(table(runs))


if __name__ == "__main__":
    main()
