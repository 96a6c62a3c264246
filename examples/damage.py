"""What goes wrong with pictures, drawn at random: noise, dead pixels and lines, strokes, lettering, dust; and print.

For training alone (look_rounds.py); what is measured on is dipsop's own noise (dipsop/pictures/noise.py) and real
damage. All on float32 arrays (H, W, C) in [0, 1].
"""

import functools
import io
import string
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from dipsop.pictures import noise

Picture = NDArray[np.float32]
LEAST_CHANGE = 1.5 / 255  # what is changed by less is no corruption
LEAST_CHANGE_SCANNED = 8 / 255  # the same where JPEG and blur spread what is changed
FINER = 3  # strokes are drawn so many times larger, and made smaller: that makes soft edges of the right kind
SIGNS = string.ascii_letters + string.digits + string.punctuation
WORDS = ("the", "of", "and", "to", "in", "that", "is", "was", "for", "it", "with", "his", "but", "from", "which")


def damaged(random: Generator, clean: Picture) -> tuple[Picture, Picture, NDArray[np.bool_]]:
    """Return (y, x, hit): a picture with damage of a random kind, or none; without it; which values it changed.

    What is scanned after the damage goes through JPEG or a small blur with it.
    """
    y, kind = clean, random.random()
    if kind > 0.70:
        y = marked(random, y)
    if 0.12 < kind < 0.78:
        y = noisy(random, y, most=0.75 if kind < 0.70 else 0.3)
    y, clean = _levels(y), _levels(clean)
    after = random.random()
    if kind < 0.78 or after > 0.4:
        return y, clean, np.abs(y - clean) > LEAST_CHANGE
    if after < 0.25:
        quality = int(random.integers(75, 98))
        y, clean = _jpeg(y, quality), _jpeg(clean, quality)
    else:
        sigma = random.uniform(0.3, 0.8)
        y, clean = _blurred(y, sigma), _blurred(clean, sigma)
    return y, clean, np.abs(y - clean) > LEAST_CHANGE_SCANNED


def noisy(random: Generator, picture: Picture, most: float) -> Picture:
    """Replace a share of the values, of the pixels or of pairs of them, by anything, black and white, or few levels."""
    height, width, channels = picture.shape
    share = 10 ** random.uniform(-4, -1.5) if random.random() < 0.3 else 0.02 + (most - 0.02) * random.random() ** 1.5
    whole = channels == 1 or random.random() < 0.35
    values, is_coloured = _values(random, picture.shape, whole)
    if is_coloured:
        share = 0.7 * share  # of one colour: were there more of it than of the picture, it would be the picture
    hit = random.random((height, width, 1 if whole else channels)) < share
    if random.random() < 0.08:  # dead pixels come in pairs and clusters, too
        hit = hit | np.roll(hit, random.integers(-1, 2, 2), (0, 1))
    return np.where(hit, values, picture).astype(np.float32)


def _values(random: Generator, shape: tuple[int, ...], whole: bool) -> tuple[NDArray[np.float64], bool]:
    """Return values of noise, and whether they are of one colour or a few."""
    kind = random.random()
    if kind < 0.55:
        low, high = (0.0, 1.0) if random.random() < 0.8 else np.sort(random.random(2))
        return random.uniform(low, high, shape), False
    shape = (*shape[:2], 1) if whole else shape
    if kind < 0.8:
        drawn, white = random.random(shape), random.choice((0.5, 0.5, 0.0, 1.0, 0.8))
        return np.where(drawn < white, 1.0, 0.0), white in (0, 1)
    levels = random.random((int(random.integers(1, 5)), shape[2]))
    # In channels that are hit one by one, each takes its own of these levels.
    chosen = random.integers(len(levels), size=shape)
    return np.take_along_axis(levels, chosen.reshape(-1, shape[2]), 0).reshape(shape), levels.size < 12


def marked(random: Generator, picture: Picture) -> Picture:
    """Lay scratches, hairs, cracks, letters, dust and dead lines over up to 15 % of the pixels."""
    height, width, channels = picture.shape
    most, covered = 0.15 * random.random() ** 2 + 0.004, np.zeros((height, width), bool)
    drawers: list[Callable[..., None]] = [scratch, scratch, hair, crack, letters, letters, dust, dust]
    usual = drawers[random.integers(len(drawers))]  # of one kind, mostly
    colour = _colour(random, channels)
    for _ in range(40):
        draw = usual if random.random() < 0.8 else drawers[random.integers(len(drawers))]
        cover = drawn_cover(random, height, width, draw)
        colour = colour if random.random() < 0.7 else _colour(random, channels)
        picture = picture * (1 - cover[..., None]) + cover[..., None] * _grained(random, colour, (height, width))
        covered |= cover > 0.02
        if covered.mean() > most:
            break
    if random.random() < 0.06:
        picture = _dead_lines(random, picture)
    return picture.clip(0, 1).astype(np.float32)


def drawn_cover(random: Generator, height: int, width: int, draw: Callable[..., None]) -> Picture:
    """How much of every pixel one thing drawn covers, (H, W) in [0, 1]."""
    # Hard-edged ones are lettering and drawings made by software, as they are.
    finer = 1 if random.random() < 0.25 else FINER
    canvas = Image.new("L", (finer * width, finer * height))
    draw(random, ImageDraw.Draw(canvas), canvas.size, finer)
    if finer > 1 and random.random() < 0.4:
        canvas = canvas.filter(ImageFilter.GaussianBlur(finer * random.uniform(0.2, 1.2)))
    cover = np.asarray(canvas.resize((width, height), Image.Resampling.BOX), np.float32) / 255
    strength = 1.0 if random.random() < 0.55 else random.uniform(0.3, 1)
    if random.random() < 0.3:  # worn off in places
        worn = Image.fromarray(random.random((3 + height // 24, 3 + width // 24)).astype(np.float32))
        cover = cover * np.asarray(worn.resize((width, height), Image.Resampling.BICUBIC)).clip(0, 1) ** 0.5
    return (strength * cover).astype(np.float32)


def _width(random: Generator) -> float:
    """Of a stroke, in pixels: 1 to 12, mostly thin."""
    return float(np.exp(random.uniform(np.log(0.8), np.log(5 if random.random() < 0.8 else 12))))


def _curve(random: Generator, size: tuple[int, int], bend: float) -> list[tuple[float, float]]:
    """A Bézier curve through the canvas, from anywhere about it to anywhere."""
    ends = random.uniform(-0.3, 1.3, (2, 2))
    return [(x * size[0], y * size[1]) for x, y in noise.curve(random, ends, bend, 40)]


def scratch(random: Generator, draw: ImageDraw.ImageDraw, size: tuple[int, int], finer: int) -> None:
    """One nearly straight stroke, or a few beside each other."""
    points = _curve(random, size, random.choice((0.0, 0.01, 0.1)))
    for _ in range(int(random.choice((1, 1, 1, 2, 4)))):
        dx, dy = random.normal(0, 6 * finer, 2)
        draw.line([(x + dx, y + dy) for x, y in points], 255, max(1, round(finer * _width(random))), "curve")


def hair(random: Generator, draw: ImageDraw.ImageDraw, size: tuple[int, int], finer: int) -> None:
    """One thin stroke that winds."""
    points = _curve(random, size, 0.35)
    draw.line(points, 255, max(1, round(finer * random.uniform(0.7, 2.5))), "curve")


def crack(random: Generator, draw: ImageDraw.ImageDraw, size: tuple[int, int], finer: int) -> None:
    """A jagged line with branches, its width changing."""
    ways = [(random.random(2) * size, random.uniform(0, 2 * np.pi), _width(random))]
    while ways and len(ways) < 12:
        at, heading, width = ways.pop()
        for _ in range(int(random.integers(5, 40))):
            heading += random.normal(0, 0.5)
            to = at + finer * random.uniform(1.5, 6) * np.array([np.cos(heading), np.sin(heading)])
            draw.line([tuple(at), tuple(to)], 255, max(1, round(finer * width * random.uniform(0.6, 1.4))))
            at = to
            if random.random() < 0.03:
                ways.append((at, heading + random.choice((-1, 1)) * random.uniform(0.5, 1.5), 0.7 * width))


def letters(random: Generator, draw: ImageDraw.ImageDraw, size: tuple[int, int], finer: int) -> None:
    """A word or a line of them."""
    text = words(random, int(random.integers(1, 4)))
    font = a_font(random, finer * random.uniform(7, 34))
    place = random.random(2) * size - [0.4 * size[0], 0.1 * size[1]]
    if random.random() < 0.85:
        draw.text((float(place[0]), float(place[1])), text, 255, font)
    else:  # in outline
        draw.text((float(place[0]), float(place[1])), text, 0, font, stroke_width=finer, stroke_fill=255)


def dust(random: Generator, draw: ImageDraw.ImageDraw, size: tuple[int, int], finer: int) -> None:
    """Specks of 1 to 12 pixels, round or not."""
    large = finer * _width(random)
    for _ in range(int(random.integers(1, 15))):
        centre, turn = random.random(2) * size, random.uniform(0, 2 * np.pi)
        angles = np.sort(random.uniform(0, 2 * np.pi, int(random.integers(5, 12))))
        radii = large / 2 * random.uniform(0.5, 1.1, len(angles))
        x = centre[0] + radii * np.cos(angles) * random.uniform(0.4, 1) * np.cos(turn)
        y = centre[1] + radii * np.sin(angles)
        draw.polygon(list(zip(x.tolist(), y.tolist(), strict=True)), fill=255)


def _dead_lines(random: Generator, picture: Picture) -> Picture:
    picture = picture.copy()
    for _ in range(int(random.integers(1, 4))):
        lines = picture if random.random() < 0.5 else picture.swapaxes(0, 1)
        line = lines[random.integers(len(lines))]
        line[...] = random.random(picture.shape[2]) if random.random() < 0.5 else random.random(line.shape)
    return picture


def _colour(random: Generator, channels: int) -> Picture:
    """Whitish as the base of a print, dark as dirt, or anything."""
    kind, grey = random.random(), random.random()
    if kind < 0.4:
        return (1 - 0.3 * grey**2 - 0.1 * random.random(channels) ** 2).astype(np.float32)
    if kind < 0.65:
        return (0.3 * grey**2 + 0.1 * random.random(channels) ** 2).astype(np.float32)
    return random.random(channels).astype(np.float32)


def _grained(random: Generator, colour: Picture, shape: tuple[int, int]) -> Picture:
    """That colour everywhere, at times not quite the same."""
    if random.random() < 0.6:
        return np.broadcast_to(colour, (*shape, len(colour)))
    return (colour + random.normal(0, random.uniform(0.01, 0.06), (*shape, 1))).clip(0, 1).astype(np.float32)


@functools.cache
def _font_files() -> list[Path]:
    """The fonts of text that come with matplotlib: sans, serif, mono, in several weights."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return sorted(f for f in folder.glob("*.ttf") if f.name.startswith(("DejaVuSans", "DejaVuSerif", "STIXGeneral")))


@functools.lru_cache(600)
def _font(index: int, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(_font_files()[index], size)


def a_font(random: Generator, size: float) -> ImageFont.FreeTypeFont:
    """Any of them, so many pixels high."""
    return _font(int(random.integers(len(_font_files()))), max(6, round(size)))


def words(random: Generator, count: int) -> str:
    """Some words, numbers among them."""

    def word() -> str:
        if random.random() < 0.5:
            return str(random.choice(WORDS))
        signs = SIGNS if random.random() < 0.3 else string.ascii_letters
        return "".join(signs[i] for i in random.integers(len(signs), size=random.integers(1, 10)))

    return " ".join(word() for _ in range(count))


def page(random: Generator, side: int) -> Picture:
    """A piece of print, drawing, chart or screenshot, (side, side, 3): content, all of it."""
    finer = 1 if random.random() < 0.3 else 2
    paper, ink = _paper_and_ink(random)
    canvas = Image.new("RGB", (finer * side, finer * side), paper)
    draw = ImageDraw.Draw(canvas)
    for _ in range(int(random.choice((0, 0, 1, 3, 8)))):
        _figure(random, draw, finer * side, finer)
    if random.random() < 0.75:
        _text(random, draw, finer * side, finer, ink)
    if random.random() < 0.25:
        canvas = canvas.rotate(random.normal(0, 1.5), Image.Resampling.BICUBIC, fillcolor=paper)
    drawn = _array(canvas.resize((side, side), Image.Resampling.BOX), 3)
    if random.random() < 0.25:  # scanned
        drawn = drawn + random.normal(0, random.uniform(0.003, 0.02), (side, side, 1)).astype(np.float32)
    drawn = _levels(drawn.clip(0, 1))
    return _blurred(drawn, random.uniform(0.3, 0.8)) if random.random() < 0.25 else drawn


def _paper_and_ink(random: Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    bright = 255 - (random.random(3) ** 3 * 60).astype(int) if random.random() < 0.6 else np.array([255] * 3)
    dark = (random.random(3) ** 2 * 90).astype(int) if random.random() < 0.6 else np.array([0] * 3)
    if random.random() < 0.1:
        dark = random.integers(0, 200, 3)
    pair = (bright, dark) if random.random() < 0.8 else (dark, bright)
    return tuple(int(x) for x in pair[0]), tuple(int(x) for x in pair[1])


def _text(random: Generator, draw: ImageDraw.ImageDraw, side: int, finer: int, ink: tuple[int, ...]) -> None:
    size = finer * random.uniform(7, 18) if random.random() < 0.8 else finer * random.uniform(18, 60)
    font, leading = a_font(random, size), size * random.uniform(1.1, 1.9)
    left, y = (random.choice((-1, -1, 1, 0.3)) * random.uniform(0, 0.5) * side), random.uniform(-1, 1) * leading
    while y < side:
        if random.random() < 0.9:
            draw.text((left, y), words(random, 24), ink, font)
        y += leading


def _figure(random: Generator, draw: ImageDraw.ImageDraw, side: int, finer: int) -> None:
    """A box, a line, a curve of a chart, a grid, dots."""
    grey = random.integers(0, 256)
    colour = tuple(int(x) for x in (random.integers(0, 256, 3) if random.random() < 0.7 else (grey, grey, grey)))
    width, kind = int(finer * random.integers(1, 4)), random.random()
    x0, y0, x1, y1 = (random.uniform(-0.2, 1.2, 4) * side).tolist()
    box = (min(x0, x1), min(y0, y1), max(x0, x1) + 1, max(y0, y1) + 1)
    if kind < 0.25:
        draw.rectangle(box, fill=colour)
    elif kind < 0.45:
        draw.rectangle(box, outline=colour, width=width)
    elif kind < 0.6:
        draw.line([(x0, y0), (x1, y1)], colour, width)
    elif kind < 0.75:
        x = np.linspace(-10, side + 10, int(random.integers(5, 60)))
        y = y0 + random.normal(0, 0.1 * side, len(x)) * random.random()
        draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), colour, width)
    elif kind < 0.85:
        draw.ellipse(box, outline=colour, width=width)
    elif kind < 0.93:
        for at in np.arange(random.uniform(0, 10), side, finer * random.uniform(4, 30)):
            draw.line([(0, at), (side, at)] if random.random() < 0.9 else [(at, 0), (at, side)], colour, width)
    else:
        for x, y in (random.random((int(random.integers(5, 60)), 2)) * side).tolist():
            draw.ellipse((x, y, x + 2 * width, y + 2 * width), fill=colour)


def _levels(picture: Picture) -> Picture:
    return (np.rint(255 * picture) / 255).astype(np.float32)


def _image(picture: Picture) -> Image.Image:
    samples = np.rint(255 * picture).astype(np.uint8)
    return Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)


def _array(image: Image.Image, channels: int) -> Picture:
    array = np.asarray(image).reshape(image.height, image.width, channels)
    return (array / 255).astype(np.float32)


def _jpeg(picture: Picture, quality: int) -> Picture:
    buffer = io.BytesIO()
    _image(picture).save(buffer, "JPEG", quality=quality, subsampling=0 if quality > 85 else 2)
    with Image.open(buffer) as opened:
        return _array(opened, picture.shape[2])


def _blurred(picture: Picture, sigma: float) -> Picture:
    return _array(_image(picture).filter(ImageFilter.GaussianBlur(sigma)), picture.shape[2])
