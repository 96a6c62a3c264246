"""The look: what it adds to the log-odds of residuals, where it may, and how it is trained."""

import math
from dataclasses import replace
from functools import partial

import look_rounds
import numpy as np
import pytest
import torch
import train_look
from test_noise import IMAGES

from dipsop.pictures import noise
from dipsop.pictures.images import load
from dipsop.restoration.config import PRESETS, DetectionConfig
from dipsop.restoration.detection import Detection
from dipsop.restoration.fit import as_tensor
from dipsop.restoration.held_out import HeldOutFit
from dipsop.restoration.look import MOST_ALONE, Look, TiledLook, confirmed
from dipsop.sop import SparseCorruption

CPU = torch.device("cpu")


@pytest.mark.parametrize(("share", "at_most"), [(0.05, 0.8), (0.15, 0.9)])
def test_the_trained_look_brings_a_picture_nearer_to_the_truth_than_residuals_alone(share, at_most):
    """Random values on a piece of a picture that it has not seen, by the first predictions of a fit."""
    clean = load(IMAGES / "astronaut.png").values[180:276, 180:276]
    y = (np.rint(255 * noise.random_valued(clean, share, 0)[0]) / 255).astype(np.float32)

    def off(look):
        fit = HeldOutFit(as_tensor(y, CPU), replace(PRESETS["quick"], look="sparse" if look else "never"))
        value, scale = fit.predict_hidden(fit.config.parts_before)
        fit.detection.round(value.clone(), scale)
        return (fit.restored(value) - as_tensor(clean, CPU)).square().mean()

    assert off(look=True) < at_most * off(look=False)


def test_a_network_that_has_learned_nothing_adds_nothing():
    random = torch.Generator().manual_seed(0)
    y, predicted, alone = (torch.rand((2, 3, 24, 20), generator=random) for _ in range(3))
    assert not Look("float32")(y, predicted, torch.full_like(y, 0.05), alone).any()


def test_a_look_at_tiles_is_a_look_at_the_whole(monkeypatch):
    random = torch.Generator().manual_seed(6)
    y, residual, start = (torch.rand((1, 3, 96, 200), generator=random) for _ in range(3))
    parts = y, residual - 0.5, torch.full_like(y, 0.05), SparseCorruption.constant(start)
    look = TiledLook("float32", CPU)
    whole = look(*parts)
    monkeypatch.setattr("dipsop.restoration.look.TILE", 64)
    torch.testing.assert_close(look(*parts), whole, atol=2e-3, rtol=1e-3)


def observed(far=0.05):
    """What is seen, its prediction, most of it a little off and so much of it far, and an answer of a look."""
    random = torch.Generator().manual_seed(3)
    y = torch.rand((1, 3, 40, 40), generator=random)
    predicted = (y + 0.02 * torch.randn(y.shape, generator=random)).clamp(0.01, 0.99)
    predicted = torch.where(torch.rand(y.shape, generator=random) < far, 1 - y, predicted)
    return y, predicted, 2 * torch.randn(y.shape, generator=random)


def after_a_round(y, predicted, context=None, protected=None):
    look = None if context is None else lambda *seen: context.clone()
    detection = Detection(y, DetectionConfig(), protected=protected, first_rounds=9, look=look)
    detection.by_pixel = False
    detection.round(predicted.clone(), torch.full_like(y, 0.03))
    return detection


def test_what_is_around_is_added_to_log_odds_that_it_can_overrule():
    y, predicted, context = observed()
    plain, looking = after_a_round(y, predicted), after_a_round(y, predicted, context)
    alone = plain.corruption.odds.log()
    assert (alone > MOST_ALONE).float().mean() > 0.02
    expected = alone.clamp(-MOST_ALONE, MOST_ALONE) + context
    torch.testing.assert_close(looking.corruption.odds.log(), expected, rtol=1e-3, atol=1e-3)
    assert torch.equal(looking.found, looking.corruption.odds > 1)
    assert torch.equal(looking.prior.share, plain.prior.share)  # of residuals alone: nothing counts twice
    assert torch.equal(looking.prior.density, plain.prior.density)


def test_a_protected_value_stays_protected_whatever_is_around():
    y, predicted, context = observed()
    protected = torch.zeros_like(y, dtype=torch.bool)
    protected[..., 5:20, 5:20] = True
    assert torch.equal(after_a_round(y, predicted, context + 40, protected).found, ~protected)


def test_strokes_are_left_to_the_residuals():
    y, predicted, context = observed(far=0)
    y[..., 10:30, 18:21], predicted[..., 10:30, 18:21] = 0.9, 0.1
    looking = after_a_round(y, predicted, context + 40)
    assert looking.context is None
    assert torch.equal(looking.found, after_a_round(y, predicted).found)


def test_what_looks_like_strokes_to_the_residuals_alone_is_not_found():
    y, predicted, context = observed(far=0)
    y[..., 10:30, 18:21], predicted[..., 10:30, 18:21] = 0.9, 0.1
    assert after_a_round(y, predicted).found[..., 12:28, 18:21].all()
    assert not after_a_round(y, predicted, context - 40).found.any()


def test_told_that_pixels_are_hit_as_a_whole_the_channels_are_found_together_each_by_its_own_odds():
    y, predicted, context = observed()
    plain, shared = (
        Detection(y, DetectionConfig(shared_corruption=told), look=lambda *seen: context.clone())
        for told in (False, True)
    )
    for detection in (plain, shared):
        detection.round(predicted.clone(), torch.full_like(y, 0.02))
    assert torch.equal(shared.corruption.u, plain.corruption.u)
    assert torch.equal(shared.found, plain.found.any(1, keepdim=True).expand_as(y))
    assert shared.found.sum() > plain.found.sum() > 0


def test_a_share_is_confirmed_and_what_is_certain_always():
    odds = torch.tensor([0.5, 2.0, 4.0, 8.0, math.inf]).view(1, 1, 1, 5)
    corruption = SparseCorruption(odds.sqrt(), torch.zeros_like(odds))
    assert confirmed(torch.full_like(odds, -1.0), corruption) == 0.75  # 4 and 8 are above e, 2 is not
    assert confirmed(torch.full_like(odds, -50.0), corruption) == 0.25
    assert confirmed(torch.zeros_like(odds), SparseCorruption(0 * odds.clamp(max=1), 0 * odds.clamp(max=1))) == 0


@pytest.mark.parametrize(("share", "heeded"), [(0.1, 1), (0.24, 0.5), (0.4, 0)])
def test_the_look_counts_where_values_are_corrupted_sparsely_or_with_all_of_their_pixel(share, heeded):
    detection = Detection(observed()[0], DetectionConfig())
    detection.prior.share.fill_(share)
    detection.corruption = SparseCorruption.constant(torch.zeros_like(detection.y))
    detection.by_pixel = False
    assert detection._heeded() == pytest.approx(heeded, abs=1e-5)
    detection.by_pixel = True
    assert detection._heeded() == 1


def test_where_the_look_does_not_count_it_changes_nothing():
    y, predicted, context = observed(far=0.4)
    plain, looking = after_a_round(y, predicted), after_a_round(y, predicted, context)
    assert plain.prior.share > 0.3
    assert looking.context is None
    assert torch.equal(looking.corruption.u, plain.corruption.u)


def test_a_detection_that_looked_goes_on_from_its_state():
    y, predicted, context = observed()
    looking = after_a_round(y, predicted, context)
    again = Detection(y, DetectionConfig())
    again.load(looking.state())
    assert torch.equal(again.context, looking.context)
    assert again.effective_lambda() == looking.effective_lambda()


def test_only_a_fit_to_a_picture_in_colour_that_is_told_nothing_looks():
    y = torch.rand((1, 3, 24, 24), generator=torch.Generator().manual_seed(5))
    quick = PRESETS["quick"]
    assert HeldOutFit(y, quick).detection.look is not None
    told = {"look": "never"}, {"pretrained": False}, {"polarity": "salt"}
    for choice in told:
        assert HeldOutFit(y, replace(quick, **choice)).detection.look is None
    assert HeldOutFit(y, replace(quick, shared_corruption=True)).detection.look is not None
    assert HeldOutFit(y, quick, mask=y > 0.9).detection.look is None
    assert HeldOutFit(y[:, :1], quick).detection.look is None
    assert HeldOutFit(y[:, :1].expand(1, 3, -1, -1), quick).detection.look is None


def a_picture():
    return np.random.default_rng(0).integers(0, 255, (140, 120, 3)).astype(np.uint8)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(look_rounds, "STEPS", 4)
    monkeypatch.setattr(look_rounds, "ROUNDS", 1)
    monkeypatch.setattr(train_look, "CROP", 32)
    monkeypatch.setattr(train_look, "BATCH", 1)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_fit_keeps_what_the_look_saw_at_every_round(small, monkeypatch, seed):
    def marked(random, clean):
        y = clean.copy()
        y[10:14] = 0.9
        return y, clean, np.abs(y - clean) > 0

    monkeypatch.setattr(look_rounds, "damaged", marked)  # what is connected is recorded, too
    fit = look_rounds.rounds(look_rounds.Lessons([[a_picture()]], [[a_picture()]], seed, side=40), seed)
    assert fit["y"].shape == fit["clean"].shape == fit["hit"].shape == (3, 40, 40)
    assert (fit["y"] == fit["clean"])[~fit["hit"]].mean() > 0.5
    for name in ("predicted", "scale", "alone"):
        assert fit[name].shape == (4, 3, 40, 40)  # the first rounds, and the last at the last step
    assert not np.array_equal(fit["predicted"][0], fit["predicted"][1])


def test_crops_of_a_round_lie_upon_each_other(tmp_path):
    """Whatever flip and order of colours: all are made of one picture here."""
    y = np.random.default_rng(5).integers(0, 256, (3, 140, 150)).astype(np.uint8)
    alike = (y / np.float32(255)).astype(np.float16)[None]
    np.savez(tmp_path / "0.npz", y=y, clean=y, hit=y > 127, predicted=alike, scale=alike, alone=alike)
    parts = train_look.Rounds([tmp_path / "0.npz"], seed=6).draw()
    for name in ("clean", "predicted", "scale", "alone"):
        torch.testing.assert_close(parts[name], parts["y"], atol=1e-3, rtol=0)
    assert torch.equal(parts["hit"] > 0, parts["y"] > 0.5)


def test_a_look_goes_on_from_its_checkpoint_and_learns(tmp_path, small):
    np.savez(
        tmp_path / "0.npz", **look_rounds.rounds(look_rounds.Lessons([[a_picture()]], [[a_picture()]], 1, side=40), 1)
    )
    rounds = train_look.Rounds([tmp_path / "0.npz"], seed=0)
    out, checkpoint = tmp_path / "look.npz", tmp_path / "look.pt"
    course = train_look.course(checkpoint, out)
    before = train_look.loss(course.average, rounds.whole(last=True)[0])
    course.train(partial(train_look.step, course, rounds), 2, 1e-3, out, held=1 / 2)
    again = train_look.course(checkpoint, out)
    assert again.steps > 0
    assert all(map(torch.equal, again.average.parameters(), course.average.parameters()))
    assert train_look.loss(again.average, rounds.whole(last=True)[0]) < before
    assert "dB by residuals alone" in train_look.compared(again.average, rounds, last=True)
    seen = rounds.whole(last=True)[0]
    odds = SparseCorruption.constant(seen["alone"].div(2).exp_())
    said = TiledLook("float32", CPU, out)(seen["y"], seen["predicted"] - seen["y"], seen["scale"], odds)
    expected = train_look.log_odds(again.average, seen) - seen["alone"].clamp(-MOST_ALONE, MOST_ALONE)
    torch.testing.assert_close(said, expected, atol=0.05, rtol=0.05)  # kept in half precision
