"""The picture at the top of the README: corrupted, restored, and the corruption that was found, side by side.

    python examples/before_after.py images/astronaut_random_valued_30.png --out before_after.png

The last part shows u∘u − v∘v around mid-grey: brighter where a value was too bright, darker where it was too dark.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import dipsop
from dipsop.pictures import images

GAP = 8  # white pixels between the parts


def panels(corrupted: NDArray[np.float32], config: dipsop.HeldOut | dipsop.WholeImage) -> list[NDArray[np.float32]]:
    """Return the corrupted picture, the restored one and the corruption found, each (H, W, C) in [0, 1]."""
    result = dipsop.restore(corrupted, config)
    return [corrupted, result.image, np.clip(0.5 + 0.5 * result.sparse_corruption, 0, 1)]


def side_by_side(parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Put pictures of one height beside each other."""
    gap = np.ones((parts[0].shape[0], GAP, parts[0].shape[2]), np.float32)
    return np.concatenate([piece for part in parts for piece in (gap, part)][1:], axis=1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Restore each picture given and stack the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corrupted", nargs="+", type=Path, help="pictures of one size")
    parser.add_argument("--out", type=Path, default=Path("before_after.png"))
    parser.add_argument("--preset", choices=list(dipsop.PRESETS), default="quick")
    parser.add_argument("--steps", type=int, help="instead of the preset's")
    parser.add_argument("--crop", type=int, nargs=4, metavar=("TOP", "LEFT", "HEIGHT", "WIDTH"), help="show only this")
    a = parser.parse_args(arguments)
    config = dipsop.PRESETS[a.preset]
    config = config if a.steps is None else replace(config, steps=a.steps)
    top, left, height, width = a.crop or (0, 0, None, None)
    shown = np.s_[top : height and top + height, left : width and left + width]
    rows = [side_by_side([part[shown] for part in panels(images.load(path).values, config)]) for path in a.corrupted]
    gap = np.ones((GAP, *rows[0].shape[1:]), np.float32)
    images.save_values(a.out, np.concatenate([piece for row in rows for piece in (gap, row)][1:]))


if __name__ == "__main__":
    main()
