import dataclasses

import numpy as np
import pytest
import torch

import dipsop
from dipsop import PRESETS, HeldOut, WholeImage
from dipsop.restoration.config import PUBLISHED_CORRUPTION_RATE
from dipsop.restoration.evidence import Evidence
from dipsop.restoration.fit import as_tensor
from dipsop.restoration.held_out import HeldOutFit, _tiles, flipped, unflipped
from dipsop.restoration.noise import random_valued, salt_and_pepper
from dipsop.restoration.unet import SkipUNet
from dipsop.restoration.whole_image import WholeImageFit
from dipsop.sop import SparseCorruption

SMALL_HELD_OUT = HeldOut(steps=12, widths=(8, 8, 8), crop=32, judgements=3, dtype="float32")
SMALL_WHOLE = WholeImage(steps=12, width=8, dtype="float32")
SMALL = pytest.mark.parametrize("config", [SMALL_HELD_OUT, SMALL_WHOLE], ids=["held-out", "whole"])


def scene(height=48, width=40, channels=3):
    """A smooth picture with an edge."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    planes = [
        0.5 + 0.3 * np.sin(rows / (7 + c)) * np.cos(columns / 9) - 0.2 * (columns > width / 2) for c in range(channels)
    ]
    return np.clip(np.stack(planes, -1), 0, 1).astype(np.float32)


def psnr(a, b):
    return -10 * np.log10(np.mean((a - b) ** 2))


@SMALL
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (40, 33), (1, 60, 1), (20, 16, 4), (17, 64, 3)])
def test_any_shape_comes_back_as_it_was(config, shape):
    image = np.random.default_rng(0).random(shape, dtype=np.float32)
    result = dipsop.restore(image, dataclasses.replace(config, steps=3))
    assert result.image.shape == result.sparse_corruption.shape == result.corrupted.shape == shape
    assert np.isfinite(result.image).all()
    assert (result.steps, result.reason) == (3, "all steps taken")


@SMALL
def test_values_without_corruption_keep_the_observation_bit_for_bit(config):
    image, _ = random_valued(scene(), 0.3, seed=0)
    result = dipsop.restore(image, config)
    kept = ~result.corrupted
    assert kept.any()
    assert (result.image[kept] == image[kept]).all()
    assert (result.image[~kept] == result.network_output[~kept]).all()


@SMALL
def test_same_seed_same_result_and_another_seed_another(config):
    image, _ = random_valued(scene(), 0.3, seed=0)
    torch.manual_seed(1)
    first = dipsop.restore(image, config)
    torch.manual_seed(2)  # the library has randomness of its own
    again = dipsop.restore(image, config)
    other = dipsop.restore(image, dataclasses.replace(config, seed=1))
    assert (first.network_output == again.network_output).all()
    assert (first.network_output != other.network_output).any()


@SMALL
def test_global_random_state_is_left_alone(config):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    dipsop.restore(scene(), dataclasses.replace(config, steps=2))
    assert (torch.rand(3) == expected).all()


def test_held_out_fit_restores_random_valued_noise_far_beyond_the_input():
    clean = scene(64, 64)
    image, mask = random_valued(clean, 0.3, seed=0)
    result = dipsop.restore(image, HeldOut(steps=150, widths=(16, 16, 16), crop=48))
    assert psnr(result.image, clean) > psnr(image, clean) + 13
    visible = mask & (np.abs(image - clean) > 0.1)
    assert result.corrupted[visible].mean() > 0.98
    assert result.corrupted[~mask].mean() < 0.02


def test_held_out_fit_restores_half_salt_and_pepper():
    clean = scene(64, 64)
    image, mask = salt_and_pepper(clean, 0.5, seed=0)
    result = dipsop.restore(image, HeldOut(steps=150, widths=(16, 16, 16), crop=48))
    assert psnr(result.image, clean) > 28
    assert result.corrupted[mask].mean() > 0.98


def test_whole_image_fit_pushes_the_corruption_into_u_and_v():
    clean = scene(64, 64)
    image, mask = random_valued(clean, 0.2, seed=0)
    result = dipsop.restore(image, WholeImage(steps=250, width=16, alpha=20.0))
    assert psnr(result.image, clean) > psnr(image, clean) + 8
    s = result.sparse_corruption
    assert np.abs(s[mask]).mean() > 20 * np.abs(s[~mask]).mean()


def test_deep_image_prior_without_rate_of_u_and_v_finds_nothing():
    image, _ = random_valued(scene(), 0.3, seed=0)
    result = dipsop.restore(image, dataclasses.replace(SMALL_WHOLE, alpha=0.0))
    assert not result.corrupted.any()
    assert np.abs(result.sparse_corruption).max() == 0
    assert result.effective_lambda == np.inf


def test_paper_preset_takes_the_published_first_steps():
    """Against the published loop in a few lines of autograd, with its rates on the mean, at a size where they agree."""
    size, steps = 64, 4
    preset = PRESETS["paper"]
    # The published rate of 500 on the mean over N values is 1000 / N per entry.
    config = dataclasses.replace(
        preset, width=8, input_noise=0.0, alpha=1000 / (3 * size * size), seed=3, init_scale=0.05, steps=150_000
    )
    assert preset.alpha == PUBLISHED_CORRUPTION_RATE == 1000 / (3 * 512 * 512)
    image, _ = salt_and_pepper(scene(size, size), 0.5, seed=0)
    fit = WholeImageFit(as_tensor(image, torch.device("cpu")), config)
    # In float64, since a rate of 1 makes much of the last digits.
    fit.network.double()
    fit.z, fit.y = fit.z.double(), fit.y.double()
    fit.corruption = SparseCorruption(fit.corruption.u.double(), fit.corruption.v.double())

    network = SkipUNet(32, 3, [8] * 5, 4).double()
    network.load_state_dict(fit.network.state_dict())
    z, y = fit.z.clone(), fit.y
    g = fit.corruption.u.clone().requires_grad_()
    h = fit.corruption.v.clone().requires_grad_()
    theta_step = torch.optim.SGD(network.parameters(), lr=1.0)
    corruption_step = torch.optim.SGD([g, h], lr=500.0)
    for _ in range(steps):
        theta_step.zero_grad()
        corruption_step.zero_grad()
        loss = torch.nn.functional.mse_loss(network(z) + g**2 - h**2, y)
        loss.backward()
        theta_step.step()
        corruption_step.step()
        assert float(fit.step(0.0)) == pytest.approx(loss.item(), rel=1e-9)
    assert torch.allclose(fit.corruption.u, g, rtol=1e-9)
    assert torch.allclose(fit.corruption.v, h, rtol=1e-9)
    for ours, theirs in zip(fit.network.parameters(), network.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-7, atol=1e-9)


def test_paper_preset_is_the_published_recipe():
    paper = PRESETS["paper"]
    assert (paper.steps, paper.width, paper.skip_width, paper.input_channels) == (150_000, 128, 4, 32)
    assert (paper.optimizer, paper.loss, paper.lr, paper.init_scale) == ("sgd", "squared", 1.0, 1e-5)
    assert (paper.decay, paper.corruption_step, paper.random_start) == ("none", "gradient", True)
    assert paper.input_noise == pytest.approx(1 / 30)
    assert paper.dtype == "float32"


def test_rate_of_u_and_v_means_the_same_at_two_sizes():
    """The same content tiled 2×2: residuals are equal, so must be what the rates make of them."""
    image = np.random.default_rng(0).random((32, 32, 3), dtype=np.float32)
    grown = []
    for tiled in (image, np.tile(image, (2, 2, 1))):
        fit = WholeImageFit(as_tensor(tiled, torch.device("cpu")), SMALL_WHOLE)
        with torch.no_grad():
            for _ in range(50):
                residual = 0.5 + fit.corruption.value - fit.y
                fit.corruption.flow_step(residual, fit.discrepant.corruption_rate)
        grown.append(fit.corruption.value)
    assert torch.equal(grown[0].tile(1, 1, 2, 2), grown[1])


def test_time_limit_ends_the_fit_and_schedules_follow_it():
    image, _ = random_valued(scene(), 0.3, seed=0)
    config = dataclasses.replace(SMALL_HELD_OUT, steps=100_000, time_limit=1.0)
    *_, last = dipsop.iter_restore(image, config)
    assert last.done == 1.0
    assert 1.0 <= last.seconds < 3.0
    assert last._fit._judged == SMALL_HELD_OUT.judgements
    assert dipsop.restore(image, dataclasses.replace(config, time_limit=0.2)).reason == "time limit reached"


def test_breaking_out_keeps_the_state_of_that_step():
    image, _ = random_valued(scene(), 0.3, seed=0)
    for step in dipsop.iter_restore(image, SMALL_WHOLE):
        if step.iteration == 5:
            break
    stopped = step.restoration("interrupted")
    assert (stopped.steps, stopped.reason) == (5, "interrupted")
    assert stopped.image.shape == image.shape


def test_shared_corruption_finds_whole_pixels():
    image, _ = random_valued(scene(), 0.2, seed=0, shared=True)
    for config in (SMALL_HELD_OUT, SMALL_WHOLE):
        result = dipsop.restore(image, dataclasses.replace(config, shared_corruption=True))
        assert (result.corrupted == result.corrupted[..., :1]).all()


def test_divergence_ends_the_run_with_a_sentence_that_names_step_and_rates():
    image, _ = random_valued(scene(), 0.3, seed=0)
    config = dataclasses.replace(
        SMALL_WHOLE, optimizer="sgd", loss="squared", lr=1.0, alpha=1e6, corruption_step="gradient"
    )
    with pytest.raises(dipsop.DivergenceError, match=r"step \d+ \(lr 1, alpha 1e\+06\).*lower"):
        dipsop.restore(image, dataclasses.replace(config, steps=200))


def test_bfloat16_and_float32_reach_the_same_picture():
    clean = scene(64, 64)
    image, _ = random_valued(clean, 0.3, seed=0)
    config = HeldOut(steps=60, widths=(8, 8, 8), crop=48)
    reached = [
        psnr(dipsop.restore(image, dataclasses.replace(config, dtype=d)).image, clean) for d in ("bfloat16", "float32")
    ]
    assert abs(reached[0] - reached[1]) < 1.5


def test_integers_are_read_over_their_whole_range():
    image = (scene() * 255).round().astype(np.uint8)
    as_float = (image / np.float32(255)).astype(np.float32)
    assert (dipsop.restore(image, SMALL_WHOLE).image == dipsop.restore(as_float, SMALL_WHOLE).image).all()


@pytest.mark.parametrize(
    ("image", "config", "complaint"),
    [
        (np.zeros((2, 2, 3, 1), np.float32), "quick", "shape"),
        (np.zeros((0, 4), np.float32), "quick", "shape"),
        (np.zeros((4, 4), np.int32), "quick", "uint8"),
        (np.full((4, 4), 1.5, np.float32), "quick", r"\[0, 1\]"),
        (np.full((4, 4), np.nan, np.float32), "quick", r"\[0, 1\]"),
        (np.zeros((4, 4), np.float32), "fast", "quick, best"),
    ],
)
def test_a_callers_mistake_is_a_value_error_that_says_what_was_expected(image, config, complaint):
    with pytest.raises(ValueError, match=complaint):
        dipsop.restore(image, config)


@pytest.mark.parametrize("budget", [{"steps": 0}, {"steps": 5, "time_limit": 0.0}, {"steps": 5, "time_limit": -1.0}])
def test_a_budget_of_nothing_is_refused(budget):
    with pytest.raises(ValueError, match="must be"):
        HeldOut(**budget)


def test_flips_are_undone():
    tile = torch.rand(1, 2, 3, 5)
    assert len({tuple(flipped(tile, f).flatten().tolist()) for f in range(8)}) == 8
    assert all(torch.equal(unflipped(flipped(tile, f), f), tile) for f in range(8))


def test_a_fit_whose_weights_leap_goes_on_from_their_mean():
    image = np.random.default_rng(0).random((40, 40, 3), dtype=np.float32)
    fit = HeldOutFit(as_tensor(image, torch.device("cpu")), dipsop.HeldOut(steps=40, crop=32, widths=(8, 8)))
    usual = max(float(fit.step(k / 40)) for k in range(20))
    with torch.no_grad():
        for weight in fit.predictor.parameters():
            weight.mul_(100)
    said = float(fit.step(0.5))
    assert said < 4 * usual
    mean = fit._mean_predictor.state_dict()
    assert all(torch.equal(weight, mean[name]) for name, weight in fit.predictor.state_dict().items())
    assert max(float(fit.step(0.5)) for _ in range(5)) < 1.5 * usual


def test_prediction_in_tiles_shows_no_seams(monkeypatch):
    image, _ = random_valued(scene(150, 170), 0.3, seed=0)
    fit = HeldOutFit(as_tensor(image, torch.device("cpu")), HeldOut(steps=9, judgements=1, flips=1, dtype="float32"))
    for _ in range(3):
        fit.step(0.0)
    whole = fit.network_output()
    monkeypatch.setattr("dipsop.restoration.held_out.TILE", 32)
    assert len(list(_tiles(fit.y))) == 30
    assert (whole - fit.network_output()).abs().max() < 1e-4


def test_judging_in_bands_is_judging_at_once(monkeypatch):
    image, _ = random_valued(scene(96, 120), 0.3, seed=0)
    y = as_tensor(image, torch.device("cpu"))
    judged = []
    for pixels in (1 << 20, 120 * 20):
        monkeypatch.setattr("dipsop.restoration.evidence.BAND", pixels)
        evidence = Evidence(y, torch.full_like(y, 0.7), 0.006, shared=False)
        evidence.update(as_tensor(scene(96, 120), torch.device("cpu")), torch.full_like(y, 0.02))
        judged.append(evidence.trust)
    assert torch.allclose(*judged, atol=1e-4)
