"""A grid of zoomed crops: what is corrupted, what rivals and dipsop make of it, the truth, and the corruption found.

    python examples/gallery.py images/coffee.png images/chelsea.png --crop 40 100 112 112 --out gallery.png

One row for every picture and corruption; "best median" is the best of three by the truth, dipsop is told nothing.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from benchmark_restoration import corrupted, problems
from numpy.typing import NDArray
from rivals import best_median, extremes_filled, total_variation

import dipsop
from dipsop.pictures import images
from dipsop.pictures.picture import Array
from dipsop.pictures.quality import psnr

CORRUPTIONS = ["random-valued:0.3", "salt-and-pepper:0.5"]


def row(path: Path, corruption: str, preset: str, side: int | None) -> dict[str, tuple[Array, str]]:
    """Return picture and caption by name."""
    truth, image, _ = corrupted(images.load(path).values[:side, :side], corruption, seed=0)
    ours = dipsop.restore(image, preset)
    pictures = {
        "input": image,
        "best median": best_median(image, truth),
        "total variation": total_variation(image, truth),
        "extremes filled": extremes_filled(image, truth),
        "dipsop": ours.image,
    }
    shown = {name: (p.clip(0, 1), f"{name}, {psnr(p.clip(0, 1), truth):.1f} dB") for name, p in pictures.items()}
    found = (0.5 + 0.5 * ours.sparse_corruption).clip(0, 1)
    return {**shown, "truth": (truth, "truth"), "found": (found, "u∘u − v∘v, grey where 0")}


def grid(rows: Sequence[dict[str, tuple[Array, str]]], crop: Sequence[int] | None, out: Path) -> None:
    """Draw the rows below each other, each picture cut to `crop` (top, left, height, width)."""
    from matplotlib.figure import Figure

    columns = len(rows[0])
    figure = Figure(figsize=(2.1 * columns, 2.3 * len(rows)), layout="constrained")
    axes: NDArray[np.object_] = figure.subplots(len(rows), columns, squeeze=False)
    top, left, height, width = crop or (0, 0, None, None)
    for line, pictures in zip(axes, rows, strict=True):
        for ax, (picture, caption) in zip(line, pictures.values(), strict=True):
            cut = picture[top : height and top + height, left : width and left + width]
            ax.imshow(cut if cut.shape[-1] == 3 else cut[..., 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            ax.set_title(caption, fontsize=8)
            ax.set_axis_off()
    figure.savefig(out, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """Restore and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--corruptions", nargs="+", default=CORRUPTIONS, help="as in benchmark_restoration.py")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--crop", nargs=4, type=int, metavar=("TOP", "LEFT", "HEIGHT", "WIDTH"))
    parser.add_argument("--side", type=int, help="work on so many pixels of each picture only, for a try")
    parser.add_argument("--out", type=Path, default=Path("gallery.png"))
    a = parser.parse_args(arguments)
    for problem in problems(a.corruptions, [f"ours:{a.preset}"]):
        parser.error(problem)
    rows = [row(path, corruption, a.preset, a.side) for path in a.pictures for corruption in a.corruptions]
    grid(rows, a.crop, a.out)


if __name__ == "__main__":
    main()
