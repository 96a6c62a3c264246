"""The rivals of the classification benchmark, each by what its paper says that it does, on tiny images."""

import functools
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rivals_classification.coteaching_plus import CoTeachingPlus, kept_share, small_losses
from rivals_classification.dividemix import (
    DivideMix,
    divided,
    mean_prediction,
    negative_entropy,
    refine,
    sharpen,
    smaller_loss,
)
from rivals_classification.elr_plus import AVERAGE, RAMP, ELRPlus, average, average_share, loss
from rivals_classification.two_networks import TwoNetworks, mixed, mixing_weight, of_budget
from test_classification import CPU, colours, generator

from dipsop.classification import report
from dipsop.classification.config import TrainConfig
from dipsop.classification.posterior import of_given
from dipsop.classification.trainer import Trainer
from dipsop.errors import DivergenceError

CONFIG = TrainConfig(
    epochs=10, batch=8, optimizer="sgd", lr=0.05, momentum=0.9, weight_decay=1e-4, cutout=0, dtype="float32"
)
NOISY = colours(144, noise=0.4)
WRONG = NOISY.given != NOISY.true
RIVALS = [CoTeachingPlus, DivideMix, ELRPlus]


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


# What the three share


@functools.cache
def trained(rival):
    """A rival after five epochs, and its accuracies; of DivideMix five of ten, so that two of them warm it up."""
    epochs, lr = {CoTeachingPlus: (5, 0.02), DivideMix: (10, 0.05), ELRPlus: (5, 0.05)}[rival]
    method = rival(NOISY, replace(CONFIG, epochs=epochs, lr=lr), CPU)
    return method, list(itertools.islice(method.epochs(), 5))


@pytest.mark.parametrize("rival", RIVALS)
def test_a_rival_learns_through_wrong_labels_and_finds_them(rival):
    method, accuracies = trained(rival)
    assert accuracies[-1] > 0.8  # by chance 0.33
    p = method.probabilities(method.images, flip=True).numpy()
    assert p.sum(1) == pytest.approx(1, abs=1e-5)
    assert report.auroc(1 - of_given(p, NOISY.given), WRONG) > 0.9


def test_labels_of_dividemix_refine_towards_the_truth():
    method, _ = trained(DivideMix)
    network = method.networks[0]
    clean = method.clean_probability(network, epoch=5)
    assert report.auroc(1 - clean.numpy(), WRONG) > 0.9
    with torch.no_grad():
        predicted = mean_prediction([network], [method.images.float() / 255])
    refined = refine(method.one_hot, clean, predicted).numpy()
    of_truth = refined[np.arange(len(WRONG)), NOISY.true]
    assert of_truth[WRONG].mean() > 0.4  # the given labels say 0
    assert of_truth.mean() > (~WRONG).mean() + 0.1


def test_teachers_of_elr_plus_follow_their_own_network():
    method, _ = trained(ELRPlus)
    own = [float((weights(t) - weights(n)).norm()) for t, n in zip(method.teachers, method.networks, strict=True)]
    others = float((weights(method.teachers[0]) - weights(method.networks[1])).norm())
    assert 0 < min(own) <= max(own) < others / 3


@pytest.mark.parametrize("rival", RIVALS)
def test_same_seed_same_rival(rival):
    def end(seed):
        method = rival(NOISY.first(32), replace(CONFIG, epochs=2, batch=16, seed=seed), CPU)
        return list(method.epochs()), weights(method.networks[1])

    (first, one), (second, two) = end(0), end(0)
    assert first == second
    assert torch.equal(one, two)
    other = rival(NOISY.first(32), replace(CONFIG, seed=1), CPU)
    assert not torch.equal(weights(other.networks[0]), weights(rival(NOISY.first(32), CONFIG, CPU).networks[0]))


def test_the_first_network_starts_as_that_of_any_other_method_and_the_second_differs():
    first, second = CoTeachingPlus(NOISY, CONFIG, CPU).networks
    assert torch.equal(weights(first), weights(Trainer(NOISY, CONFIG, CPU).network))
    assert not torch.equal(weights(first), weights(second))


def test_both_networks_judge_by_the_mean_of_their_logits():
    method = ELRPlus(NOISY, CONFIG, CPU)
    x = method.images.float() / 255
    with torch.no_grad():
        expected = (sum(network.eval()(x) for network in method.networks) / 2).softmax(1)
    assert torch.allclose(TwoNetworks.probabilities(method, method.images), expected, atol=1e-6)


def test_a_loss_that_is_no_number_ends_a_rival_with_a_sentence():
    with pytest.raises(DivergenceError, match="in epoch 1"):
        list(ELRPlus(NOISY.first(32), replace(CONFIG, lr=1e30), CPU).epochs())


def test_batches_hold_every_sample_once_but_what_is_left_over():
    method = ELRPlus(NOISY, CONFIG, CPU)
    batches = method.batches(torch.arange(50) + 7, 16)
    assert [len(batch) for batch in batches] == [16, 16, 16]
    seen = torch.cat(batches).tolist()
    assert len(set(seen)) == 48
    assert set(seen) <= set(range(7, 57))
    (few,) = method.batches(torch.arange(5), 16)
    assert sorted(few.tolist()) == [0, 1, 2, 3, 4]


def test_what_papers_count_in_epochs_fits_the_budget():
    assert [of_budget(10, epochs) for epochs in (300, 60, 50, 20, 1)] == [10, 10, 10, 4, 1]


@pytest.mark.parametrize("alpha", [1, 4])
def test_mixing_weights_are_of_the_beta_distribution(alpha):
    from scipy.stats import beta, kstest

    random = generator()
    drawn = np.array([mixing_weight(alpha, random) for _ in range(2000)])
    assert drawn.min() >= 0.5
    assert kstest(drawn, lambda x: 2 * beta.cdf(x, alpha, alpha) - 1).pvalue > 0.05


def test_mixtures_are_convex():
    values = torch.tensor([[0.0], [1.0], [4.0]])
    assert mixed(values, torch.tensor([1, 2, 0]), 0.75).flatten().tolist() == [0.25, 1.75, 3.0]


# Co-teaching+


def test_small_losses_are_the_smallest_among_those_that_count():
    random = np.random.default_rng(0)
    losses, among = random.random(40), random.random(40) < 0.5
    chosen = small_losses(torch.from_numpy(losses), torch.from_numpy(among), 0.6).tolist()
    expected = sorted(np.flatnonzero(among), key=lambda k: losses[k])[: int(0.6 * among.sum())]
    assert chosen == expected
    assert small_losses(torch.tensor([3.0, 1.0]), torch.tensor([True, False]), 0.1).tolist() == [0]


def test_coteaching_drops_as_many_as_are_wrong_after_the_ramp():
    assert [kept_share(epoch, 0.4, 10) for epoch in (0, 5, 10, 40)] == pytest.approx([1, 0.8, 0.6, 0.6])


def batch_of_coteaching(monkeypatch, answers, epoch):
    """One batch of eight samples, with the answers that the two networks give, and what each is then taught."""
    method = CoTeachingPlus(NOISY.first(8), replace(CONFIG, batch=8, epochs=50), CPU)
    method.wrong = 0.5
    parts = [torch.nn.Parameter(logits.clone()) for logits in answers]
    monkeypatch.setattr(method, "networks", [lambda x, part=part: part for part in parts])
    monkeypatch.setattr(method, "batches", lambda samples, size: [samples])
    monkeypatch.setattr(method, "step", lambda which, loss, done: loss.backward() or 0.0)
    method.train(epoch)
    return [set(part.grad.abs().sum(1).nonzero()[:, 0].tolist()) if part.grad is not None else set() for part in parts]


def test_each_network_is_taught_what_the_other_finds_easy_among_what_they_disagree_on(monkeypatch):
    answers = [torch.randn(8, 3, generator=generator(seed)) for seed in (1, 2)]
    first, second = (F.cross_entropy(z, torch.from_numpy(NOISY.given[:8]), reduction="none").tolist() for z in answers)
    apart = [k for k in range(8) if answers[0][k].argmax() != answers[1][k].argmax()]
    assert 4 <= len(apart) < 8
    half = len(apart) // 2
    of_first, of_second = batch_of_coteaching(monkeypatch, answers, epoch=40)
    assert of_first == set(sorted(apart, key=second.__getitem__)[:half])
    assert of_second == set(sorted(apart, key=first.__getitem__)[:half])
    assert of_first != of_second
    everything = batch_of_coteaching(monkeypatch, answers, epoch=0)  # of the warm-up, before any is dropped
    assert everything == [set(range(8))] * 2


def test_networks_that_agree_teach_each_other_nothing(monkeypatch):
    same = torch.randn(8, 3, generator=generator())
    assert batch_of_coteaching(monkeypatch, [same, same], epoch=40) == [set(), set()]


# DivideMix


def test_the_mixture_tells_clean_from_wrong_losses():
    random = np.random.default_rng(0)
    losses = np.concatenate([random.gamma(2, 0.2, 600), random.normal(4, 1, 400)])
    wrong = np.arange(1000) >= 600
    clean = smaller_loss(losses, seed=0)
    assert ((clean > 0.5) == ~wrong).mean() > 0.95
    assert clean == pytest.approx(smaller_loss(7 * losses + 3, seed=0), abs=1e-6)
    assert clean[wrong].mean() < 0.1 < 0.9 < clean[~wrong].mean()


def test_losses_that_are_all_the_same_are_still_divided():
    clean = torch.from_numpy(smaller_loss(np.full(9, 1.5), seed=0))
    keeps, loses = divided(clean)
    assert sorted([*keeps.tolist(), *loses.tolist()]) == list(range(9))
    assert min(len(keeps), len(loses)) > 0
    keeps, loses = divided(torch.tensor([0.2, 0.9, 0.6, 0.1]))
    assert (keeps.tolist(), loses.tolist()) == ([1, 2], [0, 3])


def test_sharpening_squares_at_half_the_temperature():
    assert sharpen(torch.tensor([[0.6, 0.3, 0.1]])).flatten().tolist() == pytest.approx(
        [0.36 / 0.46, 0.09 / 0.46, 0.01 / 0.46]
    )


def test_a_clean_label_is_kept_and_a_wrong_one_gives_way_to_the_prediction():
    y, predicted = torch.eye(3)[[0, 0]], torch.tensor([[0.1, 0.8, 0.1]] * 2)
    kept, gave_way = refine(y, torch.tensor([1.0, 0.0]), predicted)
    assert torch.equal(kept, y[0])
    assert torch.allclose(gave_way, sharpen(predicted)[0])


def test_each_network_learns_from_the_division_that_the_other_made(monkeypatch):
    method = DivideMix(NOISY, CONFIG, CPU)
    learned = []
    monkeypatch.setattr(method, "clean_probability", lambda network, epoch: method.networks.index(network))
    monkeypatch.setattr(method, "_learn", lambda which, clean, epoch: learned.append((which, clean)) or 0.0)
    method.train(method.warmup)
    assert learned == [(0, 1), (1, 0)]


@pytest.mark.parametrize(
    ("noise", "share", "weight"),
    [("symmetric:0.5", 0.5, 25), ("symmetric:0.2", 0.2, 0), ("asymmetric:0.4", 0.4, 0), ("human:worse", 0.4, 25)],
)
def test_unlabelled_samples_count_as_published(noise, share, weight):
    data = replace(colours(noise=share), noise=noise)
    assert DivideMix(data, CONFIG, CPU).weight == weight


def test_negative_entropy_is_0_where_a_prediction_is_certain_and_least_where_it_is_uniform():
    assert float(negative_entropy(torch.tensor([[50.0, 0.0, 0.0]]))) == pytest.approx(0, abs=1e-6)
    assert float(negative_entropy(torch.zeros(1, 3))) == pytest.approx(-np.log(3))


# ELR+


def test_the_gradient_of_the_regularizer_is_that_of_the_closed_form():
    """∂/∂z of λ·log(1 − ⟨p, t⟩) is λ·p∘(⟨p, t⟩ − t) / (1 − ⟨p, t⟩); that of cross-entropy p − y."""
    random = generator()
    logits = torch.randn(6, 4, dtype=torch.float64, generator=random, requires_grad=True)
    y, t = (torch.rand(6, 4, dtype=torch.float64, generator=random) for _ in range(2))
    y, t = y / y.sum(1, keepdim=True), 0.8 * t / t.sum(1, keepdim=True)
    loss(logits, y, t, 3.0).backward()
    p = logits.detach().softmax(1)
    agreement = (p * t).sum(1, keepdim=True)
    expected = (p - y + 3.0 * p * (agreement - t) / (1 - agreement)) / 6
    assert torch.allclose(logits.grad, expected, rtol=1e-10, atol=1e-12)


def test_targets_remember_what_the_teacher_of_the_other_network_says():
    method = ELRPlus(NOISY.first(16), replace(CONFIG, epochs=1, batch=16), CPU)
    seen = []
    for k, teacher in enumerate(method.teachers):
        teacher.register_forward_hook(lambda _, __, logits, k=k: seen.append((k, logits.softmax(1))))
    order = []
    batches = method.batches
    method.batches = lambda samples, size: order.extend(batches(samples, size)) or order[-1:]
    list(method.epochs())
    assert [k for k, _ in seen] == [1, 0]
    for targets, index, (_, predicted) in zip(method.targets, order, seen, strict=True):
        assert torch.allclose(targets[index], 0.3 * predicted)
    again = method.remember(0, order[0], torch.full((16, 3), 1 / 3))
    assert torch.allclose(again, 0.7 * 0.3 * seen[0][1] + 0.1)


def test_asymmetric_noise_has_the_published_settings_of_its_own():
    method = ELRPlus(replace(NOISY, noise="asymmetric:0.4"), CONFIG, CPU)
    assert (method.weight, method.memory) == (1.0, 0.9)
    assert (ELRPlus(NOISY, CONFIG, CPU).weight, ELRPlus(NOISY, CONFIG, CPU).memory) == (3.0, 0.7)


def test_a_teacher_is_a_running_average_that_lengthens():
    teacher, network = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    expected = 0.75 * weights(teacher) + 0.25 * weights(network)
    average(teacher, network, 0.75)
    assert torch.allclose(weights(teacher), expected)
    shares = [average_share(done) for done in np.linspace(0, 1, 11)]
    assert shares == sorted(shares)
    assert shares[0] == pytest.approx(AVERAGE * np.exp(-5))
    assert average_share(RAMP) == average_share(1) == AVERAGE
