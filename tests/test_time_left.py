"""How long a training still takes, as it is told within an epoch."""

import time

import numpy as np
import pytest
import torch

from dipsop.classification import held_out
from dipsop.classification.config import TrainConfig
from dipsop.classification.dataset import Dataset
from dipsop.classification.features import WIDTH
from dipsop.classification.trainer import Epoch, Step, Trainer
from dipsop.jobs.time_left import TimeLeft


def trainer(tests, epochs=3, method="sop", images=40):
    """One that has not begun: steps of 8 images."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (images + tests, 3, 16, 16)).astype(np.uint8)
    labels = np.arange(images + tests) % 2
    data = Dataset(pixels[:images], labels[:images], None, ("a", "b"), pixels[images:], labels[images:])
    return Trainer(data, TrainConfig(epochs=epochs, batch=8, dtype="float32", method=method), torch.device("cpu"))


@pytest.mark.parametrize(("method", "views"), [("sop", 1), ("sop+", 2)])
def test_time_left_is_near_the_truth_from_half_an_epoch_on(method, views, monkeypatch):
    """On a clock of our own: a step takes 1 s per image and view, a look a third of it, and the first step is slow."""
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    training = trainer(tests=24, method=method)
    left = TimeLeft(training, listing=5.0)
    said = []
    for epoch in (1, 2, 3):
        for step in range(1, 6):
            clock[0] += 8 * views + (60 if epoch == step == 1 else 0)
            left.see(Step(epoch))
            said.append((clock[0], left.done, left.seconds))
        clock[0] += 24 / 3
        left.see(Epoch(epoch, 0, 0, 0, 0, 0))
        said.append((clock[0], left.done, left.seconds))
    end = clock[0] + 2 * 40 / 3 + 5
    for now, done, seconds in said:
        if done >= 0.5 / 3:
            assert seconds == pytest.approx(end - now, rel=0.2)
    assert said[-1][1] == 1


def test_time_left_counts_the_models_that_judge_the_labels(monkeypatch):
    """A step takes 1 s: 15 of the training, and 5 models of 12 steps each, whose data are four fifths."""
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    random = np.random.default_rng(0)
    x, labels = random.random((40, WIDTH)).astype(np.float32), np.arange(40) % 2
    data = Dataset(x, labels, None, ("a", "b"), x[:0], labels[:0])
    config = TrainConfig(epochs=3, batch=8, dtype="float32", network="pretrained")
    training = Trainer(data, config, torch.device("cpu"))
    left = TimeLeft(training, listing=0.0)
    judging = held_out.steps(data, config, torch.device("cpu"))
    said = []
    for step in (step for steps in (training.steps(), judging) for step in steps):
        if isinstance(step, Step):
            clock[0] += 1
            left.see(step)
            said.append((clock[0], left.done, left.seconds))
    assert clock[0] == 100 + 15 + 60
    assert said[-1][1] == 1
    for now, done, seconds in said[2:-20]:
        assert seconds == pytest.approx(clock[0] - now, abs=8), done  # 8: a look at every image, and rounding


def test_steps_are_yielded_between_the_epochs_and_change_nothing():
    with_steps, without = trainer(tests=0), trainer(tests=0)
    heard = list(with_steps.steps())
    assert heard[:6] == [*[Step(1)] * 5, heard[5]]
    assert [event.number for event in heard if isinstance(event, Epoch)] == [1, 2, 3]
    for _ in without.epochs():
        pass
    assert all((with_steps.state()[name] == without.state()[name]).all() for name in ("u", "v"))
