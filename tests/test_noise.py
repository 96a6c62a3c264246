"""Corruption models: the bits that the formulas say, and the sample files made by them."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from dipsop.pictures.images import load
from dipsop.pictures.noise import random_valued, salt_and_pepper, scratches_and_lettering
from dipsop.pictures.picture import quantized

IMAGES = Path(__file__).parent.parent / "images"
BOTH = [salt_and_pepper, random_valued]


def image(*shape, seed=5):
    return np.random.default_rng(seed).uniform(0.1, 0.9, shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(40, 30), (40, 30, 1), (40, 30, 3)])
@pytest.mark.parametrize("seed", [0, 7])
def test_bits_are_those_of_the_published_formula(shape, seed):
    x = image(*shape)
    for noise, draw in (
        (salt_and_pepper, lambda rng: rng.random(shape) < 0.5),
        (random_valued, lambda rng: rng.random(shape)),
    ):
        rng = np.random.default_rng(seed)
        mask = rng.random(shape) < 0.3
        expected = np.where(mask, draw(rng), x).astype(np.float32)
        corrupted, found = noise(x, 0.3, seed)
        assert corrupted.dtype == np.float32
        assert np.array_equal(corrupted, expected)
        assert np.array_equal(found, mask)


@pytest.mark.parametrize("noise", BOTH)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 1.0])
def test_noise_keeps_requested_fraction_and_all_other_values(noise, shared, fraction):
    x = image(120, 100, 3)
    corrupted, mask = noise(x, fraction, 3, shared=shared)
    assert mask.mean() == pytest.approx(fraction, abs=0.02)
    assert np.array_equal(corrupted[~mask], x[~mask])
    assert (corrupted[mask] != x[mask]).all()


@pytest.mark.parametrize("noise", BOTH)
def test_shared_noise_hits_whole_pixels(noise):
    corrupted, mask = noise(image(40, 30, 3), 0.3, 0, shared=True)
    assert (mask == mask[..., :1]).all()
    same = (corrupted == corrupted[..., :1]).all(axis=2)[mask[..., 0]]
    assert same.all() if noise is salt_and_pepper else not same.any()
    rng = np.random.default_rng(0)
    assert np.array_equal(mask[..., :1], rng.random((40, 30, 1)) < 0.3)


def test_salt_is_as_frequent_as_pepper():
    corrupted, mask = salt_and_pepper(image(200, 200), 0.5, 1)
    assert set(np.unique(corrupted[mask])) == {0.0, 1.0}
    assert corrupted[mask].mean() == pytest.approx(0.5, abs=0.01)


def test_random_values_are_uniform():
    corrupted, mask = random_valued(image(200, 200), 0.5, 1)
    counts = np.histogram(corrupted[mask], 10, (0, 1))[0]
    assert counts == pytest.approx(np.full(10, counts.mean()), rel=0.1)


STROKES = [scratches_and_lettering, partial(scratches_and_lettering, soft=True)]


@pytest.mark.parametrize(
    "noise", [*BOTH, *(lambda x, fraction, seed, draw=draw: draw(x, seed, fraction) for draw in STROKES)]
)
def test_same_seed_same_bits_and_the_input_is_untouched(noise):
    x = image(60, 50, 3)
    before = x.copy()
    (a, mask_a), (b, mask_b), (c, _) = noise(x, 0.2, 4), noise(x, 0.2, 4), noise(x, 0.2, 5)
    assert np.array_equal(a, b)
    assert np.array_equal(mask_a, mask_b)
    assert not np.array_equal(a, c)
    assert np.array_equal(x, before)


@pytest.mark.parametrize("noise", BOTH)
@pytest.mark.parametrize(
    ("x", "fraction", "said"),
    [
        (image(4, 4), -0.1, "-0.1"),
        (image(4, 4), 1.1, "1.1"),
        (image(4, 4), float("nan"), "nan"),
        (image(4), 0.1, "shape"),
        (np.zeros((4, 4), np.uint8), 0.1, "uint8"),
        (255 * image(4, 4), 0.1, r"\[0, 1\]"),
    ],
)
def test_wrong_arguments_are_refused_with_what_came(noise, x, fraction, said):
    with pytest.raises(ValueError, match=said):
        noise(x, fraction, 0)


@pytest.mark.parametrize("shape", [(128, 96, 3), (128, 96), (96, 128, 1)])
def test_scratches_and_lettering_cover_about_the_fraction_in_few_colours(shape):
    x = image(*shape)
    corrupted, mask = scratches_and_lettering(x, 0)
    assert 0.05 <= mask.mean() < 0.08
    assert mask.shape == x.shape
    assert np.array_equal(corrupted[~mask], x[~mask])
    assert len(np.unique(corrupted[mask])) < 100
    assert corrupted.dtype == np.float32


@pytest.mark.parametrize("shape", [(128, 96, 3), (128, 96), (96, 128, 1)])
def test_soft_strokes_lie_between_the_picture_and_their_colour_and_are_faint_at_their_edges(shape):
    x = np.full(shape, 0.5, np.float32)
    corrupted, mask = scratches_and_lettering(x, 1, soft=True)
    assert 0.05 <= mask.mean() < 0.12
    assert np.array_equal(corrupted[~mask], x[~mask])
    assert ((corrupted >= 0) & (corrupted <= 1)).all()
    off = np.abs(corrupted - x)[mask]
    faint = ((off > 0) & (off < 0.5 * off.max())).mean()
    assert 0.1 < faint < 0.9
    assert corrupted.dtype == np.float32


@pytest.mark.parametrize("draw", STROKES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 50, 3), (50, 1)])
def test_scratches_end_on_pictures_of_any_size(draw, shape):
    assert draw(image(*shape), 0)[1].any()


@pytest.mark.parametrize("draw", STROKES)
def test_scratches_over_more_than_half_are_refused(draw):
    with pytest.raises(ValueError, match=r"\[0, 0\.5\], got 0\.6"):
        draw(image(9, 9), 0, 0.6)


def test_sample_files_are_exactly_what_the_noise_makes():
    clean = load(IMAGES / "astronaut.png").values
    assert clean.shape == (512, 512, 3)
    made = {
        "random_valued_30": random_valued(clean, 0.3, 0)[0],
        "salt_and_pepper_50": salt_and_pepper(clean, 0.5, 0)[0],
    }
    for name, corrupted in made.items():
        sample = load(IMAGES / f"astronaut_{name}.png").samples
        assert np.array_equal(sample, quantized(corrupted, np.dtype(np.uint8))), name


def test_scratched_sample_file_is_what_the_drawing_makes():
    picture = load(IMAGES / "astronaut.png")
    corrupted, mask = scratches_and_lettering(picture.values, 0)
    sample = load(IMAGES / "astronaut_scratched.png").samples
    made = quantized(corrupted, np.dtype(np.uint8))
    # Releases of Pillow and FreeType may round an edge of a letter differently.
    assert (sample == made).mean() > 0.99
    assert (sample != picture.samples).any(axis=2).mean() == pytest.approx(mask.mean(), abs=0.005)


def test_sample_folder_stays_small():
    assert sum(path.stat().st_size for path in IMAGES.iterdir()) < 4_000_000
