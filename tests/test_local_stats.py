import numpy as np
import pytest
import torch

from dipsop.restoration.local_stats import filled_means, first_guess, ring, weighted_mean, weighted_median

CPU = torch.device("cpu")


def picture(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_ring_leaves_out_the_centre_and_sums_to_one():
    window = ring(1.5, 3, CPU)
    assert window.shape == (7, 7)
    assert window[3, 3] == 0
    assert window.sum() == pytest.approx(1)


def test_mean_of_the_surroundings_is_the_ratio_of_weighted_sums():
    y, weight, window = picture(0, 1, 2, 9, 11), picture(1, 1, 2, 9, 11), ring(1.0, 2, CPU)
    mean = weighted_mean(y, weight, window)
    for channel, row, column in [(0, 0, 0), (1, 4, 5), (0, 8, 10), (1, 0, 7)]:
        total = over = 0.0
        for i in range(-2, 3):
            for j in range(-2, 3):
                r, c = row + i, column + j
                if 0 <= r < 9 and 0 <= c < 11:
                    kw = float(window[i + 2, j + 2] * weight[0, channel, r, c])
                    total, over = total + kw * float(y[0, channel, r, c]), over + kw
        assert float(mean[0, channel, row, column]) == pytest.approx(total / over, abs=1e-5)


def test_a_value_never_speaks_for_itself():
    y = picture(0, 1, 1, 12, 12)
    changed = y.clone()
    changed[0, 0, 6, 6] = 1 - changed[0, 0, 6, 6]
    everything, window = torch.ones_like(y), ring(1.0, 2, CPU)
    for statistic in (weighted_mean, weighted_median):
        before, after = statistic(y, everything, window), statistic(changed, everything, window)
        assert before[0, 0, 6, 6] == pytest.approx(float(after[0, 0, 6, 6]), abs=1e-5)
        assert not torch.allclose(before, after)


def test_median_of_the_surroundings_agrees_with_sorting():
    y = picture(3, 1, 1, 20, 20)
    flat = torch.ones(5, 5)
    flat[2, 2] = 0
    median = weighted_median(y, torch.ones_like(y), flat / 24, levels=64)[0, 0, 2:-2, 2:-2].numpy()
    windows = np.lib.stride_tricks.sliding_window_view(y[0, 0].numpy(), (5, 5)).reshape(16, 16, 25)
    others = np.sort(np.delete(windows, 12, axis=-1), axis=-1)
    lower, upper, level = others[..., 11], others[..., 12], 1 / 64
    assert (median >= lower - level).all()
    assert (median <= upper + level).all()


def test_nothing_to_go_by_gives_the_overall_mean():
    y = picture(0, 1, 3, 1, 1)
    assert torch.allclose(weighted_mean(y, torch.ones_like(y), ring(1.0, 2, CPU)), y.mean().expand_as(y))


def test_first_guess_distrusts_outliers_and_trusts_a_smooth_ramp():
    y = torch.linspace(0.2, 0.8, 32).expand(1, 1, 32, 32).clone()
    y[0, 0, 10, 10], y[0, 0, 20, 7] = 1.0, 0.0
    trust = first_guess(y)
    assert trust[0, 0, 10, 10] < 0.1
    assert trust[0, 0, 20, 7] < 0.1
    assert trust.median() > 0.99


@pytest.mark.parametrize("width", [3, 9, 41])
def test_a_hole_is_filled_from_its_rims_however_wide_it_is(width):
    ramp = torch.linspace(0.2, 0.8, 128).expand(1, 1, 96, 128)
    hole = torch.zeros_like(ramp)
    hole[..., 40 - width // 2 : 41 + width // 2, :] = 1
    (filled,) = filled_means([torch.where(hold := hole > 0, 1.0, ramp)], 1 - hole, ring(1.0, 2, CPU))
    assert (filled - ramp)[hold][..., 30:-30].abs().max() < 0.05
    (other,) = filled_means([torch.where(hold, 0.0, ramp)], 1 - hole, ring(1.0, 2, CPU))
    assert (filled - other).abs().max() < 0.002


def test_among_trusted_values_the_filling_is_the_mean_of_the_surroundings():
    y, trust, window = picture(0, 2, 3, 33, 47), 0.3 + 0.7 * picture(1, 2, 3, 33, 47), ring(1.5, 4, CPU)
    for filled, values in zip(filled_means([y, 1 - y], trust, window), (y, 1 - y), strict=True):
        assert (filled - weighted_mean(values, trust, window)).abs().max() < 0.003


def test_where_nothing_is_trusted_the_filling_is_the_mean_of_all():
    y = picture(0, 1, 3, 20, 70)
    (filled,) = filled_means([y], torch.zeros_like(y), ring(1.0, 2, CPU))
    assert torch.allclose(filled, y.mean((2, 3), keepdim=True).expand_as(y), atol=0.05)
