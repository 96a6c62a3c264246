"""What the three rivals share: two networks on one data set, and the harness of the benchmark.

Data, network, budget of epochs, optimizer, learning rate and batch are those of the benchmark's configuration, as for
every other method; so are the views, made by dipsop/classification/augment.py, and the test images. What is a method's
own is as its paper and its public code have it, except that what they count in epochs, of 200 or 300, takes at most a
fifth of a smaller budget.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from dipsop.classification.augment import cut_out, pad, sent, weak_view
from dipsop.classification.classifier import Classifier, classifier
from dipsop.classification.config import TrainConfig
from dipsop.classification.dataset import Dataset
from dipsop.classification.trainer import epoch_seed, optimizer_of
from dipsop.compute import seeded
from dipsop.errors import DivergenceError


class TwoNetworks(ABC):
    """Two networks that differ in how they start, each with its optimizer.

    Parameters
    ----------
    data : Dataset
        Images, not features.
    config : TrainConfig
        Its method is not looked at.
    device : torch.device
    """

    def __init__(self, data: Dataset, config: TrainConfig, device: torch.device) -> None:
        self.data, self.config, self.device = data, config, device
        self.images, self._test_images = (torch.from_numpy(x).to(device) for x in (data.images, data.test_images))
        self.given = torch.from_numpy(data.given).to(device)
        self.one_hot = torch.nn.functional.one_hot(self.given, len(data.classes)).float()
        self._padded = pad(self.images)
        with seeded(config.seed):  # the first starts as the one network of another method
            self.networks = [self._start(), self._start()]
        self._optimizers = [optimizer_of(network, config) for network in self.networks]
        self.random = torch.Generator()

    def _start(self) -> Classifier:
        network = classifier(self.config.network, len(self.data.classes), self.config.dtype, self.device)
        if not isinstance(network, Classifier):
            raise ValueError("a rival learns from images, and the network pretrained does not")
        network.fit_normalization(self.images)
        return network

    def epochs(self) -> Iterator[float]:
        """Train, and yield the accuracy on the test images after each epoch.

        Raises
        ------
        DivergenceError
            The loss is no longer a finite number.
        """
        for epoch in range(self.config.epochs):
            self.random.manual_seed(epoch_seed(self.config.seed, epoch, 0))
            for network in self.networks:
                network.train()
            if not self.train(epoch).isfinite():
                raise DivergenceError(f"the loss is no longer a finite number in epoch {epoch + 1}: try a lower rate.")
            predicted = self.probabilities(self._test_images).argmax(1).cpu()
            yield float((predicted == torch.from_numpy(self.data.test_labels)).double().mean())

    @abstractmethod
    def train(self, epoch: int) -> Tensor:
        """Make one epoch, from 0, with both networks. Returns a loss of each, added up."""

    def probabilities(self, images: Tensor, flip: bool = False) -> Tensor:
        """Return the probabilities (N, classes) of images, by the mean of the logits of both networks.

        Parameters
        ----------
        images : Tensor (N, 3, H, W), uint8
        flip : bool
            By the mean of an image and its mirror image, as lists of suspects are made.
        """
        # A logarithm differs from its logit by what all classes share, which softmax takes away again.
        logs = [network.probabilities(images, flip).clamp(min=1e-30).log() for network in self.networks]
        return torch.stack(logs).mean(0).softmax(1)

    def view(self, index: Tensor, epoch: int) -> Tensor:
        """Return a weak view of some samples, (B, 3, H, W) in [0, 1]; that of the next epoch is mirrored."""
        weak = weak_view(self._padded, index, epoch, self.random).float() / 255
        return cut_out(weak, self.config.cutout, self.random)

    def batches(self, samples: Tensor, size: int) -> list[Tensor]:
        """Deal samples out in batches of that size, in an order that is drawn; what is left over waits for the next.

        Samples that are fewer are one batch.
        """
        order = samples[self.permuted(len(samples))]
        size = min(size, len(order))
        return list(order[: len(order) // size * size].split(size))

    def permuted(self, count: int) -> Tensor:
        """Return so many numbers from 0 in an order that is drawn."""
        return sent(torch.randperm(count, generator=self.random), self.device)

    def everything(self) -> Tensor:
        """Return the index of all samples."""
        return torch.arange(len(self.given), device=self.device)

    def step(self, which: int, loss: Tensor, done: float) -> Tensor:
        """Move a network down the gradient of a loss, `done` being how many epochs are behind it.

        Returns the loss, left on the device: asking it for a number would wait for the step.
        """
        loss.backward()
        self._optimizers[which].step(self.config.rate_at(done / self.config.epochs))
        return loss.detach()


def of_budget(published: int, epochs: int) -> int:
    """Return how many epochs something takes here that takes so many in a paper: at most a fifth of all, but one."""
    return min(published, max(1, epochs // 5))


def mixing_weight(alpha: int, random: torch.Generator) -> float:
    """Draw max(l, 1 − l), l from the distribution Beta(α, α), as MixUp needs it.

    For a whole α that is the distribution of the median of 2α − 1 numbers that are uniform in [0, 1].
    """
    weight = float(torch.rand(2 * alpha - 1, generator=random).median())
    return max(weight, 1 - weight)


def mixed(values: Tensor, order: Tensor, weight: float) -> Tensor:
    """Return weight·values + (1 − weight)·values[order], along the first dimension."""
    return weight * values + (1 - weight) * values[order]
