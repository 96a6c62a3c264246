"""A training that can go on: what train_start.py, train_look.py and train_marks.py have in common."""

import argparse
import copy
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from dipsop.optimizers import Optimizer
from dipsop.restoration.predictor import load_weights, save_weights

MOST_GRADIENT = 0.5  # its norm
SECONDS_BETWEEN_SAVES = 60
LEAST = 0.01  # of the rate, at the end
STEPS_AHEAD = 50  # that a GPU is given before it is asked for a number: else it is given minutes, and no clock tells


def options(parser: argparse.ArgumentParser, *, minutes: float, lr: float, out: str) -> None:
    """Add what all of them take, with these defaults."""
    parser.add_argument("--minutes", type=float, default=minutes)
    parser.add_argument("--lr", type=float, default=lr)
    parser.add_argument("--seed", type=int, default=0, help="another one for every leg of a training that goes on")
    parser.add_argument("--checkpoint", type=Path, help="goes on from there, and writes it")
    parser.add_argument("--out", type=Path, default=Path(out), help="goes on from there, if no checkpoint is")


class Course:
    """A network that learns, its running mean and its optimizer.

    Parameters
    ----------
    network : nn.Module
        Goes on from the checkpoint if there is one, or from the weights, or as it is.
    optimizer : callable
        Makes one of the parameters of the network.
    checkpoint : Path or None
        Of all that is needed to go on.
    weights : Path
        Of the running mean.
    warmup : int
        Steps over which the rate rises.
    averaging : float in [0, 1)
        Share of the old in the running mean.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        checkpoint: Path | None,
        weights: Path,
        *,
        warmup: int,
        averaging: float,
    ) -> None:
        goes_on = checkpoint is not None and checkpoint.exists()
        if weights.exists() and not goes_on:
            network.load_state_dict(load_weights(weights))
        self.network, self.average = network, copy.deepcopy(network).requires_grad_(False)
        self.optimizer = optimizer(network.parameters())
        self.checkpoint, self._warmup, self._averaging = checkpoint, warmup, averaging
        self.steps, self.seconds = 0, 0.0
        if checkpoint is not None and goes_on:
            device = next(network.parameters()).device
            state: dict[str, Any] = torch.load(checkpoint, weights_only=True, map_location=device)
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load(state["optimizer"])
            self.steps, self.seconds = state["steps"], state["seconds"]

    def save(self, out: Path) -> None:
        """Write the mean weights, and all that is needed to go on."""
        save_weights(self.average, out)
        if self.checkpoint:
            parts = {name: getattr(self, name).state_dict() for name in ("network", "average")}
            temporary = self.checkpoint.with_suffix(".part")
            state = {**parts, "optimizer": self.optimizer.state(), "steps": self.steps, "seconds": self.seconds}
            torch.save(state, temporary)
            temporary.replace(self.checkpoint)

    def train(self, step: Callable[[float], Tensor], seconds: float, lr: float, out: Path, held: float) -> None:
        """Take steps for so many seconds more; as it goes, everything is written, and the mean of what they say.

        Parameters
        ----------
        step : callable
            Takes one at the rate that it is given, by `learn`, and returns what is to be said of it.
        seconds, lr : float
        out : Path
            For the mean weights.
        held : float in [0, 1)
            For which share of the time the rate is `lr`; then it falls.
        """
        start, saved, before, said = time.monotonic(), 0.0, self.seconds, list[Tensor]()
        while (now := time.monotonic() - start) < seconds:
            said.append(step(lr * min(1, (1 - now / seconds) / (1 - held) + LEAST)))
            if self.steps % STEPS_AHEAD == 0:
                float(said[-1])
            self.seconds = before + now
            if now > saved + SECONDS_BETWEEN_SAVES:
                saved = now
                self.save(out)
                print(f"{self.steps} steps, {self.seconds:.0f} s: {fmean(map(float, said)):.4f}", flush=True)
                said.clear()
        self.save(out)

    def learn(self, loss: Tensor, lr: float) -> None:
        """Take a step down the loss, and the weights into their running mean."""
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), MOST_GRADIENT)
        self.optimizer.step(lr * min(1, (self.steps + 1) / self._warmup))
        self.steps += 1
        with torch.no_grad():
            means: list[Tensor] = list(self.average.parameters())
            share = max(1 - self._averaging, 10 / (self.steps + 10))
            torch._foreach_lerp_(means, list(self.network.parameters()), share)
