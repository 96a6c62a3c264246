"""The (u, v) of a value against the two-component mixture that they ought to amount to."""

import math

import numpy as np
import pytest
import torch

from dipsop.restoration.evidence import Evidence


def observation(seed, *shape, share=0.3):
    random = torch.Generator().manual_seed(seed)
    clean = torch.full(shape, 0.5) + 0.01 * torch.randn(shape, generator=random)
    bad = torch.rand(shape, generator=random) < share
    return clean, torch.where(bad, torch.rand(shape, generator=random), clean), bad


def test_growth_of_u_and_v_is_bayes_rule():
    clean, y, _ = observation(0, 1, 2, 24, 24)
    evidence = Evidence(y, torch.ones_like(y), least_residual=0.006, shared=False)
    scale = 0.004 + 0.1 * torch.rand(y.shape, generator=torch.Generator().manual_seed(1))
    trust = evidence._trust(y, (y - clean).abs(), scale).double()
    share, d, b = float(evidence.share), (y - clean).abs().double(), scale.double()
    clean_density = (1 - share) * torch.exp(-d / b) / (2 * b)
    corrupted_density = share * 1.0  # uniform, before anything was found
    mixture = clean_density / (clean_density + corrupted_density)
    # The flow feels both signs at once: at residual 0 its odds are those of the mixture, and twice them never.
    assert (trust - mixture).abs().max() < 0.01


def test_evidence_of_the_channels_of_a_shared_pixel_adds_up():
    y = torch.full((1, 3, 8, 8), 0.5)
    y[0, :, 4, 4] += 0.045  # too little in any one channel
    predicted, scale = torch.full_like(y, 0.5), torch.full_like(y, 0.02)
    alone = Evidence(y, torch.ones_like(y), 0.006, shared=False)._trust(y, (y - predicted).abs(), scale)
    together = Evidence(y, torch.ones_like(y), 0.006, shared=True)._trust(y, (y - predicted).abs(), scale)
    assert alone[0, :, 4, 4].min() > 0.5
    odds = 0.3 / 0.7 * (2 * 0.02) ** 3 * math.exp(3 * 0.045 / 0.02)
    assert together[0, :, 4, 4] == pytest.approx([1 / (1 + odds)] * 3, rel=0.02)


def test_finds_random_values_by_their_residual():
    clean, y, bad = observation(2, 1, 3, 64, 64)
    evidence = Evidence(y, torch.full_like(y, 0.7), least_residual=0.006, shared=False)
    evidence.update(clean.clone(), torch.full_like(y, 0.02), rounds=6)
    far = bad & ((y - clean).abs() > 0.1)
    assert evidence.found()[far].float().mean() > 0.99
    assert evidence.found()[~bad].float().mean() < 0.01
    assert float(evidence.share) == pytest.approx(0.3, abs=0.05)
    assert float(evidence.effective_lambda()) > 0


def test_a_fixed_value_is_recognized_where_its_residual_is_small():
    clean, y, _ = observation(3, 1, 1, 64, 64, share=0.0)
    spots = torch.rand(y.shape, generator=torch.Generator().manual_seed(4)) < 0.2
    clean = torch.linspace(0.1, 0.9, 64).expand_as(y).clone()
    y = torch.where(spots, 0.5, clean + 0.01 * torch.randn(y.shape, generator=torch.Generator().manual_seed(5)))
    evidence = Evidence(y, torch.full_like(y, 0.7), least_residual=0.006, shared=False)
    evidence.update(clean.clone(), torch.full_like(y, 0.02), rounds=8)
    near = (clean - 0.5).abs() < 0.03  # where a residual alone could not tell
    assert evidence.found()[spots & near].float().mean() > 0.9
    assert evidence.found()[~spots].float().mean() < 0.02


def test_equation_holds_where_corruption_was_found():
    clean, y, _ = observation(6, 1, 3, 32, 32)
    evidence = Evidence(y, torch.full_like(y, 0.7), least_residual=0.006, shared=False)
    evidence.update(clean.clone(), torch.full_like(y, 0.02))
    s = evidence.sparse_corruption(clean)
    found = evidence.found()
    assert torch.allclose((clean + s.value)[found], y[found], atol=1e-6)
    assert s.value[~found].abs().max() == 0


def test_rows_and_columns_that_are_wrong_as_a_whole_are_left_alone():
    """The frame of a scan is not sparse; the same residuals scattered over the picture are."""
    clean, y, bad = observation(7, 1, 3, 64, 64, share=0.2)
    y = y.clone()
    y[..., -1, :] = torch.rand(64, generator=torch.Generator().manual_seed(8))
    y[..., 3] = torch.rand(64, generator=torch.Generator().manual_seed(9))
    evidence = Evidence(y, torch.full_like(y, 0.7), least_residual=0.006, shared=False)
    evidence.update(clean.clone(), torch.full_like(y, 0.02), rounds=6)
    found = evidence.found()
    assert found[..., -1, :].float().mean() < 0.1
    assert found[..., 3].float().mean() < 0.1
    elsewhere = bad & ((y - clean).abs() > 0.1)
    elsewhere[..., -1, :], elsewhere[..., 3] = False, False
    assert found[elsewhere].float().mean() > 0.98


def test_a_line_that_is_wrong_as_a_whole_does_not_blind_its_neighbours():
    clean, y, bad = observation(7, 1, 3, 64, 64, share=0.2)
    y = y.clone()
    y[..., 30, :] = torch.rand(64, generator=torch.Generator().manual_seed(8))
    evidence = Evidence(y, torch.full_like(y, 0.7), least_residual=0.006, shared=False)
    for _ in range(6):
        evidence.update(clean.clone(), torch.full_like(y, 0.02))
    assert evidence.found()[..., 30, :].float().mean() < 0.1
    near = [28, 29, 31, 32]
    assert evidence.scale[..., near, :].median() < 1.3 * evidence.scale.median()
    far = (bad & ((y - clean).abs() > 0.1))[..., near, :]
    assert evidence.found()[..., near, :][far].float().mean() > 0.98


def test_true_black_and_white_are_trusted_where_they_are_expected():
    """A third of the values are black or white by corruption, and a white area is white in truth."""
    random = torch.Generator().manual_seed(8)
    clean = torch.full((1, 3, 64, 64), 0.5)
    clean[..., :32] = 1.0
    bad = torch.rand(clean.shape, generator=random) < 0.3
    y = torch.where(bad, (torch.rand(clean.shape, generator=random) < 0.5).float(), clean)
    evidence = Evidence(y, torch.full_like(y, 0.7), least_residual=0.006, shared=False)
    evidence.update(clean.clone(), torch.full_like(y, 0.02), rounds=6)
    found = evidence.found()
    assert not found[..., :32][y[..., :32] == 1].any()
    assert found[bad & (y != clean)].all()
    assert found[..., 32:][bad[..., 32:]].all()


def test_a_value_that_the_network_is_unsure_of_needs_a_larger_residual():
    _, y, _ = observation(9, 1, 1, 48, 48, share=0.0)
    y = y.clone()
    y[..., 10, 10] = y[..., 30, 30] = 0.58
    said = torch.full_like(y, 0.01)
    said[..., 30, 30] = 0.1
    evidence = Evidence(y, torch.full_like(y, 0.7), least_residual=0.006, shared=False)
    evidence.update(torch.full_like(y, 0.5), said, rounds=4)
    assert evidence.found()[0, 0, 10, 10]
    assert not evidence.found()[0, 0, 30, 30]


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
def test_pixels_hit_as_a_whole_are_told_from_values_hit_one_by_one(share):
    random = torch.Generator().manual_seed(10)
    y = torch.rand(1, 3, 64, 64, generator=random)
    missed = 0.2 * torch.rand(y.shape, generator=random)
    by_value = Evidence(
        y, 1 - (torch.rand(y.shape, generator=random) < share).float() * (1 - missed), 0.006, shared=False
    )
    assert not by_value.hits_pixels()
    hit = (torch.rand(1, 1, 64, 64, generator=random) < share).float()
    by_pixel = Evidence(y, 1 - hit * (torch.rand(y.shape, generator=random) < 0.8), 0.006, shared=False)
    assert by_pixel.hits_pixels()
    assert Evidence(y[:, :1], torch.ones(1, 1, 64, 64), 0.006, shared=False).hits_pixels()


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
    y = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(12))
    drawn = strokes(share)
    evidence = Evidence(y, (~drawn).float(), 0.006, shared=False)
    assert evidence.clusters() == pytest.approx(float(drawn.float().mean()), abs=0.01)
    scattered = torch.rand(1, 1, 96, 96, generator=torch.Generator().manual_seed(13)) < share
    assert Evidence(y, (~scattered).float().expand_as(y), 0.006, shared=False).clusters() == 0
    assert Evidence(y, torch.ones_like(y), 0.006, shared=False).clusters() == 0


def test_what_was_found_stays_found_only_if_enough_of_it_is_found_again():
    clean, y, _ = observation(14, 1, 3, 48, 48)
    scale = torch.full_like(y, 0.02)

    def found_again(lasting, share_learned):
        """Judge twice; for the second time a share of the corruption is predicted, too."""
        evidence = Evidence(y, torch.full_like(y, 0.7), least_residual=0.006, shared=False)
        evidence.update(clean.clone(), scale.clone())
        before = evidence.found().clone()
        learned = torch.rand(y.shape, generator=torch.Generator().manual_seed(15)) < share_learned
        evidence.update(torch.where(learned, y, clean), scale.clone(), lasting=lasting)
        return float((evidence.found() & before).sum() / before.sum())

    assert found_again(lasting=0.8, share_learned=0.1) == 1
    assert found_again(lasting=0.8, share_learned=0.5) == pytest.approx(0.5, abs=0.1)
    assert found_again(lasting=math.inf, share_learned=0.1) == pytest.approx(0.9, abs=0.05)
    assert found_again(lasting=0.0, share_learned=1.0) == 1


def test_a_level_that_fills_the_picture_is_not_taken_for_that_of_the_corruption():
    y = torch.full((1, 1, 64, 64), 240 / 255)
    y[..., ::9, ::5] = 30 / 255
    evidence = Evidence(y, torch.full_like(y, 0.9), least_residual=0.006, shared=False)
    for _ in range(12):
        evidence.update(torch.full_like(y, 240 / 255), torch.full_like(y, 0.01))
    assert torch.equal(evidence.found(), y < 0.5)
