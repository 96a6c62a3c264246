"""What the network is asked and what it says, and the pretrained weights that are shipped."""

import numpy as np
import pytest
import torch

import dipsop
from dipsop import HeldOut
from dipsop.pictures import noise
from dipsop.restoration.config import SHIPPED_WIDTHS
from dipsop.restoration.predictor import (
    HeldOutPredictor,
    Prediction,
    loss,
    pretrained_weights,
    save_weights,
)


def predictor():
    predictor = HeldOutPredictor(3, SHIPPED_WIDTHS, "float32")
    predictor.load_state_dict(pretrained_weights())
    return predictor.requires_grad_(False)


def picture(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_an_untrained_predictor_gives_the_filling():
    y, trust = picture(0, 2, 3, 20, 24), (picture(1, 2, 3, 20, 24) < 0.6).float()
    said = HeldOutPredictor(3, (8, 8), "float32")(y, trust)
    assert torch.equal(said.value, said.filling)


def test_hidden_values_are_not_seen():
    y, trust = picture(0, 1, 3, 40, 40), (picture(1, 1, 3, 40, 40) < 0.6).float()
    other = torch.where(trust > 0, y, picture(2, 1, 3, 40, 40))
    assert (predictor()(y, trust).value - predictor()(other, trust).value).abs().max() < 1e-4
    assert (predictor()(y, trust).value - predictor()(1 - y, trust).value).abs().max() > 0.2


def test_prediction_follows_the_contrast():
    """Half the contrast is the same task: errors and scales of half the size."""
    y, trust = 0.25 + 0.5 * picture(0, 1, 3, 40, 40), (picture(1, 1, 3, 40, 40) < 0.6).float()
    whole, half = predictor()(y, trust), predictor()(0.25 + y / 2, trust)
    off = half.value - 0.25 - whole.value / 2  # by little: it also sees how bright a place is
    assert off.abs().mean() < 0.006
    assert off.abs().max() < 0.045
    assert half.scale.mean() == pytest.approx(float(whole.scale.mean()) / 2, rel=0.1)


def test_a_grey_picture_is_three_equal_channels():
    y, trust = picture(0, 1, 1, 24, 24), (picture(1, 1, 1, 24, 24) < 0.6).float()
    grey = predictor()(y, trust)
    assert grey.value.shape == grey.scale.shape == y.shape
    colour = predictor()(y.expand(1, 3, 24, 24), trust.expand(1, 3, 24, 24))
    assert torch.allclose(grey.value, colour.value.mean(1, keepdim=True), atol=1e-5)


def test_loss_is_least_at_the_truth_and_at_the_mean_error():
    truth, weight = picture(0, 1, 1, 32, 32), torch.ones(1, 1, 32, 32)
    filling = truth + 0.1
    off = truth + 0.05 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1)).sign()
    losses = [
        float(loss(Prediction(off, torch.full_like(truth, b), filling), truth, weight)) for b in (0.02, 0.05, 0.12)
    ]
    assert losses[1] < losses[0]
    assert losses[1] < losses[2]
    assert float(loss(Prediction(truth, torch.full_like(truth, 0.05), filling), truth, weight)) < losses[1]


def test_loss_has_a_gradient_where_the_prediction_is_exact():
    truth = picture(0, 1, 1, 8, 8)
    scale = torch.full_like(truth, 0.1).requires_grad_()
    loss(Prediction(truth, scale, truth + 0.1), truth, torch.ones_like(truth)).backward()
    assert scale.grad.isfinite().all()


def test_pretrained_weights_are_those_of_one_network():
    assert HeldOut(steps=1).starts_pretrained
    assert not HeldOut(steps=1, widths=(16, 16)).starts_pretrained
    assert not HeldOut(steps=1, pretrained=False).starts_pretrained


@pytest.mark.parametrize(("channels", "groups"), [(2, (1, 1)), (4, (3, 1)), (5, (3, 1, 1)), (7, (3, 3, 1))])
def test_pictures_of_other_channels_go_through_some_at_a_time(channels, groups):
    predict = predictor()
    y, trust = picture(0, 1, channels, 16, 24), picture(1, 1, channels, 16, 24)
    whole = predict(y, trust)
    parts = [predict(*part) for part in zip(y.split(groups, 1), trust.split(groups, 1), strict=True)]
    for said, *of_parts in zip(whole, *parts, strict=True):
        torch.testing.assert_close(said, torch.cat(of_parts, 1))


def test_pretrained_weights_are_what_was_saved(tmp_path, monkeypatch):
    made = HeldOutPredictor(3, SHIPPED_WIDTHS)
    save_weights(made, tmp_path / "weights.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["weights.npz"]
    monkeypatch.setattr("dipsop.restoration.predictor._SHIPPED", tmp_path / "weights.npz")
    read = pretrained_weights()
    assert all(torch.allclose(read[name], weight, atol=1e-3) for name, weight in made.state_dict().items())


def test_pretrained_weights_know_photographs_and_the_fit_works_without_them():
    from skimage.data import astronaut

    clean = (astronaut()[180:244, 180:260] / 255).astype(np.float32)
    image, _ = noise.salt_and_pepper(clean, 0.5, seed=0)

    def reached(**settings):
        restored = dipsop.restore(image, HeldOut(steps=12, rounds=2, **settings)).image
        return -10 * np.log10(np.mean((restored - clean) ** 2))

    assert reached() > reached(pretrained=False) + 2
    assert reached(pretrained=False) > 15
