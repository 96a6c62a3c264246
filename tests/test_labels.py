"""The SOP loss and its (u, v) against the published formulas, step by step, and the traps of the public code."""

import pytest
import torch
import torch.nn.functional as F

from dipsop.sop.labels import (
    LEAST_PROBABILITY,
    PUBLISHED_BATCH,
    EarlyLearning,
    LabelCorruption,
    consistency,
    imbalance,
    sop_loss,
)

CLASSES = 5


def batch(seed, size=8):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(size, CLASSES, generator=random), torch.randint(0, CLASSES, (size,), generator=random)


def corruption(given, scale=0.3, rates=(10.0, 100.0)):
    made = LabelCorruption(given, CLASSES, rates, torch.Generator().manual_seed(1))
    random = torch.Generator().manual_seed(2)
    for factor, where in ((made.factors.u, made.is_given), (made.factors.v, ~made.is_given)):
        factor.copy_(scale * torch.rand(factor.shape, generator=random) * where)
    return made


def published_losses(logits, given, u, v):
    """The text of the paper, with a scalar u and a v per class: means over the batch."""
    y = F.one_hot(given, CLASSES).float()
    big_u, big_v = u[:, None].square() * y, v.square() * (1 - y)
    p = logits.softmax(1)
    q = (p + big_u - big_v.detach()).clamp(min=LEAST_PROBABILITY)
    q = q / q.sum(1, keepdim=True)
    squared = (F.one_hot(p.argmax(1), CLASSES) + big_u - big_v - y).square().sum(1)
    return (-(y * q.log()).sum(1) + squared).mean()


def test_loss_and_its_steps_are_the_published_ones():
    logits, given = batch(0, PUBLISHED_BATCH)
    made = corruption(given)
    u = made.factors.u.sum(1).requires_grad_()
    v = made.factors.v.clone().requires_grad_()
    theirs_logits = logits.clone().requires_grad_()
    published = published_losses(theirs_logits, given, u, v)
    published.backward()
    moved_u, moved_v = u.detach() - 10.0 * u.grad, v.detach() - 100.0 * v.grad

    index = torch.arange(PUBLISHED_BATCH)
    ours_logits, s = logits.clone().requires_grad_(), made.value(index).requires_grad_()
    losses = sop_loss(ours_logits, made.is_given, s)
    assert losses.mean().item() == pytest.approx(published.item(), rel=1e-5)
    losses.sum().backward()
    assert torch.allclose(ours_logits.grad / PUBLISHED_BATCH, theirs_logits.grad, atol=1e-7)
    made.step(index, s.grad)
    assert torch.allclose(made.factors.u.sum(1), moved_u.clamp(-1, 1), atol=1e-5)
    assert torch.allclose(made.factors.v, (moved_v * ~made.is_given).clamp(-1, 1), atol=1e-5)


def test_cross_entropy_moves_u_and_not_v():
    logits, given = batch(0)
    made = corruption(given)
    s = made.value(torch.arange(8)).requires_grad_()
    y = made.is_given.float()
    (gradient,) = torch.autograd.grad(sop_loss(logits, made.is_given, s).sum(), s)
    alone = 2 * (F.one_hot(logits.argmax(1), CLASSES) + s.detach() - y)
    assert torch.allclose(gradient[~made.is_given], alone[~made.is_given], atol=1e-6)
    assert not torch.allclose(gradient[made.is_given], alone[made.is_given], atol=1e-3)


def test_only_the_rows_of_the_batch_move():
    _, given = batch(0)
    made = corruption(given)
    before_u, before_v = made.factors.u.clone(), made.factors.v.clone()
    made.step(torch.tensor([1, 5]), torch.ones(2, CLASSES))
    still = [0, 2, 3, 4, 6, 7]
    assert torch.equal(made.factors.u[still], before_u[still])
    assert torch.equal(made.factors.v[still], before_v[still])
    assert (made.factors.u[[1, 5]] != before_u[[1, 5]]).any()


def test_u_lives_at_the_given_class_and_v_elsewhere_for_ever():
    _, given = batch(0)
    made = corruption(given)
    for k in range(20):
        made.step(torch.arange(8), torch.randn(8, CLASSES, generator=torch.Generator().manual_seed(k)))
    assert made.factors.u[~made.is_given].abs().max() == 0
    assert made.factors.v[made.is_given].abs().max() == 0


def test_a_factor_that_passed_one_can_come_back():
    _, given = batch(0)
    made = corruption(given)
    index = torch.arange(8)
    for _ in range(60):
        made.step(index, -torch.ones(8, CLASSES))  # drives u up
    assert made.value(index).max() == 1
    assert made.factors.u.max() <= 1
    made.step(index, torch.ones(8, CLASSES))
    assert made.value(index).max() < 1


def test_rates_are_those_of_a_sample_whatever_the_batch():
    logits, given = batch(0, 16)
    moved = []
    for parts in ([16], [4, 4, 4, 4]):
        made = corruption(given)
        for index in torch.arange(16).split(parts):
            s = made.value(index).requires_grad_()
            sop_loss(logits[index], made.is_given[index], s).sum().backward()
            made.step(index, s.grad)
        moved.append(made.factors.u)
    assert torch.allclose(*moved, atol=1e-7)


def test_start_is_published_and_survives_in_float32():
    _, given = batch(0, 4000)
    made = LabelCorruption(given, CLASSES, (10.0, 10.0), torch.Generator().manual_seed(0))
    u = made.factors.u[made.is_given]
    assert u.dtype == torch.float32
    assert u.std() == pytest.approx(1e-8, rel=0.05)
    assert (u.square() > 0).float().mean() > 0.99
    assert (u.half().square() == 0).all()


def test_a_wrong_label_ends_in_u_and_v():
    """A network that is sure of another class than the given one, for long."""
    logits = torch.zeros(2, CLASSES)
    logits[:, 3] = 6.0
    made = LabelCorruption(torch.tensor([3, 0]), CLASSES, (10.0, 10.0), torch.Generator().manual_seed(0))
    index = torch.arange(2)
    for _ in range(200):
        s = made.value(index).requires_grad_()
        sop_loss(logits, made.is_given, s).sum().backward()
        made.step(index, s.grad)
    right, wrong = made.value(index).abs().sum(1)
    assert wrong > 1.8  # u and v
    assert right < 0.01
    assert made.factors.v[1].abs().argmax() == 3


def test_consistency_is_zero_for_equal_views_and_moves_the_strong_one_alone():
    weak, _ = batch(0)
    weak.requires_grad_()
    strong = (weak.detach() + 1.0 * batch(3)[0]).requires_grad_()
    assert consistency(weak, weak.detach()).abs().max() < 1e-6
    loss = consistency(weak, strong)
    expected = F.kl_div(strong.log_softmax(1), weak.softmax(1), reduction="none").sum(1)
    assert torch.allclose(loss, expected, atol=1e-6)
    loss.sum().backward()
    assert weak.grad is None
    assert strong.grad.abs().sum() > 0


def test_imbalance_is_least_where_classes_are_even():
    even = 20 * torch.eye(CLASSES)
    assert imbalance(even) == pytest.approx(0, abs=1e-6)
    assert imbalance(20 * torch.eye(CLASSES)[[0] * 8]) > 1


def test_early_learning_pulls_towards_what_was_predicted_before():
    logits, given = batch(0)
    early = EarlyLearning(8, CLASSES, torch.device("cpu"))
    index = torch.arange(8)
    for _ in range(30):
        early.loss(logits, given, index)
    moving = logits.clone().requires_grad_()
    p = moving.softmax(1)
    with_memory = early.loss(moving, given, index)
    assert (with_memory < F.cross_entropy(logits, given, reduction="none")).all()
    with_memory.sum().backward()
    assert moving.grad.isfinite().all()
    assert torch.allclose(early.targets, p.detach(), atol=1e-2)
