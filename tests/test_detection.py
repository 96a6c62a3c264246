"""The (u, v) of a value against the two-component mixture that they ought to amount to."""

import math

import numpy as np
import pytest
import torch

from dipsop.restoration.config import DetectionConfig
from dipsop.restoration.detection import Detection
from dipsop.restoration.local_stats import bands


def observation(seed, *shape, share=0.3):
    random = torch.Generator().manual_seed(seed)
    clean = torch.full(shape, 0.5) + 0.01 * torch.randn(shape, generator=random)
    bad = torch.rand(shape, generator=random) < share
    return clean, torch.where(bad, torch.rand(shape, generator=random), clean), bad


def begun(y, trust=0.7, **choices):
    """A detection that trusts every value as much to begin with."""
    detection = Detection(y, DetectionConfig(**choices))
    detection.trust = torch.full_like(y, trust)
    return detection


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_trust_is_calibrated_on_values_drawn_from_the_mixture(share):
    """Of the values trusted to 20 to 40 %, 20 to 40 % are clean, and so on: counted, b and π having to be found."""
    random = np.random.default_rng(0)
    shape = (1, 3, 192, 192)
    rows, columns = np.mgrid[:192, :192] / 192
    predicted = np.broadcast_to(0.3 + 0.4 * rows, shape)
    scale = np.broadcast_to(0.02 + 0.04 * columns, shape)
    bad = random.random(shape) < share
    y = np.where(bad, random.random(shape), random.laplace(predicted, scale)).clip(0.001, 0.999)
    y, predicted, scale = (torch.from_numpy(values.astype(np.float32)) for values in (y, predicted, scale))
    detection = Detection(y, DetectionConfig())
    detection.update(predicted, 0.6 * scale, iterations=40)  # too sure of itself, as the residuals have to tell
    trust = detection.trust.numpy()
    for least in (0.2, 0.4, 0.6, 0.8):
        between = (trust >= least) & (trust < least + 0.2)
        assert between.sum() > 1000
        assert least - 0.03 < (~bad[between]).mean() < least + 0.23
    assert float(detection.share) == pytest.approx(share, abs=0.05)


def test_residuals_of_the_channels_of_a_shared_pixel_add_up():
    y = torch.full((1, 3, 8, 8), 0.5)
    y[0, :, 4, 4] += 0.045  # too little in any one channel
    predicted, scale = torch.full_like(y, 0.5), torch.full_like(y, 0.02)
    alone = Detection(y, DetectionConfig())._posterior(y, (y - predicted).abs(), scale)
    together = Detection(y, DetectionConfig(shared_corruption=True))._posterior(y, (y - predicted).abs(), scale)
    assert alone[0, :, 4, 4].min() > 0.5
    odds = 0.3 / 0.7 * (2 * 0.02) ** 3 * math.exp(3 * 0.045 / 0.02)
    assert together[0, :, 4, 4] == pytest.approx([1 / (1 + odds)] * 3, rel=0.02)


def test_finds_random_values_by_their_residual():
    clean, y, bad = observation(2, 1, 3, 64, 64)
    detection = begun(y)
    detection.update(clean.clone(), torch.full_like(y, 0.02), iterations=6)
    far = bad & ((y - clean).abs() > 0.1)
    assert detection.found()[far].float().mean() > 0.99
    assert detection.found()[~bad].float().mean() < 0.01
    assert float(detection.share) == pytest.approx(0.3, abs=0.05)
    assert float(detection.effective_lambda()) > 0


def test_a_fixed_value_is_recognized_where_its_residual_is_small():
    clean, y, _ = observation(3, 1, 1, 64, 64, share=0.0)
    spots = torch.rand(y.shape, generator=torch.Generator().manual_seed(4)) < 0.2
    clean = torch.linspace(0.1, 0.9, 64).expand_as(y).clone()
    y = torch.where(spots, 0.5, clean + 0.01 * torch.randn(y.shape, generator=torch.Generator().manual_seed(5)))
    detection = begun(y)
    detection.update(clean.clone(), torch.full_like(y, 0.02), iterations=8)
    near = (clean - 0.5).abs() < 0.03  # where a residual alone could not tell
    assert detection.found()[spots & near].float().mean() > 0.9
    assert detection.found()[~spots].float().mean() < 0.02


def test_rows_and_columns_that_are_wrong_as_a_whole_are_left_alone():
    """The frame of a scan is not sparse; the same residuals scattered over the picture are."""
    clean, y, bad = observation(7, 1, 3, 64, 64, share=0.2)
    y = y.clone()
    y[..., -1, :] = torch.rand(64, generator=torch.Generator().manual_seed(8))
    y[..., 3] = torch.rand(64, generator=torch.Generator().manual_seed(9))
    detection = begun(y)
    detection.update(clean.clone(), torch.full_like(y, 0.02), iterations=6)
    found = detection.found()
    assert found[..., -1, :].float().mean() < 0.1
    assert found[..., 3].float().mean() < 0.1
    elsewhere = bad & ((y - clean).abs() > 0.1)
    elsewhere[..., -1, :], elsewhere[..., 3] = False, False
    assert found[elsewhere].float().mean() > 0.98


def test_a_line_that_is_wrong_as_a_whole_does_not_blind_its_neighbours():
    clean, y, bad = observation(7, 1, 3, 64, 64, share=0.2)
    y = y.clone()
    y[..., 30, :] = torch.rand(64, generator=torch.Generator().manual_seed(8))
    detection = begun(y)
    for _ in range(6):
        detection.update(clean.clone(), torch.full_like(y, 0.02))
    assert detection.found()[..., 30, :].float().mean() < 0.1
    near = [28, 29, 31, 32]
    assert detection.scale[..., near, :].median() < 1.3 * detection.scale.median()
    far = (bad & ((y - clean).abs() > 0.1))[..., near, :]
    assert detection.found()[..., near, :][far].float().mean() > 0.98


def test_true_black_and_white_are_trusted_where_they_are_expected():
    """A third of the values are black or white by corruption, and a white area is white in truth."""
    random = torch.Generator().manual_seed(8)
    clean = torch.full((1, 3, 64, 64), 0.5)
    clean[..., :32] = 1.0
    bad = torch.rand(clean.shape, generator=random) < 0.3
    y = torch.where(bad, (torch.rand(clean.shape, generator=random) < 0.5).float(), clean)
    detection = begun(y)
    detection.update(clean.clone(), torch.full_like(y, 0.02), iterations=6)
    found = detection.found()
    assert not found[..., :32][y[..., :32] == 1].any()
    assert found[bad & (y != clean)].all()
    assert found[..., 32:][bad[..., 32:]].all()


def test_a_value_that_the_network_is_unsure_of_needs_a_larger_residual():
    _, y, _ = observation(9, 1, 1, 48, 48, share=0.0)
    y = y.clone()
    y[..., 10, 10] = y[..., 30, 30] = 0.58
    said = torch.full_like(y, 0.01)
    said[..., 30, 30] = 0.1
    detection = begun(y)
    detection.update(torch.full_like(y, 0.5), said, iterations=4)
    assert detection.found()[0, 0, 10, 10]
    assert not detection.found()[0, 0, 30, 30]


def test_what_was_found_stays_found_only_if_enough_of_it_is_found_again():
    clean, y, _ = observation(14, 1, 3, 48, 48)
    scale = torch.full_like(y, 0.02)

    def found_again(lasting, share_learned):
        """Look twice; for the second time a share of the corruption is predicted, too."""
        detection = begun(y)
        detection.update(clean.clone(), scale.clone())
        before = detection.found().clone()
        learned = torch.rand(y.shape, generator=torch.Generator().manual_seed(15)) < share_learned
        detection.update(torch.where(learned, y, clean), scale.clone(), lasting=lasting)
        return float((detection.found() & before).sum() / before.sum())

    assert found_again(lasting=0.8, share_learned=0.1) == 1
    assert found_again(lasting=0.8, share_learned=0.5) == pytest.approx(0.5, abs=0.1)
    assert found_again(lasting=math.inf, share_learned=0.1) == pytest.approx(0.9, abs=0.05)
    assert found_again(lasting=0.0, share_learned=1.0) == 1


def test_a_level_that_fills_the_picture_is_not_taken_for_that_of_the_corruption():
    y = torch.full((1, 1, 64, 64), 240 / 255)
    y[..., ::9, ::5] = 30 / 255
    detection = begun(y, 0.9)
    for _ in range(12):
        detection.update(torch.full_like(y, 240 / 255), torch.full_like(y, 0.01))
    assert torch.equal(detection.found(), y < 0.5)


def test_detecting_in_bands_is_detecting_at_once(monkeypatch):
    clean, y, _ = observation(16, 1, 3, 96, 120)
    trusts = []
    for pixels in (1 << 20, 120 * 20):
        monkeypatch.setattr("dipsop.restoration.local_stats.BAND", pixels)
        assert (len(list(bands(y))) == 1) == (pixels == 1 << 20)
        detection = begun(y)
        detection.update(clean.clone(), torch.full_like(y, 0.02))
        trusts.append(detection.trust)
    assert torch.allclose(*trusts, atol=1e-4)
