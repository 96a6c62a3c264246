"""Restoring a picture, start to end: results, budgets, choices, and the published recipe."""

import dataclasses
import doctest
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch

import dipsop
from dipsop import PRESETS, HeldOut, WholeImage
from dipsop.optimizers import SGD
from dipsop.pictures import images
from dipsop.pictures.noise import random_valued, salt_and_pepper
from dipsop.pictures.tiles import tiles
from dipsop.restoration.config import PUBLISHED_CORRUPTION_RATE
from dipsop.restoration.fit import as_tensor
from dipsop.restoration.held_out import HeldOutFit, flipped, unflipped
from dipsop.restoration.networks import SkipUNet
from dipsop.restoration.whole_image import WholeImageFit
from dipsop.sop import SparseCorruption, alpha_for

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
SMALL_HELD_OUT = HeldOut(steps=12, widths=(8, 8, 8), crop=32, rounds=3, dtype="float32")
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
    assert result.image.flags.writeable
    assert result.corrupted.flags.writeable
    assert np.isfinite(result.image).all()
    assert (result.steps, result.reason) == (3, "all steps taken")


@SMALL
def test_values_without_corruption_keep_the_observation_bit_for_bit_and_the_others_come_from_the_network(config):
    image, _ = random_valued(scene(), 0.3, seed=0)
    result = dipsop.restore(image, config)
    found, changed = result.corrupted, result.image != image
    assert (~changed).mean() > 0.4
    # By a probability of at least a tenth, and of a half where corruption was found; of nearly 1 at most of these.
    way, whole = result.image - image, result.network_output - image
    assert (way * whole >= 0).all()
    assert (np.abs(way) >= 0.099 * np.abs(whole))[changed].all()
    assert (np.abs(way) >= 0.499 * np.abs(whole))[found].all()
    assert (np.abs(way - whole) < 0.01)[found].sum() >= 0.5 * found.sum()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("polarity", ["both", "salt", "pepper"])
@pytest.mark.parametrize("shared", [False, True])
def test_picture_and_corruption_add_up_to_the_observation_where_corruption_was_found(shared, polarity, masked):
    image, corrupted = random_valued(scene(), 0.3, seed=0, shared=shared)
    config = dataclasses.replace(SMALL_HELD_OUT, shared_corruption=shared, polarity=polarity)
    result = dipsop.restore(image, config, mask=corrupted if masked else None)
    found = result.corrupted
    assert found.any()
    np.testing.assert_allclose((result.network_output + result.sparse_corruption)[found], image[found], atol=1e-6)
    assert (result.sparse_corruption[~found] == 0).all()
    assert not masked or (found == corrupted).all()


def test_the_default_preset_restores_a_shipped_picture_beyond_a_floor():
    """Measured: 39.1 dB after 25 steps (seed 1: 38.9), where the input has 14.0 and the 3×3 median 26.4."""
    crop = np.s_[0:96, 120:216]
    clean = images.load(ROOT / "images/astronaut.png").values[crop]
    image = images.load(ROOT / "images/astronaut_random_valued_30.png").values[crop]
    result = dipsop.restore(image, dataclasses.replace(PRESETS["quick"], steps=25))
    assert psnr(result.image, clean) > 38.5


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
    result = dipsop.restore(image, WholeImage(steps=250, width=16))
    assert psnr(result.image, clean) > psnr(image, clean) + 8
    s = result.sparse_corruption
    assert np.abs(s[mask]).mean() > 20 * np.abs(s[~mask]).mean()


def test_whole_image_fit_learns_a_frame_of_one_pixel_which_is_no_corruption():
    clean = scene(64, 64)
    clean[:, 0] = (0.9, 0.1, 0.5)
    image, _ = salt_and_pepper(clean, 0.3, seed=0)
    for border, learned in (("zeros", True), ("reflect", False)):
        result = dipsop.restore(image, WholeImage(steps=200, width=16, border=border))
        error = np.abs(result.network_output - clean)
        assert (error[:, 0].mean() < 0.12) == learned
        assert error[:, 1:].mean() < 0.02


def test_pairs_of_rate_and_start_with_one_lambda_find_the_same():
    clean = scene(48, 48)
    image, mask = random_valued(clean, 0.3, seed=0)

    def found(init_scale, lam):
        config = WholeImage(steps=120, width=8, alpha=alpha_for(lam, init_scale), init_scale=init_scale)
        return dipsop.restore(image, config).corrupted[mask].mean()

    same = [found(init_scale, 0.06) for init_scale in (1e-5, 1e-8)]
    assert same[0] == pytest.approx(same[1], abs=0.03)
    assert abs(found(1e-5, 0.09) - same[0]) > 0.06
    assert abs(found(1e-8, 0.03) - same[1]) > 0.06


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
    fit = WholeImageFit(as_tensor(image, CPU), config)
    # In float64, since a rate of 1 makes much of the last digits.
    fit.network.double()
    fit.z, fit.y = fit.z.double(), fit.y.double()
    fit.corruption = SparseCorruption(fit.corruption.u.double(), fit.corruption.v.double())

    network = SkipUNet(32, 3, [8] * 5, 4, "reflect").double()
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


def test_paper_preset_builds_what_was_published():
    """Ulyanov et al.: a network of 2,217,831 parameters, fed with 32 channels and fresh noise, by SGD as You et al."""
    fit = WholeImageFit(as_tensor(scene(64, 64), CPU), PRESETS["paper"])
    assert sum(p.numel() for p in fit.network.parameters()) == 2_217_831
    assert fit.z.shape[1] == 32
    assert 0 <= fit.z.min() < 0.001
    assert 0.099 < fit.z.max() <= 0.1
    difference = fit._perturbed_input() - fit._perturbed_input()
    assert difference.std().item() == pytest.approx(2**0.5 / 30, rel=0.01)
    for factor in (fit.corruption.u, fit.corruption.v):
        assert factor.shape == fit.y.shape
        assert factor.std().item() == pytest.approx(1e-5, rel=0.03)
        within = [(factor.abs() < k * 1e-5).float().mean().item() for k in (1, 2, 3)]
        assert within == pytest.approx([0.683, 0.954, 0.997], abs=0.02)  # normal
    for done in (0.0, 0.99):
        before, rates = [p.detach().clone() for p in fit.network.parameters()], []
        descend = fit._optimizer.step
        fit._optimizer.step = lambda lr, descend=descend, rates=rates: (rates.append(lr), descend(lr))
        fit.step(done)
        assert type(fit._optimizer) is SGD
        assert rates == [1.0]
        assert not all(torch.equal(a, b) for a, b in zip(before, fit.network.parameters(), strict=True))


@pytest.mark.parametrize("corruption_step", ["flow", "gradient"])
def test_rate_of_u_and_v_means_the_same_at_two_sizes(corruption_step):
    """The same content tiled 2×2, under a network that says 0.5 everywhere and goes on saying so."""
    image = np.random.default_rng(0).random((32, 32, 3), dtype=np.float32)
    grown = []
    for picture in (image, np.tile(image, (2, 2, 1))):
        config = WholeImage(
            steps=30, width=4, lr=1e-9, alpha=5e8, init_scale=1e-3, bound=None, corruption_step=corruption_step
        )
        fit = WholeImageFit(as_tensor(picture, CPU), config)
        torch.nn.init.zeros_(fit.network.last.weight)
        torch.nn.init.zeros_(fit.network.last.bias)
        for step in range(30):
            fit.step(step / 30)
        grown.append(fit.corruption.value)
    assert grown[0].abs().max() > 0.2
    torch.testing.assert_close(grown[1], grown[0].tile(1, 1, 2, 2), rtol=1e-4, atol=1e-9)


def test_a_time_limit_within_a_long_step_leaves_no_round_out(monkeypatch):
    learn = HeldOutFit._learn
    monkeypatch.setattr(HeldOutFit, "_learn", lambda fit, *of: (time.sleep(0.6), learn(fit, *of)))
    image, _ = random_valued(scene(), 0.3, seed=0)
    *_, last = dipsop.iter_restore(image, dataclasses.replace(SMALL_HELD_OUT, steps=100_000, time_limit=1.0))
    assert last.iteration < 4
    assert last._fit._rounds_taken == SMALL_HELD_OUT.rounds


@pytest.fixture
def clock(monkeypatch):
    """Puts the clock forward by some seconds."""
    ahead, real = [0.0], time.perf_counter
    monkeypatch.setattr(time, "perf_counter", lambda: real() + sum(ahead))
    return ahead.append


def test_a_time_limit_that_passes_between_two_steps_leaves_no_round_out(clock):
    image, _ = random_valued(scene(), 0.3, seed=0)
    for last in dipsop.iter_restore(image, dataclasses.replace(SMALL_HELD_OUT, steps=100_000, time_limit=1000.0)):
        if last.iteration == 3:
            clock(1000.0)  # as by a preview or a checkpoint
    assert last.iteration == 3
    assert last.done < 0.1
    assert last._fit._rounds_taken == SMALL_HELD_OUT.rounds


def test_time_limit_ends_the_fit_and_schedules_follow_it(clock, monkeypatch):
    learn = HeldOutFit._learn
    monkeypatch.setattr(HeldOutFit, "_learn", lambda fit, *of: (clock(100.0), learn(fit, *of))[1])
    image, _ = random_valued(scene(), 0.3, seed=0)
    config = dataclasses.replace(SMALL_HELD_OUT, steps=100_000, time_limit=1050.0)
    *_, last = dipsop.iter_restore(image, config)
    assert last.iteration == 11
    assert last.done == 1.0
    assert 1100.0 <= last.seconds < 1150.0
    assert last._fit._rounds_taken == SMALL_HELD_OUT.rounds
    assert dipsop.restore(image, dataclasses.replace(config, time_limit=150.0)).reason == "time limit reached"


def test_breaking_out_keeps_the_state_of_that_step():
    image, _ = random_valued(scene(), 0.3, seed=0)
    for step in dipsop.iter_restore(image, SMALL_WHOLE):
        if step.iteration == 5:
            break
    stopped = step.restoration("interrupted")
    assert (stopped.steps, stopped.reason) == (5, "interrupted")
    assert stopped.image.shape == image.shape


def test_shared_corruption_finds_whole_pixels():
    image, mask = random_valued(scene(), 0.2, seed=0, shared=True)
    for config in (SMALL_HELD_OUT, dataclasses.replace(SMALL_WHOLE, steps=150)):
        result = dipsop.restore(image, dataclasses.replace(config, shared_corruption=True))
        assert (result.corrupted == result.corrupted[..., :1]).all()
        found = result.corrupted[..., :1]
        assert found[mask[..., :1]].mean() > 0.5
        assert found[~mask[..., :1]].mean() < 0.05


def test_a_protected_channel_stays_when_its_pixel_is_found():
    image, _ = random_valued(scene(), 0.2, seed=0, shared=True)
    protected = np.broadcast_to(np.array([False, True, False]), image.shape)
    config = HeldOut(steps=4, rounds=2, flips=1, shared_corruption=True)  # with a look: without, it clears the pixel
    result = dipsop.restore(image, config, protected=protected)
    assert result.corrupted[..., 0].any()
    assert not result.corrupted[protected].any()
    assert (result.image[protected] == image[protected]).all()


def test_grey_stored_as_colour_is_restored_as_grey():
    grey, _ = random_valued(scene(channels=1), 0.2, seed=0)
    protected = np.zeros(grey.shape[:2], bool)
    protected[5:9] = True
    one = dipsop.restore(grey, SMALL_HELD_OUT, protected=protected)
    three = dipsop.restore(np.repeat(grey, 3, 2), SMALL_HELD_OUT, protected=protected)
    for name in ("image", "network_output", "sparse_corruption", "corrupted"):
        np.testing.assert_array_equal(getattr(three, name), np.repeat(getattr(one, name), 3, 2))
    of_dip = dipsop.restore(np.repeat(grey, 3, 2), SMALL_WHOLE)
    np.testing.assert_array_equal(of_dip.image, np.repeat(dipsop.restore(grey, SMALL_WHOLE).image, 3, 2))
    # A mask of one channel is about colours, so there are some.
    of_red = np.broadcast_to(np.array([True, False, False]), (*grey.shape[:2], 3))
    filled = dipsop.restore(np.repeat(grey, 3, 2), SMALL_HELD_OUT, mask=of_red)
    assert (filled.image[..., 1:] == grey).all()
    assert (filled.image[..., 0] != grey[..., 0]).mean() > 0.9


def test_a_mask_goes_with_a_grey_picture_and_lists_with_numbers():
    grey = scene(channels=1)[..., 0]
    mask = np.zeros(grey.shape, bool)
    mask[10:14, 10:14] = True
    assert (dipsop.restore(grey, SMALL_HELD_OUT, mask=mask).corrupted == mask).all()
    result = dipsop.restore(grey.tolist(), SMALL_HELD_OUT, mask=mask)
    assert result.image.shape == grey.shape


def test_a_picture_of_four_channels_starts_from_the_shipped_weights():
    clean = scene(64, 64, channels=4)
    image, _ = random_valued(clean, 0.2, seed=0)
    config = HeldOut(steps=2, rounds=1, flips=1)
    known, unknown = (
        psnr(dipsop.restore(image, dataclasses.replace(config, pretrained=start)).image, clean)
        for start in (True, False)
    )
    assert known > unknown + 1


def test_a_step_says_what_a_restoration_says():
    image, _ = random_valued(scene(), 0.3, seed=0)
    *_, last = dipsop.iter_restore(image, SMALL_HELD_OUT)
    whole = last.restoration()
    np.testing.assert_array_equal(last.image(), whole.image)
    np.testing.assert_array_equal(last.corrupted(), whole.corrupted)
    assert last.fraction_corrupted == pytest.approx(whole.corrupted.mean())


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


def test_a_network_that_is_to_fill_holes_learns_it_on_holes_of_their_shape_in_other_places(monkeypatch):
    picture = as_tensor(scene(64, 50), CPU)
    holes, scattered = torch.zeros_like(picture, dtype=torch.bool), torch.zeros_like(picture, dtype=torch.bool)
    holes[..., 20:29, 5:45] = True
    scattered[..., ::6, ::5] = True
    learned = []
    monkeypatch.setattr(
        "dipsop.restoration.held_out.loss", lambda said, y, weight: learned.append(weight) or said.value.mean()
    )
    for mask in (holes, scattered):
        fit = HeldOutFit(picture, dataclasses.replace(SMALL_HELD_OUT, most_hidden=1e-6, crop=64), mask)
        for _ in range(8):
            fit.step(0.0)
    of_holes, of_scattered = learned[:8], learned[8:]
    assert not any(w.any() for w in of_scattered)  # hidden at random alone, and of that next to nothing
    assert any(w.bool().sum() > 900 for w in of_holes)  # most of the hole of 1,080 values, turned


def test_lambda_is_none_where_the_mask_is_known():
    image, mask = random_valued(scene(), 0.3, seed=0)
    assert dipsop.restore(image, SMALL_HELD_OUT, mask=mask).effective_lambda is None
    assert 0 < dipsop.restore(image, SMALL_HELD_OUT).effective_lambda < np.inf


@pytest.mark.parametrize(
    ("config", "choice", "values", "expected"),
    [
        (HeldOut, "polarity", ["slat", ""], "one of both, salt, pepper"),
        (HeldOut, "flips", [0, 9], "1 to 8"),
        (HeldOut, "parts", [0, 1], "2 or more"),
        (HeldOut, "parts", [257], "256 or fewer"),
        (HeldOut, "rounds", [0, -1], "1 or more"),
        (HeldOut, "first_rounds", [-1], "0 or more"),
        (HeldOut, "crop", [0], "1 or more"),
        (HeldOut, "batch", [0], "1 or more"),
        (HeldOut, "warmup", [0], "1 or more"),
        (HeldOut, "hold", [0], "1 or more"),
        (HeldOut, "widths", [(), (8, 0)], "one or more numbers of channels, 1 or more each"),
        (HeldOut, "most_hidden", [0, 1, -0.1, np.nan], "between 0 and 1"),
        (HeldOut, "averaging", [1, -0.1, np.nan], "0 or above and below 1"),
        (HeldOut, "lr", [0, -1e-3, np.inf, np.nan], "above 0 and finite"),
        (HeldOut, "least_residual", [0, -0.1, np.nan], "above 0 and finite"),
        (HeldOut, "strength", [0, -1, np.inf, np.nan], "above 0 and finite"),
        (HeldOut, "dtype", ["float16"], "one of auto, bfloat16, float32"),
        (WholeImage, "dtype", ["float16"], "one of auto, bfloat16, float32"),
        (WholeImage, "optimizer", ["sdg"], "one of sgd, muon"),
        (WholeImage, "loss", ["l2"], "one of squared, absolute, huber"),
        (WholeImage, "corruption_step", ["jump"], "one of gradient, flow"),
        (WholeImage, "decay", ["linear"], "one of none, cosine"),
        (WholeImage, "bound", [0, -0.2, np.inf], "above 0 and finite"),
        (WholeImage, "huber_delta", [0, np.inf], "above 0 and finite"),
        (WholeImage, "width", [0], "1 or more"),
        (WholeImage, "skip_width", [0], "1 or more"),
        (WholeImage, "input_channels", [0], "1 or more"),
        (WholeImage, "init_scale", [0.5, 0.8], "below 0.5 with alpha=None"),
        (WholeImage, "input_noise", [-0.1, np.inf, np.nan], "0 or above and finite"),
    ],
)
def test_a_bad_choice_is_refused_in_a_sentence_that_names_it_and_what_was_expected(config, choice, values, expected):
    for value in values:
        with pytest.raises(ValueError, match=rf"^{choice} must (be|lie) {expected}, got ") as refused:
            config(steps=5, **{choice: value})
        assert str(refused.value).endswith(f"got {value!r}")


@pytest.mark.parametrize("budget", [{"steps": 0}, {"steps": 5, "time_limit": 0.0}, {"steps": 5, "time_limit": -1.0}])
def test_a_budget_of_nothing_is_refused(budget):
    with pytest.raises(ValueError, match="must be"):
        HeldOut(**budget)


def test_flips_are_undone():
    tile = torch.rand(1, 2, 3, 5)
    assert len({tuple(flipped(tile, f).flatten().tolist()) for f in range(8)}) == 8
    assert all(torch.equal(unflipped(flipped(tile, f), f), tile) for f in range(8))


@pytest.mark.parametrize("config", ["HeldOut(steps=1, crop=8)", "WholeImage(steps=1, width=4)"])
def test_a_fit_does_not_load_pytorchs_compiler(config):
    code = (
        f"import sys, numpy, dipsop; dipsop.restore(numpy.ones((8, 8)) / 2, dipsop.{config});"
        "print([name for name in sys.modules if name.startswith('torch._dynamo')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_fit_whose_weights_leap_goes_on_from_their_mean():
    image = np.random.default_rng(0).random((40, 40, 3), dtype=np.float32)
    fit = HeldOutFit(as_tensor(image, CPU), dipsop.HeldOut(steps=40, crop=32, widths=(8, 8)))
    usual = max(float(fit.step(k / 40)) for k in range(20))
    with torch.no_grad():
        for weight in fit.predictor.parameters():
            weight.mul_(100)
    said = float(fit.step(0.5))
    assert said < 4 * usual
    mean = fit._mean_predictor.state_dict()
    assert all(torch.equal(weight, mean[name]) for name, weight in fit.predictor.state_dict().items())
    assert max(float(fit.step(0.5)) for _ in range(5)) < 1.5 * usual


def test_a_loss_that_is_near_0_or_below_is_no_reason_to_leave_steps_out():
    """On a smooth picture the likelihood outweighs the error; three times the usual loss would be below it."""
    rows, columns = np.mgrid[:48, :48] / np.float32(48)
    image, _ = random_valued(np.stack([rows, columns, 1 - rows], -1).astype(np.float32), 0.05, seed=0)
    fit = HeldOutFit(as_tensor(image, CPU), dataclasses.replace(dipsop.PRESETS["quick"], steps=12, crop=32, rounds=1))
    losses = []
    for k in range(12):
        before = [weight.clone() for weight in fit.predictor.parameters()]
        losses.append(float(fit.step(k / 12)))
        assert any(not torch.equal(*pair) for pair in zip(before, fit.predictor.parameters(), strict=True))
    assert min(losses) < 0.1


@pytest.mark.parametrize(
    ("choices", "large", "parts"),
    [
        ({}, 1 << 20, [3, 3, 8]),
        ({}, 1000, [2, 6]),
        ({"steps": 4}, 1 << 20, [3, 8]),  # what is overdue is taken as one
        ({"widths": (32, 64, 96, 96), "steps": 4, "rounds": 1}, 1 << 20, [3, 3, 3, 8]),  # shipped weights: first rounds
    ],
)
def test_the_last_round_and_no_other_hides_values_in_all_parts(choices, large, parts, monkeypatch):
    monkeypatch.setattr("dipsop.restoration.held_out.LARGE", large)
    taken, predict = [], HeldOutFit.predict_hidden
    monkeypatch.setattr(HeldOutFit, "predict_hidden", lambda fit, n: (taken.append(n), predict(fit, n))[1])
    image, _ = random_valued(scene(40, 40), 0.3, seed=0)
    dipsop.restore(image, dataclasses.replace(SMALL_HELD_OUT, **choices))
    assert taken == parts


@SMALL
def test_a_fit_leaves_the_random_numbers_of_others_alone_on_gpus_too(config, monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    before = torch.random.get_rng_state()
    dipsop.restore(scene(), dataclasses.replace(config, steps=1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert seeded == []


def test_a_fit_of_one_step_takes_the_first_rounds_all_the_same_and_leaves_print_alone():
    page_of_print = (skimage.data.text() / 255).astype(np.float32)
    assert not dipsop.restore(page_of_print, HeldOut(steps=1)).corrupted.any()


def test_the_image_alone_takes_predictions_of_those_tiles_where_something_is_replaced(monkeypatch):
    monkeypatch.setattr("dipsop.restoration.held_out.TILE", 32)
    image, mask = scene(64, 96), np.zeros((64, 96), bool)
    mask[40:44, 70:74] = True
    *_, last = dipsop.iter_restore(image, SMALL_HELD_OUT, mask=mask)
    seen, predictor = [], last._fit._mean_predictor
    predictor.register_forward_hook(lambda _, given, __: seen.append(given[0].shape))
    alone = last.image()
    assert len(seen) == SMALL_HELD_OUT.flips
    whole = last.restoration()
    assert len(seen) == (1 + 6) * SMALL_HELD_OUT.flips
    np.testing.assert_array_equal(alone, whole.image)
    np.testing.assert_array_equal(last._fit.image(flips=1)[0, 0].numpy()[~mask], image[..., 0][~mask])


def test_the_image_alone_is_that_of_a_whole_restoration_where_values_are_doubtful(monkeypatch):
    monkeypatch.setattr("dipsop.restoration.held_out.TILE", 16)
    image = scene()
    image[:, :20], _ = random_valued(image[:, :20], 0.2, seed=0)
    *_, last = dipsop.iter_restore(image, SMALL_HELD_OUT)
    whole = last.restoration()
    assert whole.corrupted.any()
    np.testing.assert_array_equal(last.image(), whole.image)


def test_prediction_in_tiles_shows_no_seams(monkeypatch):
    image, _ = random_valued(scene(150, 170), 0.3, seed=0)
    fit = HeldOutFit(as_tensor(image, CPU), HeldOut(steps=9, rounds=1, flips=1, dtype="float32"))
    for _ in range(3):
        fit.step(0.0)
    whole = fit.network_output()
    monkeypatch.setattr("dipsop.restoration.held_out.TILE", 32)
    assert len(list(tiles(150, 170, 32))) == 30
    assert (whole - fit.network_output()).abs().max() < 1e-4


def test_the_examples_of_the_docstrings_run():
    package = Path(dipsop.__file__).parent
    shown = [path for path in package.rglob("*.py") if ">>>" in path.read_text(encoding="utf-8")]
    assert shown
    for path in shown:
        name = ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
        outcome = doctest.testmod(import_module(name))
        assert outcome.attempted > 0, name
        assert outcome.failed == 0, name
