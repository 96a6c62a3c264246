"""How corruption lies in a picture: in whole pixels, in strokes, in lines."""

import numpy as np
import pytest
import torch

from dipsop.restoration.structure import clusters, hits_pixels, line_factors
from dipsop.sop import SparseCorruption


def corrupted(probability):
    """(u, v) of values that are corrupted with these probabilities."""
    return SparseCorruption.constant((probability / (1 - probability)).sqrt())


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
def test_pixels_hit_as_a_whole_are_told_from_values_hit_one_by_one(share):
    random = torch.Generator().manual_seed(10)
    missed = 0.2 * torch.rand(1, 3, 64, 64, generator=random)
    by_value = (torch.rand(1, 3, 64, 64, generator=random) < share).float() * (1 - missed)
    assert not hits_pixels(corrupted(by_value))
    by_pixel = (torch.rand(1, 1, 64, 64, generator=random) < share).float()
    assert hits_pixels(corrupted(by_pixel * (torch.rand(1, 3, 64, 64, generator=random) < 0.8)))
    assert hits_pixels(corrupted(by_value[:, :1]))


def strokes(share, seed=11):
    """Lines across a picture until they cover a share of it, bool (1, 3, 96, 96)."""
    random = np.random.default_rng(seed)
    drawn = np.zeros((96, 96), bool)
    while drawn.mean() < share:
        at, slope = random.integers(0, 96), random.random()
        columns = np.arange(96)
        drawn[(at + (slope * columns).astype(int)) % 96, columns] = True
    return torch.from_numpy(drawn).expand(1, 3, 96, 96)


@pytest.mark.parametrize("share", [0.03, 0.2])
def test_strokes_are_told_from_scattered_values(share):
    drawn = strokes(share)
    assert clusters(corrupted(drawn.float())) == pytest.approx(float(drawn.float().mean()), abs=0.01)
    scattered = torch.rand(1, 1, 96, 96, generator=torch.Generator().manual_seed(13)) < share
    assert clusters(corrupted(scattered.float().expand(1, 3, 96, 96))) == 0
    assert clusters(corrupted(torch.zeros(1, 3, 96, 96))) == 0
    assert clusters(corrupted(drawn.float()), clean=drawn[:, :1]) == 0


def test_factor_of_a_line_is_how_much_larger_its_residuals_are():
    """A row and a column whose residuals are five times those of the others, a quarter of the values corrupted."""
    random = np.random.default_rng(14)
    scale = np.full((1, 1, 200, 300), 0.02)
    scale[..., 50, :] *= 5
    scale[..., 70] *= 5
    distance = np.abs(random.laplace(0, scale))
    distance[random.random(distance.shape) < 0.25] = 0.9
    rows, columns = line_factors(torch.from_numpy(distance), torch.full(distance.shape, 0.02), 0.75)
    assert (rows.shape, columns.shape) == ((1, 1, 200, 1), (1, 1, 1, 300))
    assert rows[..., 50, 0].item() == pytest.approx(5, rel=0.25)
    assert columns[..., 0, 70].item() == pytest.approx(5, rel=0.25)
    assert (rows != 1).sum() == (columns != 1).sum() == 1


def test_lines_of_a_few_values_are_not_wrong_as_a_whole():
    distance = torch.full((1, 1, 1, 60), 0.01)
    distance[..., ::10] = 0.9
    rows, columns = line_factors(distance, torch.full(distance.shape, 0.02), 0.9)
    assert (rows == 1).all()
    assert (columns == 1).all()
