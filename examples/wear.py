"""What wears prints over the years, drawn at random for train_marks.py: cracks, nets of them, folds, flakes.

All have the signature of damage.py's: (random, draw, size, finer), the canvas being `finer` times larger.
"""

import itertools

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import ImageDraw
from scipy.spatial import Voronoi

Points = NDArray[np.float64]
STEP = 2.0  # pixels, in which a crack goes on
MOST_WAYS = 16  # into which one parts


def fracture(random: Generator, draw: ImageDraw.ImageDraw, size: tuple[int, int], finer: int) -> None:
    """A crack that keeps its way, with jags, and branches that get thinner."""
    width = random.uniform(0.7, 2.5) if random.random() < 0.8 else random.uniform(2.5, 6)
    length = int(np.exp(random.uniform(np.log(10), np.log(160))))
    ways = [(random.uniform(-0.1, 1.1, 2) * size, random.uniform(0, 2 * np.pi), width, length)]
    drawn = 0
    while ways and drawn < MOST_WAYS:
        at, heading, width, length = ways.pop()
        drawn += 1
        turns = heading + np.cumsum(random.normal(0, 0.05, length)) + random.normal(0, 0.5, length)
        steps = finer * random.uniform(0.5, 1.5, (length, 1)) * STEP * np.stack([np.cos(turns), np.sin(turns)], 1)
        points = at + np.cumsum(steps, 0)
        taper = np.linspace(1, 0.4, length)
        _stroke(random, draw, points, finer * width * taper)
        for where in np.flatnonzero(random.random(length) < 0.025):
            side = random.choice((-1, 1)) * random.uniform(0.4, 1.4)
            ways.append((points[where], turns[where] + side, 0.75 * width * taper[where], length // 2 + 2))


def craquelure(random: Generator, draw: ImageDraw.ImageDraw, size: tuple[int, int], finer: int) -> None:
    """A net of cracks, as a layer has that broke: the borders of Voronoi cells, some of them."""
    centre, radius = random.random(2) * size, finer * random.uniform(25, 200)
    apart = finer * random.uniform(10, 60)
    count = int(np.clip(4 * (radius / apart) ** 2, 6, 250))
    cells = Voronoi(centre + radius * random.normal(0, 0.5, (count, 2)))
    kept, width = random.uniform(0.3, 1), random.uniform(0.6, 1.8)
    for first, second in cells.ridge_vertices:
        if first < 0 or random.random() > kept:
            continue
        ends = cells.vertices[[first, second]]
        if np.abs(ends - centre).max() > 1.5 * radius:
            continue
        points = _jagged(random, ends, finer)
        _stroke(random, draw, points, np.full(len(points), finer * width * random.uniform(0.6, 1.3)))


def fold(random: Generator, draw: ImageDraw.ImageDraw, size: tuple[int, int], finer: int) -> None:
    """A straight line from border to border, broken in places, and flaked off beside it."""
    along = 0 if random.random() < 0.5 else 1
    ends = random.random((2, 2)) * size
    ends[:, along] = -0.1 * size[along], 1.1 * size[along]
    if random.random() < 0.6:  # upright, nearly: folded in the middle
        ends[1, 1 - along] = ends[0, 1 - along] + random.normal(0, 0.03) * size[1 - along]
    points = _jagged(random, ends, finer)
    width = finer * random.uniform(0.6, 2.5)
    knots = np.arange(0, len(points) + 12, 12)
    broken = np.interp(np.arange(len(points)), knots, random.normal(random.uniform(0.2, 1), 0.6, len(knots)))
    _stroke(random, draw, points, width * broken.clip(0, 2))
    for at in points[random.random(len(points)) < random.uniform(0, 0.15)]:
        _flake(random, draw, at + random.normal(0, width, 2), finer * random.uniform(1, 5))


def flakes(random: Generator, draw: ImageDraw.ImageDraw, size: tuple[int, int], finer: int) -> None:
    """Where the layer has come off: specks, many small and few large, of ragged outline."""
    for _ in range(int(np.exp(random.uniform(0, np.log(40))))):
        _flake(random, draw, random.random(2) * size, finer * np.exp(random.normal(0, 0.7)))


def _flake(random: Generator, draw: ImageDraw.ImageDraw, at: Points, radius: float) -> None:
    angles = np.linspace(0, 2 * np.pi, int(random.integers(6, 16)), endpoint=False)
    radii = radius * np.exp(random.normal(0, 0.35, len(angles)))
    turn, flat = random.uniform(0, 2 * np.pi), random.uniform(0.3, 1)
    x, y = radii * np.cos(angles), flat * radii * np.sin(angles)
    turned = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], 1)
    draw.polygon([tuple(point) for point in (at + turned).tolist()], fill=255)


def _jagged(random: Generator, ends: Points, finer: int) -> Points:
    """Points on the way between two, off it by what adds up."""
    length = float(np.linalg.norm(ends[1] - ends[0]))
    count = max(2, round(length / (finer * STEP)))
    along = np.linspace(0, 1, count)[:, None]
    walk = np.cumsum(random.normal(0, 0.3 * finer, (count, 2)), 0)
    points: Points = ends[0] + along * (ends[1] - ends[0]) + walk - along * walk[-1]
    return points


def _stroke(random: Generator, draw: ImageDraw.ImageDraw, points: Points, widths: NDArray[np.float64]) -> None:
    widths = widths * np.exp(random.normal(0, 0.25, len(widths)))
    for (start, end), width in zip(itertools.pairwise(points), widths, strict=False):
        if width >= 0.5:
            draw.line([tuple(start), tuple(end)], 255, max(1, round(width)))
