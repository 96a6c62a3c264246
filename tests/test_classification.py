"""Views, networks, and the training loop: resumed, dealt out to processes, and what it makes of wrong labels."""

import gc
import math
import multiprocessing
import os
import socket
from dataclasses import replace

import numpy as np
import pytest
import torch

from dipsop.classification import report
from dipsop.classification.augment import SHIFT, pad, strong_view, weak_view
from dipsop.classification.classifier import Classifier
from dipsop.classification.config import RECIPES, TrainConfig, by_data
from dipsop.classification.dataset import Dataset
from dipsop.classification.label_noise import symmetric
from dipsop.classification.networks import FastNet, preactresnet18, resnet34
from dipsop.classification.trainer import Trainer, epoch_seed
from dipsop.optimizers import SGD

CPU = torch.device("cpu")
SMALL = TrainConfig(epochs=3, batch=32, lr=0.05, dtype="float32")


def colours(samples=192, noise=0.0, seed=0, classes=3):
    """Noisy images that are mostly red, green or blue."""
    random = np.random.default_rng(seed)
    true = random.integers(0, classes, samples + 30)
    images = random.integers(0, 160, (samples + 30, 3, 16, 16)).astype(np.uint8)
    images[np.arange(len(true)), true % 3] += 60
    given = symmetric(true, classes, noise, seed)
    names = tuple(f"class{k}" for k in range(classes))
    return Dataset(images[:samples], given[:samples], true[:samples], names, images[samples:], true[samples:])


def trained(data, config, **kw):
    trainer = Trainer(data, config, CPU, **kw)
    return trainer, list(trainer.epochs())


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_weak_view_shifts_by_a_few_pixels_and_flips_every_other_epoch():
    images = torch.arange(4 * 3 * 12 * 10).view(4, 3, 12, 10).remainder(251).to(torch.uint8)
    padded, index = pad(images), torch.arange(4)
    first, second = (weak_view(padded, index, epoch, generator()) for epoch in (0, 1))
    assert first.shape == images.shape
    assert torch.equal(first, second.flip(-1))
    for k in range(4):
        candidates = [
            padded[k].permute(2, 0, 1)[:, r : r + 12, c : c + 10]
            for r in range(2 * SHIFT + 1)
            for c in range(2 * SHIFT + 1)
        ]
        assert any(torch.equal(first[k], c) or torch.equal(first[k].flip(-1), c) for c in candidates)


def test_padding_reflects_the_border():
    images = torch.randint(0, 255, (2, 3, 9, 11), generator=generator()).to(torch.uint8)
    expected = torch.nn.functional.pad(images.float(), (SHIFT,) * 4, mode="reflect")
    assert torch.equal(pad(images).permute(0, 3, 1, 2).float(), expected)


def test_strong_view_keeps_range_and_shape_and_cuts_a_square_out():
    weak = torch.rand(64, 3, 32, 32, generator=generator())
    strong = strong_view(weak, generator(1))
    assert strong.shape == weak.shape
    assert strong.min() >= 0
    assert strong.max() <= 1
    grey = (strong == 0.5).all(1).flatten(1).sum(1)
    assert (grey >= 64).all()
    assert torch.equal(strong, strong_view(weak, generator(1)))
    assert not torch.equal(strong, strong_view(weak, generator(2)))


@pytest.mark.parametrize(
    ("method", "cutout", "covered"), [("ce", 9, 81), ("sop", 9, 81), ("sop+", 9, 0), ("sop", 0, 0)]
)
def test_a_grey_square_covers_a_part_of_every_view_but_of_the_weak_one_of_sop_plus(method, cutout, covered):
    """At 32×32; less where it hangs over the border."""
    data = replace(colours(samples=64), images=np.zeros((64, 3, 32, 32), np.uint8))
    trainer = Trainer(data, replace(SMALL, method=method, cutout=cutout), CPU)
    grey = (trainer._views(torch.arange(64), generator())[0] == 0.5).all(1).sum((1, 2))
    assert grey.max() == covered
    assert (grey > 0).all() == (covered > 0)


@pytest.mark.parametrize("recipe", ["sop", "sop+"])
def test_published_recipes_cover_nothing_of_a_weak_view(recipe):
    assert RECIPES[recipe].cutout == 0


def test_networks_have_the_published_sizes():
    assert sum(p.numel() for p in resnet34(10).parameters()) == 21_282_122
    assert sum(p.numel() for p in preactresnet18(10).parameters()) == 11_172_170
    for make in (resnet34, preactresnet18, FastNet):
        assert make(7).eval()(torch.rand(2, 3, 32, 32)).shape == (2, 7)


def test_fast_network_begins_by_handing_its_channels_on():
    for block in FastNet(10).blocks:
        for convolution, norm in ((block.first, block.first_norm), (block.second, block.second_norm)):
            inputs = convolution.in_channels
            x = torch.rand(1, inputs, 8, 8, generator=generator())
            torch.testing.assert_close(convolution(x)[:, :inputs], x)
            assert not norm.weight.requires_grad
            assert (norm.weight == 1).all()


def test_fast_network_begins_with_a_frozen_whitening():
    network = FastNet(10)
    images = torch.rand(64, 3, 16, 16, generator=generator()).cumsum(-1) / 8
    network.fit_whitening(images)
    out = network.whiten(images)[:, :12].transpose(0, 1).reshape(12, -1)
    out = out - out.mean(1, keepdim=True)
    correlation = torch.corrcoef(out.double())
    assert (correlation - torch.eye(12)).abs().max() < 0.05
    assert not network.whiten.weight.requires_grad


def test_same_seed_same_curve_and_another_seed_another():
    curves = [
        [epoch.loss for epoch in trained(colours(), replace(SMALL, epochs=1, seed=seed))[1]] for seed in (0, 0, 1)
    ]
    assert curves[0] == curves[1] != curves[2]


@pytest.mark.parametrize(("method", "shares"), [("ce", 1), ("sop", 1), ("sop+", 1), ("elr", 1), ("sop", 2)])
def test_a_resumed_run_ends_bit_equal(method, shares):
    data, config = colours(noise=0.3), replace(SMALL, method=method, shares=shares)
    whole, epochs = trained(data, config)
    broken = Trainer(data, config, CPU)
    next(broken.epochs())
    saved = broken.state()
    resumed = Trainer(data, config, CPU)
    resumed.load(saved)
    rest = list(resumed.epochs())
    assert [epoch.loss for epoch in rest] == [epoch.loss for epoch in epochs[1:]]
    assert all(torch.equal(a, b) for a, b in zip(whole.network.parameters(), resumed.network.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(whole.network.buffers(), resumed.network.buffers(), strict=True))
    remembered = {"ce": set(), "elr": {"targets"}}.get(method, {"u", "v"})
    a, b = whole.state(), resumed.state()
    assert remembered == a.keys() & {"u", "v", "targets"}
    assert all(torch.equal(a[name], b[name]) for name in remembered)


def test_a_stop_ends_an_epoch_between_its_steps():
    data = colours()
    asked = []

    def stop():
        asked.append(trainer.epochs_done)
        return len(asked) == 9

    trainer = Trainer(data, SMALL, CPU)
    assert trainer.steps_per_epoch == 6
    assert [epoch.number for epoch in trainer.epochs(stop)] == [1]
    assert asked == 6 * [0] + 3 * [1]
    assert trainer.epochs_done == 1


def _rank(rank, port, data, config, out):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE="2")
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    trainer, epochs = trained(data, config, rank=rank, world=2)
    state = trainer.state()
    if rank == 0:
        torch.save(
            {"losses": [e.loss for e in epochs], "tests": [e.test_accuracy for e in epochs], "u": state["u"]}, out
        )
    # Its threads must end before the interpreter does.
    torch.distributed.barrier()
    del trainer
    gc.collect()
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("method", ["sop", "sop+"])
def test_two_processes_give_the_curve_of_one(tmp_path, method):
    data, config = colours(noise=0.3), replace(SMALL, method=method, shares=2, epochs=2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    ranks = [
        context.Process(target=_rank, args=(rank, port, data, config, tmp_path / "out"), daemon=True) for rank in (0, 1)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
        assert process.exitcode == 0
    two = torch.load(tmp_path / "out")
    trainer, epochs = trained(data, config)
    assert two["losses"] == pytest.approx([epoch.loss for epoch in epochs], rel=1e-4)
    assert two["tests"] == pytest.approx([epoch.test_accuracy for epoch in epochs], abs=0.04)
    assert torch.allclose(two["u"], trainer.corruption.factors.u, rtol=1e-2, atol=1e-6)


def test_wrong_labels_are_ranked_first():
    data = colours(samples=480, noise=0.3)
    config = replace(SMALL, epochs=30)
    trainer, epochs = trained(data, config)
    wrong = data.given != data.true
    probabilities = trainer.network.probabilities(torch.from_numpy(data.images)).numpy()
    assert report.auroc(report.doubt(probabilities, data.given), wrong) > 0.95
    listed = report.suspects(probabilities, data.given, data.classes, [str(k) for k in range(len(wrong))])
    first = [int(suspect.sample) for suspect in listed[: wrong.sum()]]
    assert wrong[first].mean() > 0.85
    assert epochs[-1].test_accuracy > 0.8


def test_data_parallel_comes_before_compiling(monkeypatch):
    wrapped = object()
    monkeypatch.setattr("dipsop.classification.trainer._data_parallel", lambda network: wrapped)
    monkeypatch.setattr("torch.compile", lambda called: ("compiled", called))
    trainer = Trainer(colours(), replace(SMALL, shares=2, compile=True), CPU, rank=0, world=2)
    assert trainer._called == ("compiled", wrapped)  # else gradients would not be averaged


def test_the_compiled_part_of_a_step_is_one_graph(monkeypatch):
    def compiled(called, compile=torch.compile):
        return compile(called, backend="eager", fullgraph=True)  # raises where something breaks the graph

    monkeypatch.setattr("torch.compile", compiled)
    data, config = colours(samples=64), replace(SMALL, epochs=1, dtype="auto")
    _, (epoch,) = trained(data, replace(config, compile=True))
    assert epoch.loss == pytest.approx(trained(data, config)[1][0].loss, rel=1e-3)


def test_large_images_are_looked_at_a_few_at_a_time():
    network = Classifier("fast", 2)
    images = torch.randint(0, 256, (300, 3, 256, 256), dtype=torch.uint8)
    seen = []
    network.network.register_forward_hook(lambda module, inputs, out: seen.append(len(out)))
    network.fit_normalization(images)
    network.probabilities(images[:20], flip=False)
    assert sum(seen) == 20
    assert max(seen) == 500 // 64


def test_cross_entropy_lists_by_its_probabilities_alone():
    data = colours(samples=120, noise=0.3)
    trainer, _ = trained(data, replace(SMALL, method="ce"))
    probabilities = trainer.network.probabilities(torch.from_numpy(data.images)).numpy()
    believed = probabilities[np.arange(120), data.given]
    listed = report.suspects(probabilities, data.given, data.classes, data.names)
    assert (np.diff(believed[[int(suspect.sample) for suspect in listed]]) >= 0).all()
    predicted = probabilities.argmax(1)
    assert all(suspect.suggested == data.classes[predicted[int(suspect.sample)]] for suspect in listed)


def test_the_list_is_by_how_little_a_label_is_believed_and_suggests_what_is_believed_most():
    probabilities, given = np.array([[0.2, 0.8], [0.6, 0.4], [0.9, 0.1]]), np.array([0, 0, 1])
    assert report.doubt(probabilities, given).tolist() == pytest.approx([0.8, 0.4, 0.9])
    assert report.doubt(probabilities, given, np.array([True, False, False])).tolist() == pytest.approx([0, 0.4, 0.9])
    listed = report.suspects(probabilities, given, ("a", "b"), ["0", "1", "2"])
    assert [(suspect.sample, suspect.suggested) for suspect in listed] == [("2", "a"), ("0", "b"), ("1", "a")]


def test_without_truth_and_test_images_their_figures_are_nan():
    data = replace(
        colours(), true=None, test_images=np.zeros((0, 3, 16, 16), np.uint8), test_labels=np.zeros(0, np.int64)
    )
    _, (epoch,) = trained(data, replace(SMALL, epochs=1))
    assert math.isnan(epoch.true_accuracy)
    assert math.isnan(epoch.test_accuracy)


def test_fewer_samples_than_a_batch_make_one_smaller_batch():
    trainer, (epoch,) = trained(colours(samples=20), replace(SMALL, epochs=1, batch=128))
    assert (trainer.share_batch, trainer.steps_per_epoch) == (20, 1)
    assert math.isfinite(epoch.loss)


def steps_of(monkeypatch, config):
    """What SGD is set to in the first step of each epoch: rate, momentum, weight decay, Nesterov's or not."""
    seen = []

    def step(self, lr):
        seen.append([lr, self.momentum, self.weight_decay, self.nesterov])

    monkeypatch.setattr(SGD, "step", step)
    monkeypatch.setattr(
        Trainer, "_learn", lambda self, share, index, random: torch.zeros(3)
    )  # who steps needs no slope
    data = replace(colours(samples=16), test_labels=np.zeros(0, np.int64))
    trainer, _ = trained(data, replace(config, network="fast", batch=16))
    assert trainer.steps_per_epoch == 1
    return [rate for rate, *_ in seen], [rest for _, *rest in seen]


def test_sop_moves_the_network_as_published(monkeypatch):
    """Plain momentum 0.9 at 0.02, and at a tenth of it from epochs 40 and 80 on (arXiv 2202.14026, appendix)."""
    rates, others = steps_of(monkeypatch, RECIPES["sop"])
    assert rates == pytest.approx([0.02] * 40 + [0.002] * 40 + [0.0002] * 40)
    assert others == [[0.9, 5e-4, False]] * 120


def test_sop_plus_follows_the_published_cosine(monkeypatch):
    """As their code: torch's CosineAnnealingLR over 300 epochs, from 0.02 to 0.0002."""
    theirs = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.02)
    schedule, expected = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, 300, eta_min=0.0002), []
    for _ in range(300):
        expected.append(theirs.param_groups[0]["lr"])
        theirs.step()
        schedule.step()
    rates, others = steps_of(monkeypatch, RECIPES["sop+"])
    assert rates == pytest.approx(expected, rel=1e-6)
    assert others == [[0.9, 5e-4, False]] * 300


@pytest.mark.parametrize("batch", [32, 128])
@pytest.mark.parametrize(
    ("recipe", "classes", "noise", "rate_u", "rate_v"),
    [
        ("sop", 3, "none", 10, 10),
        ("sop", 3, "asymmetric:0.4", 10, 100),
        ("sop+", 100, "symmetric:0.2", 1, 10),
        ("sop+", 100, "asymmetric:0.2", 1, 100),
    ],
)
def test_a_step_moves_u_and_v_as_published(recipe, classes, noise, rate_u, rate_v, batch):
    """As their code: SGD on the mean over a batch of 128. Of another size, each sample moves as far."""
    config = replace(RECIPES[recipe], **by_data(recipe, classes, noise, 50_000), batch=batch)
    trainer = Trainer(colours(samples=batch, classes=classes), replace(config, network="fast", dtype="float32"), CPU)
    y = torch.nn.functional.one_hot(trainer.given, classes).float()
    u, v = trainer.corruption.factors.u, trainer.corruption.factors.v
    u.copy_(y * torch.rand(y.shape, generator=generator(1)) / 2)  # so large that all terms count
    v.copy_((1 - y) * torch.rand(y.shape, generator=generator(2)) / 2)
    their_u, their_v, logits = u.clone().requires_grad_(), v.clone().requires_grad_(), []
    trainer.network.register_forward_hook(lambda network, images, out: logits.append(out.detach()[:batch]))
    trainer.network.train()
    trainer._learn(0, torch.arange(batch), generator())
    p = logits[0].softmax(1)
    in_given, in_others = their_u**2 * y, their_v**2 * (1 - y)
    q = torch.nn.functional.normalize((p + in_given - in_others.detach()).clamp(min=1e-4), p=1)
    predicted = torch.nn.functional.one_hot(p.argmax(1), classes)
    loss = -(y * q.log()).sum(1).mean() + (predicted + in_given - in_others - y).square().sum(1).mean()
    theirs = torch.optim.SGD([{"params": their_u, "lr": rate_u}, {"params": their_v, "lr": rate_v}])
    (loss * batch / 128).backward()
    theirs.step()
    assert torch.allclose(u, their_u.clamp(-1, 1), atol=1e-5)
    assert torch.allclose(v, their_v.clamp(-1, 1), atol=1e-5)


@pytest.mark.parametrize(
    ("samples", "batch"), [(2, 16), (107, 16), (600, 16), (3_000, 32), (10_000, 128), (50_000, 512), (99_999, 512)]
)
def test_few_samples_are_taken_in_small_batches(samples, batch):
    assert by_data("fast", 10, "none", samples) == {"batch": batch, "lr": pytest.approx(0.02 * (batch / 512) ** 0.5)}


@pytest.mark.parametrize(("samples", "batch"), [(2, 8), (107, 8), (300, 32), (600, 64), (10_000, 128)])
def test_few_samples_are_taken_in_small_batches_where_features_are_learned_from(samples, batch):
    expected = {"batch": batch, "lr": pytest.approx(0.2 * (batch / 128) ** 0.5)}
    assert by_data("pretrained", 10, "none", samples) == expected


def test_a_batch_that_was_asked_for_has_the_rate_that_goes_with_it():
    assert by_data("fast", 10, "none", 100, batch=512)["lr"] == pytest.approx(0.02)
    assert by_data("fast", 10, "none", 100, batch=64)["lr"] == pytest.approx(0.02 / 8**0.5)
    assert by_data("fast", 10, "none", 10_000, batch=2048) == {"batch": 2048, "lr": pytest.approx(0.04)}


@pytest.mark.parametrize("change", [{"epochs": 0}, {"batch": 10, "shares": 3}, {"lr": 0.0}])
def test_settings_that_make_no_sense_are_refused(change):
    with pytest.raises(ValueError, match="must be"):
        TrainConfig(**change)


def test_auroc_is_the_share_of_ordered_pairs():
    random = np.random.default_rng(0)
    scores, wrong = random.integers(0, 6, 60) / 5, random.random(60) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[wrong] for b in scores[~wrong]]
    assert report.auroc(scores, wrong) == pytest.approx(np.mean(pairs))
    assert math.isnan(report.auroc(scores, np.zeros(60, bool)))


def test_average_precision_is_one_for_a_perfect_list_and_the_share_for_a_blind_one():
    wrong = np.arange(50) < 20
    assert report.average_precision(-np.arange(50.0), wrong) == pytest.approx(1)
    assert report.average_precision(np.zeros(50), wrong) == pytest.approx(0.4)
    # Wrong, right, wrong: (1/1 + 2/3) / 2.
    assert report.average_precision(np.array([3.0, 2.0, 1.0]), np.array([True, False, True])) == pytest.approx(5 / 6)


def test_the_seed_of_an_epoch_is_the_same_in_every_python():
    # numpy's SeedSequence is specified and the same everywhere; these are the upper 63 of the first 64 bits it gives.
    assert epoch_seed(0, 0, 0) == 7896617691693857887
    assert epoch_seed(1, 2, 3) == 6498626229777268288
    near = {epoch_seed(seed, epoch, share) for seed in range(4) for epoch in range(4) for share in range(4)}
    assert len(near) == 64
    assert all(0 <= seed < 2**63 for seed in near)
    assert epoch_seed(2**32 - 1, 299, 7) < 2**63
