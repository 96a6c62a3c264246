"""The training loop: a data set in, epochs out; the consumer shows, records, saves or stops.

    for epoch in Trainer(data, config, device).epochs():      # breaking out is how one stops
        ...

`steps` is the same with every step between, for whoever wants to see an epoch grow.

Everything random is drawn from (seed, epoch, share), so an epoch that starts from a saved state is the same epoch, bit
for bit, and needs no random state saved. The truth about the labels comes in for the figures of an epoch alone.
"""

import math
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from dipsop.classification.augment import cut_out, pad, strong_view, weak_view
from dipsop.classification.classifier import classifier
from dipsop.classification.config import TrainConfig
from dipsop.classification.dataset import Dataset
from dipsop.classification.distributed import summed
from dipsop.classification.shares import ShareStatistics
from dipsop.compute import seeded
from dipsop.errors import DivergenceError
from dipsop.optimizers import SGD, Muon, Optimizer
from dipsop.sop.corruption import SparseCorruption
from dipsop.sop.labels import EarlyLearning, LabelCorruption, consistency, imbalance, sop_loss


@dataclass(frozen=True)
class Step:
    """One step done, of the epoch that is under way."""

    epoch: int  # from 1


@dataclass(frozen=True)
class Epoch:
    """One epoch done: figures over the training samples as they were seen, and on the test images.

    Attributes
    ----------
    number : int, from 1
    loss : float
        Mean over the samples.
    given_accuracy, true_accuracy : float in [0, 1]
        How often the prediction on the weak view was the given label, the true one (NaN where that is unknown).
    test_accuracy : float in [0, 1], or NaN without test images
    seconds : float
        Of this epoch.
    """

    number: int
    loss: float
    given_accuracy: float
    true_accuracy: float
    test_accuracy: float
    seconds: float


class Trainer:
    """The state of a training run: θ, (u, v), optimizer, batch statistics.

    Parameters
    ----------
    data : Dataset
        With features in place of images where the network is "pretrained".
    config : TrainConfig
    device : torch.device
    rank, world : int
        Of this process among those that train together; `torch.distributed` is initialized where there are several.

    Attributes
    ----------
    epochs_done : int
    """

    def __init__(self, data: Dataset, config: TrainConfig, device: torch.device, rank: int = 0, world: int = 1) -> None:
        if config.shares % world:
            raise ValueError(f"shares must be a multiple of the processes, got {config.shares} and {world}")
        self.data, self.config, self.device = data, config, device
        self.epochs_done = 0
        self._world = world
        self._own_shares = range(rank, config.shares, world)
        images = torch.from_numpy(data.images).to(device)
        self._samples = images if config.network == "pretrained" else pad(images)
        self.given = torch.from_numpy(data.given).to(device)
        self._true = None if data.true is None else torch.from_numpy(data.true).to(device)
        self._test_images = torch.from_numpy(data.test_images).to(device)
        with seeded(config.seed):
            network = classifier(config.network, len(data.classes), config.dtype, device)
        network.fit_normalization(images)
        self.network = network
        self._parallel = _data_parallel(network) if world > 1 else None
        called = self._parallel or network
        self._called = torch.compile(called) if config.compile else called
        self._optimizer = optimizer_of(network, config)
        self._statistics = ShareStatistics(network, self._own_shares, config.shares, world)
        self.corruption: LabelCorruption | None = None
        self._early: EarlyLearning | None = None
        if config.method in ("sop", "sop+"):
            random = torch.Generator().manual_seed(config.seed)
            # Drawn for all samples, whoever owns them; a process moves the rows of its own shares alone.
            self.corruption = LabelCorruption(
                self.given,
                len(data.classes),
                (config.rate_u, config.rate_v),
                random,
                trusted=None if data.trusted is None else torch.from_numpy(data.trusted).to(device),
            )
        elif config.method == "elr":
            self._early = EarlyLearning(len(self.given), len(data.classes), device)

    @property
    def share_batch(self) -> int:
        """Samples of one share in a step: fewer than asked for where a share has no more."""
        return min(self.config.batch, len(self.given) // self.config.shares * self.config.shares) // self.config.shares

    @property
    def steps_per_epoch(self) -> int:
        """Steps of full batches."""
        return len(self.given) // self.config.shares // self.share_batch

    def epochs(self, stop: Callable[[], bool] | None = None) -> Iterator[Epoch]:
        """Train from where the state stands to the last epoch; what `steps` does, without the steps."""
        return (done for done in self.steps(stop) if isinstance(done, Epoch))

    def steps(self, stop: Callable[[], bool] | None = None) -> Iterator[Step | Epoch]:
        """Train from where the state stands to the last epoch.

        Parameters
        ----------
        stop : callable or None
            Asked before every step: true ends it here, in the middle of an epoch, which is not yielded, and the state
            is good for nothing more. Not asked where several processes train together: they could part ways.

        Yields
        ------
        Step
            After every step; leaving there is like a stop.
        Epoch
            After every epoch.

        Raises
        ------
        DivergenceError
            The loss is no longer a finite number.
        """
        while self.epochs_done < self.config.epochs:
            start = time.perf_counter()
            sums = yield from self._train(stop if self._world == 1 else None)
            if sums is None:
                return
            self._statistics.average()
            self.epochs_done += 1
            loss, given, true = summed(sums, self._world).tolist()
            count = self.steps_per_epoch * self.share_batch * self.config.shares
            if not math.isfinite(loss):
                raise DivergenceError(
                    f"the loss is no longer a finite number in epoch {self.epochs_done}: "
                    "try a lower --lr, with another --out."
                )
            test = self.test_accuracy()
            yield Epoch(
                number=self.epochs_done,
                loss=loss / count,
                given_accuracy=given / count,
                true_accuracy=true / count if self._true is not None else math.nan,
                test_accuracy=test,
                seconds=time.perf_counter() - start,
            )

    def _train(self, stop: Callable[[], bool] | None) -> Generator[Step, None, Tensor | None]:
        """One epoch; returns the sums of loss, hits of the given and of the true labels over own shares.

        None where `stop()` ended it.
        """
        self.network.train()
        orders, randoms = {}, {}
        for share in self._own_shares:
            randoms[share] = torch.Generator().manual_seed(epoch_seed(self.config.seed, self.epochs_done, share))
            samples = torch.arange(share, len(self.given), self.config.shares)
            orders[share] = samples[torch.randperm(len(samples), generator=randoms[share])].to(self.device)
        sums = torch.zeros(3, device=self.device)
        steps = self.config.epochs * self.steps_per_epoch
        for step in range(self.steps_per_epoch):
            if stop is not None and stop():
                return None
            for share in self._own_shares:
                index = orders[share][step * self.share_batch : (step + 1) * self.share_batch]
                sums += self._learn(share, index, randoms[share])
            self._optimizer.step(self.config.rate_at((self.epochs_done * self.steps_per_epoch + step) / steps))
            yield Step(self.epochs_done + 1)
        return sums

    def _learn(self, share: int, index: Tensor, random: torch.Generator) -> Tensor:
        """Gradients of θ from a share's part of the batch, added to those there are; (u, v) of its samples move."""
        views = self._views(index, random)
        last = share == self._own_shares[-1]
        waits = nullcontext() if last or self._parallel is None else self._parallel.no_sync()
        with waits, self._statistics.of(share):
            logits = self._called(torch.cat(views))
            losses, s = self._losses(logits, index)
            (losses.mean() / len(self._own_shares)).backward()
        if self.corruption is not None and s is not None and s.grad is not None:
            # ∂/∂s of each sample's own loss, freed from the means that θ's gradient is over.
            self.corruption.step(index, s.grad * len(index) * len(self._own_shares))
        hits = logits[: len(index)].argmax(1)
        true = (hits == self._true[index]).sum() if self._true is not None else torch.zeros((), device=self.device)
        return torch.stack([losses.detach().sum(), (hits == self.given[index]).sum(), true])

    def _views(self, index: Tensor, random: torch.Generator) -> list[Tensor]:
        """What the network sees of some samples: a weak view of each, with "sop+" a strong one, or their features."""
        if self.config.network == "pretrained":
            return [self._samples[index]]
        weak = weak_view(self._samples, index, self.epochs_done, random).float() / 255
        if self.config.method == "sop+":
            return [weak, strong_view(weak, random)]
        return [cut_out(weak, self.config.cutout, random)]

    def _losses(self, logits: Tensor, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the loss of every sample, and s where there is one, which waits for its gradient."""
        weak, given = logits[: len(index)], self.given[index]
        if self._early is not None:
            return self._early.loss(weak, given, index), None
        if self.corruption is None:
            return F.cross_entropy(weak.float(), given, reduction="none"), None
        s = self.corruption.value(index).requires_grad_()
        losses = sop_loss(weak, self.corruption.is_given[index], s)
        if self.config.method == "sop+":
            strong = logits[len(index) :]
            losses = (
                losses + self.config.consistency * consistency(weak, strong) + self.config.balance * imbalance(weak)
            )
        return losses, s

    def test_accuracy(self) -> float:
        """On the test images, seen once and as they are; NaN where there are none."""
        if not len(self.data.test_labels):
            return math.nan
        predicted = self.network.probabilities(self._test_images, flip=False).argmax(1).cpu()
        return float((predicted == torch.from_numpy(self.data.test_labels)).double().mean())

    def state(self) -> dict[str, Any]:
        """All that the next epoch depends on, of all processes: tensors, numbers and containers of them."""
        return {
            "epoch": self.epochs_done,
            "network": self.network.state_dict(),
            "share_statistics": self._statistics.state(),
            "optimizer": self._optimizer.state(),
            **{name: self._of_all(rows) for name, rows in self._of_samples().items()},
        }

    def _of_samples(self) -> dict[str, Tensor]:
        """What the method remembers of every sample, a row each."""
        if self._early is not None:
            return {"targets": self._early.targets}
        if self.corruption is not None:
            return {"u": self.corruption.factors.u, "v": self.corruption.factors.v}
        return {}

    def explained(self) -> NDArray[np.float32]:
        """s = u∘u − v∘v of all samples, (N, C): what of their labels is not for the network; 0 without (u, v)."""
        factors = [self._of_all(rows) for name, rows in self._of_samples().items() if name in ("u", "v")]
        if not factors:
            return np.zeros((len(self.given), len(self.data.classes)), np.float32)
        u, v = factors
        s: NDArray[np.float32] = SparseCorruption(u, v).value.cpu().numpy()
        return s

    def _of_all(self, rows: Tensor) -> Tensor:
        """The rows of every sample, each from the process that owns it."""
        if self._world == 1:
            return rows
        own = torch.zeros(len(rows), 1, dtype=rows.dtype, device=rows.device)
        for share in self._own_shares:
            own[share :: self.config.shares] = 1
        return summed(rows * own, self._world)

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.epochs_done = state["epoch"]
        self.network.load_state_dict(state["network"])
        self._statistics.load(state["share_statistics"])
        self._optimizer.load(state["optimizer"])
        for name, rows in self._of_samples().items():
            rows.copy_(state[name])


def optimizer_of(network: nn.Module, config: TrainConfig) -> Optimizer:
    """Return what moves θ: all that is to be trained of a network."""
    trained = [p for p in network.parameters() if p.requires_grad]
    if config.optimizer == "muon":
        return Muon(trained, config.momentum, normalized=True)
    return SGD(trained, config.momentum, config.weight_decay, config.nesterov)


def epoch_seed(seed: int, epoch: int, share: int) -> int:
    """Return what the random numbers of a share's epoch are drawn from, below 2⁶³.

    Parameters
    ----------
    seed : int
        Of the run.
    epoch : int, from 0
    share : int, from 0
    """
    return int(np.random.SeedSequence((seed, epoch, share)).generate_state(1, np.uint64)[0] >> 1)


def _data_parallel(network: nn.Module) -> nn.parallel.DistributedDataParallel:
    """Average gradients over processes, and leave the batch statistics alone: they are those of shares."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the option has another name now, which torch 2.6 does not know
        return nn.parallel.DistributedDataParallel(network, broadcast_buffers=False)
