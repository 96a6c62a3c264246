"""Damage of real kinds on the sample pictures: what is taken out, and what is not.

    python examples/real_damage.py --out examples/real_damage.png

Draws a row for every kind: the damaged picture, what `dipsop restore` makes of it, told nothing, and what it found.
examples/real_damage.md shows the picture and says what to learn from it.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import wear
from benchmark_restoration import SAMPLES
from damage import drawn_cover
from gallery import grid
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import dipsop
from dipsop.pictures import images, noise
from dipsop.pictures.picture import Array
from dipsop.pictures.quality import psnr

SIDE = 256
DARK, PAPER = (0.16, 0.11, 0.07), (0.96, 0.90, 0.76)  # of an old print
Damage = Callable[[Array, np.random.Generator], Array]


def _drawn(clean: Array, draw: Callable[[ImageDraw.ImageDraw], object]) -> NDArray[np.bool_]:
    canvas = Image.new("1", clean.shape[1::-1])
    draw(ImageDraw.Draw(canvas))
    return np.array(canvas)


def specks(clean: Array, rng: np.random.Generator) -> Array:
    """Dust on a scan: 300 dark or light grains of one to four pixels across."""
    damaged = clean.copy()
    for _ in range(300):
        x, y = rng.random(2) * (clean.shape[1], clean.shape[0])
        r = rng.random() * 1.6
        grain = _drawn(clean, lambda d, x=x, y=y, r=r: d.ellipse((x - r, y - r, x + r, y + r), fill=1))  # type: ignore[misc]
        damaged[grain] = rng.choice([0.08, 0.95]) + 0.05 * rng.normal()
    return damaged.clip(0, 1)


def dead_pixels(clean: Array, rng: np.random.Generator) -> Array:
    """A sensor's dead, hot and stuck pixels: 0.3 % of the values of a colour frame, at any level."""
    return noise.random_valued(clean, 0.003, int(rng.integers(1 << 30)))[0]


def lettering(clean: Array, rng: np.random.Generator) -> Array:
    """Thin scratches and small lettering over 3 % of the pixels."""
    return noise.scratches_and_lettering(clean, int(rng.integers(1 << 30)), 0.03)[0]


def salt(clean: Array, rng: np.random.Generator) -> Array:
    """A page full of specks: black and white on 5 % of its pixels."""
    return noise.salt_and_pepper(clean, 0.05, int(rng.integers(1 << 30)), shared=True)[0]


def wide_scratch(clean: Array, rng: np.random.Generator) -> Array:
    """Two scratches, nine pixels wide."""
    damaged = clean.copy()
    for ends in ((30, 0, 90, 255), (0, 200, 255, 120)):
        damaged[_drawn(clean, lambda d, ends=ends: d.line(ends, fill=1, width=9))] = 0.9  # type: ignore[misc]
    return damaged


def cracks(clean: Array, rng: np.random.Generator) -> Array:
    """Cracks, a fold and flakes of an old print, of the colour of its paper."""
    damaged = clean
    for draw in (wear.fracture, wear.fracture, wear.fracture, wear.fracture, wear.fracture, wear.fold, wear.flakes):
        cover = drawn_cover(rng, SIDE, SIDE, draw)[..., None]
        damaged = damaged + cover * (np.array(PAPER, np.float32) - damaged)
    return damaged


def hole(clean: Array, rng: np.random.Generator) -> Array:
    """A torn corner and a hole of 40 × 40 pixels."""
    damaged = clean.copy()
    damaged[100:140, 90:130] = 1
    damaged[:60, :60][np.add.outer(np.arange(60), np.arange(60)) < 60] = 1
    return damaged


def gaussian(clean: Array, rng: np.random.Generator) -> Array:
    """Noise on all values, of standard deviation 0.08: it is not sparse."""
    return (clean + 0.08 * rng.normal(size=clean.shape)).clip(0, 1).astype(np.float32)


def sample(name: str, top: int, left: int) -> Array:
    """A crop of a sample picture."""
    return images.load(SAMPLES / f"{name}.png").values[top : top + SIDE, left : left + SIDE]


def page() -> Array:
    """A page of text, grey, on paper that is not quite even."""
    paper = Image.new("L", (SIDE, SIDE), 235)
    draw = ImageDraw.Draw(paper)
    text = "A picture is corrupted in an unknown and sparse way, and what was there before is to be found again. " * 8
    for line in range(14):
        draw.text((8, 6 + 18 * line), text[36 * line :][:40], fill=40, font=ImageFont.load_default(13))
    shade = np.linspace(0, 0.05, SIDE, dtype=np.float32)
    return (np.asarray(paper, np.float32)[..., None] / 255 - shade[:, None, None]).clip(0, 1)


def old_print(name: str, top: int, left: int) -> Array:
    """A crop of a sample picture in tones from brown to yellowed paper."""
    tone: Array = sample(name, top, left).mean(2, keepdims=True)
    dark, paper = np.array(DARK, np.float32), np.array(PAPER, np.float32)
    return dark + (paper - dark) * tone


def kinds() -> dict[str, tuple[Callable[[], Array], Damage]]:
    """Every kind of damage with the picture that it is done to."""
    return {
        "clean page": (page, lambda clean, rng: clean),
        "dust on a scan": (lambda: sample("coffee", 70, 150), specks),
        "dead pixels": (lambda: sample("astronaut", 0, 120), dead_pixels),
        "page with specks": (page, salt),
        "scratches, lettering": (lambda: sample("chelsea", 20, 90), lettering),
        "wide scratches": (lambda: sample("chelsea", 20, 90), wide_scratch),
        "cracks of an old print": (lambda: old_print("astronaut", 0, 120), cracks),
        "holes": (lambda: sample("coffee", 70, 150), hole),
        "Gaussian noise": (lambda: sample("astronaut", 0, 120), gaussian),
    }


def row(name: str, clean: Array, damage: Damage, config: dipsop.HeldOut) -> dict[str, tuple[Array, str]]:
    """Damage, restore, and return what is to be seen with its caption."""
    clean, damaged = (
        (np.rint(255 * picture) / 255).astype(np.float32)
        for picture in (clean, damage(clean, np.random.default_rng(0)))
    )
    result = dipsop.restore(damaged, config)
    return {
        "damaged": (damaged, f"{name}, {_decibel(damaged, clean)}"),
        "restored": (result.image, f"restored, {_decibel(result.image, clean)}"),
        "found": (result.corrupted.max(2, keepdims=True).astype(np.float32), f"found, {result.corrupted.mean():.2%}"),
    }


def _decibel(picture: Array, clean: Array) -> str:
    return "no change" if np.array_equal(picture, clean) else f"{psnr(picture, clean):.1f} dB"


def main(arguments: Sequence[str] | None = None) -> None:
    """Damage, restore and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=list(kinds()), choices=list(kinds()))
    parser.add_argument("--steps", type=int, help="instead of the preset's")
    parser.add_argument("--out", type=Path, default=Path("real_damage.png"))
    a = parser.parse_args(arguments)
    quick = dipsop.PRESETS["quick"]
    assert isinstance(quick, dipsop.HeldOut)
    config = quick if a.steps is None else replace(quick, steps=a.steps)
    rows = [row(name, make(), damage, config) for name, (make, damage) in kinds().items() if name in a.kinds]
    grid(rows, None, a.out)


if __name__ == "__main__":
    main()
