"""How much of what is dead in every frame of a camera is found, and how much else is taken for it.

    python examples/series.py images/astronaut.png images/chelsea.png images/coffee.png images/camera.png

Every frame is a crop of a picture, at an exposure and with sensor noise of its own; a few of its values, the same ones
in all frames, are dead (0), hot (1), stuck at a grey, or too bright by 0.3. With --same all frames show one crop: on a
tripod.
"""

import argparse
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import dipsop
from dipsop.pictures import images

KINDS = ("dead", "hot", "stuck", "too bright")
NONE = len(KINDS)


def frames(pictures: Sequence[Path], count: int, side: int, same: bool, seed: int) -> Iterator[NDArray[np.float64]]:
    """Crops of the pictures in turn, (side, side, 3) in [0, 1], with noise of 2 of 255 levels."""
    rng = np.random.default_rng(seed)
    scenes = [np.broadcast_to((v := images.load(path).values), (*v.shape[:2], 3)) for path in pictures]
    first = scenes[seed % len(scenes)]
    corner = [int(rng.integers(length - side + 1)) for length in first.shape[:2]]
    for scene in itertools.islice(itertools.cycle([first] if same else scenes), count):
        if not same:
            corner = [int(rng.integers(length - side + 1)) for length in scene.shape[:2]]
        crop = scene[corner[0] : corner[0] + side, corner[1] : corner[1] + side]
        exposure = rng.uniform(0.9, 1.1) if same else rng.uniform(0.5, 1.1)
        yield np.clip(exposure * crop + rng.normal(0, 2 / 255, crop.shape), 0, 1)


def broken(frame: NDArray[np.float64], kind: NDArray[np.int_], level: NDArray[np.float64]) -> NDArray[np.uint8]:
    """What the camera writes: the frame with the values of each kind replaced, in 8 bits."""
    values = np.choose(kind, [np.zeros_like(frame), np.ones_like(frame), level, np.clip(frame + 0.3, 0, 1), frame])
    eight_bits: NDArray[np.uint8] = np.rint(255 * values).astype(np.uint8)
    return eight_bits


def measure(pictures: Sequence[Path], count: int, side: int, share: float, same: bool, seed: int) -> NDArray[np.int_]:
    """Of each kind, and of the clean values: how many there are, and how many were found, (5, 2)."""
    rng = np.random.default_rng([seed, 1])
    shape = (side, side, 3)
    kind = np.where(rng.random(shape) < share, rng.integers(NONE, size=shape), NONE)
    level = rng.uniform(0.2, 0.8, shape)
    found = dipsop.dead_pixels(broken(frame, kind, level) for frame in frames(pictures, count, side, same, seed))
    return np.stack([np.bincount(kind.ravel(), minlength=5), np.bincount(kind[found], minlength=5)], 1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a line for each kind and for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--side", type=int, default=256, help="pixels")
    parser.add_argument("--share", type=float, default=0.002, help="of the values")
    parser.add_argument("--same", action="store_true", help="one scene in all frames")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3], help="one series each")
    a = parser.parse_args(arguments)
    counts = np.sum([measure(a.pictures, a.frames, a.side, a.share, a.same, seed) for seed in a.seeds], axis=0)
    for name, (there, found) in zip(KINDS, counts, strict=False):
        print(f"{name:<12} {found} of {there}")
    there, found = counts[:NONE].sum(0)
    clean, false = counts[NONE]
    print(f"recall {found / max(there, 1):.4f}, false alarms {100 * false / clean:.5f} % ({false} of {clean})")


if __name__ == "__main__":
    main()
