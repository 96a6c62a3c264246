"""The look on trial: the log-odds that residuals come to alone, and what the trained network knows beyond them."""

from dataclasses import replace

import look
import look_rounds
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import train_look
from test_noise import IMAGES

from dipsop.pictures import noise
from dipsop.pictures.images import load
from dipsop.restoration.config import PRESETS
from dipsop.restoration.detection import Detection
from dipsop.restoration.fit import as_tensor
from dipsop.restoration.held_out import HeldOutFit
from dipsop.restoration.prior import trust_of

CPU = torch.device("cpu")


@pytest.mark.parametrize(("share", "at_most"), [(0.05, 0.9), (0.3, 0.95)])
def test_the_trained_look_is_nearer_to_the_truth_than_residuals_alone(share, at_most):
    """Of random values on a piece of a picture that it has not seen, by the first predictions of a fit."""
    clean = load(IMAGES / "astronaut.png").values[180:276, 180:276]
    y = (np.rint(255 * noise.random_valued(clean, share, 0)[0]) / 255).astype(np.float32)
    fit = HeldOutFit(as_tensor(y, CPU), PRESETS["quick"])
    alone, context = look.trained("float32")(fit.y, trust_of(fit.detection.corruption), *fit.predict_hidden())
    hit = as_tensor((np.abs(y - clean) > 1.5 / 255).astype(np.float32), CPU)
    entropy = F.binary_cross_entropy_with_logits
    assert entropy(alone + context, hit) < at_most * entropy(alone, hit)


def test_a_network_that_has_learned_nothing_adds_nothing():
    random = torch.Generator().manual_seed(0)
    y, trust, predicted = (torch.rand((2, 3, 24, 20), generator=random) for _ in range(3))
    _, context = look.Look("float32")(y, trust, predicted, torch.full_like(y, 0.05))
    assert not context.any()


def test_residuals_alone_are_the_odds_of_the_mixture_that_they_come_from():
    """Clean values with Laplace errors of scale b and a tenth of corrupted ones: b and the share are recovered."""
    b, shape = 0.02, (1, 1, 96, 96)
    random = np.random.default_rng(1)
    predicted, hit = torch.full(shape, 0.5), torch.from_numpy(random.random(shape) < 0.1)
    y = torch.where(
        hit, torch.from_numpy(random.random(shape)), torch.from_numpy(random.laplace(0.5, b, shape))
    ).float()
    log_odds, scale = look.by_residuals(y, (~hit).float(), predicted, torch.full(shape, 0.01))
    # A little below b: the trust in a value falls with its residual.
    assert scale[..., 8:-8, 8:-8].median() == pytest.approx(b, rel=0.15)
    expected = (y - predicted).abs() / scale + torch.log(2 * scale * 0.1 / 0.9)
    by_share = (log_odds - expected)[expected < 4]
    assert by_share.std() < 1e-3  # one π for the picture,
    assert by_share.mean().abs() < np.log(2)  # within a factor of 2 after two rounds


def test_a_grey_picture_gets_one_answer_for_its_one_channel():
    random = torch.Generator().manual_seed(2)
    parts = [torch.rand((1, 1, 20, 17), generator=random) for _ in range(3)] + [torch.full((1, 1, 20, 17), 0.05)]
    network = look.trained("float32")
    _, context = network(*parts)
    _, of_three = network(*(part.expand(1, 3, -1, -1) for part in parts))
    torch.testing.assert_close(context, of_three.mean(1, keepdim=True))


def test_what_is_around_multiplies_the_odds_of_u_and_v_up_to_where_residuals_are_followed():
    random = torch.Generator().manual_seed(3)
    y = torch.rand((1, 3, 40, 40), generator=random)
    predicted = (y + 0.05 * torch.randn(y.shape, generator=random)).clamp(0.01, 0.99)
    context = 2 * torch.randn(y.shape, generator=random)
    plain, looking = Detection(y, PRESETS["quick"]), look.LookingDetection(y, PRESETS["quick"])
    looking.context = context
    for detection in (plain, looking):
        detection.scale = torch.full_like(y, 0.03)
        detection._move(detection._residual(predicted.clone()), slice(None))
    log_odds = plain.corruption.odds.log().clamp(max=look.MOST_ALONE) + context
    torch.testing.assert_close(looking.corruption.odds.log(), log_odds, rtol=1e-3, atol=1e-3)
    assert torch.equal(looking.found, looking.corruption.odds > 1)


def test_a_fit_keeps_what_the_look_saw_at_every_round():
    y = torch.rand((1, 3, 32, 32), generator=torch.Generator().manual_seed(4))
    config = replace(PRESETS["quick"], steps=4, rounds=1, crop=32, batch=1, dtype="float32")
    fit = look_rounds.RecordedFit(y, config, looks=True)
    for step in range(4):
        fit.step(step / 4)
    assert len(fit.seen) == config.first_rounds
    (trust, value, scale), later = fit.seen[0], fit.seen[-1]
    torch.testing.assert_close(trust, trust_of(HeldOutFit(y, config).detection.corruption))
    assert value.shape == scale.shape == y.shape
    assert not torch.equal(later[1], value)


def test_crops_of_a_round_lie_upon_each_other(tmp_path):
    """Whatever flip and order of colours: all five are made of one picture here."""
    y = np.random.default_rng(5).integers(0, 256, (3, 100, 110)).astype(np.uint8)
    alike = (y / np.float32(255)).astype(np.float16)[None]
    np.savez(tmp_path / "0.npz", y=y, hit=y > 127, trust=alike, value=alike, scale=alike)
    seen, *others, hit = train_look.Rounds(tmp_path, seed=6).draw()
    for other in others:
        torch.testing.assert_close(other, seen, atol=1e-3, rtol=0)
    assert torch.equal(hit > 0, seen > 0.5)
