"""ELR+: early-learning regularization, with targets from the other network's average, on mixed samples.

Each network has a teacher, the running average of its weights. The targets of a network are the running average of
what the teacher of the other one says of a sample; a network learns mixtures of two samples, i and j:

    θ̄ ← α·θ̄ + (1 − α)·θ,                      α = 0.997·exp(−5·(1 − k / K)²) at step k, 0.997 from K on
    t_i ← β·t_i + (1 − β)·p_other teacher(x_i)
    x = l·x_i + (1 − l)·x_j,  y and t the same,  l ~ Beta(1, 1), l ← max(l, 1 − l)
    L = −⟨y, log p(x)⟩ + λ·log(1 − ⟨p(x), t⟩)

Settings of the public code for CIFAR-10: λ = 3, β = 0.7, for asymmetric noise 1 and 0.9; K = 40,000 of 78,200 steps,
here the same share of the budget. Teachers are averages of the weights alone, and see batches with the statistics of
those, as in the public code. Tested are both networks together, not their teachers, as there.

What differs: optimizer, schedule and batch are those of the benchmark (published: 0.02, a tenth of it after 150 of 200
epochs, batches of 128); all given labels are learned, where its code keeps a tenth for validation; labels of people
(CIFAR-10N) are treated as symmetric noise.

References
----------
Liu, Niles-Weed, Razavian, Fernandez-Granda, "Early-Learning Regularization Prevents Memorization of Noisy Labels",
NeurIPS 2020 (arXiv 2007.00151), and github.com/shengliu66/ELR.
"""

import copy
import math

import torch
from torch import Tensor, nn

from dipsop.classification.config import TrainConfig
from dipsop.classification.dataset import Dataset
from rivals_classification.two_networks import TwoNetworks, mixed, mixing_weight

AVERAGE = 0.997  # α at last
RAMP = 40_000 / 78_200  # K, as a share of all steps
MIXUP_ALPHA = 1
SYMMETRIC, ASYMMETRIC = (3.0, 0.7), (1.0, 0.9)  # λ, β
LEAST_PROBABILITY = 1e-4


class ELRPlus(TwoNetworks):
    """See the module."""

    def __init__(self, data: Dataset, config: TrainConfig, device: torch.device) -> None:
        super().__init__(data, config, device)
        self.teachers = [copy.deepcopy(network).train().requires_grad_(False) for network in self.networks]
        self.targets = [torch.zeros_like(self.one_hot) for _ in self.networks]
        self.weight, self.memory = ASYMMETRIC if data.noise.startswith("asymmetric") else SYMMETRIC

    def train(self, epoch: int) -> Tensor:
        """Make one epoch: with one network, then with the other."""
        return self._train(0, epoch) + self._train(1, epoch)

    def _train(self, which: int, epoch: int) -> Tensor:
        network, teacher = self.networks[which], self.teachers[1 - which]
        batches = self.batches(self.everything(), self.config.batch)
        total = torch.zeros((), device=self.device)
        for number, index in enumerate(batches):
            done = epoch + number / len(batches)
            x = self.view(index, epoch)
            targets = self.remember(which, index, teacher(x).softmax(1))
            share = mixing_weight(MIXUP_ALPHA, self.random)
            order = self.permuted(len(index))
            logits = network(mixed(x, order, share))
            y, t = (mixed(values, order, share) for values in (self.one_hot[index], targets))
            total += self.step(which, loss(logits, y, t, self.weight), done)
            average(self.teachers[which], network, average_share((done + 1 / len(batches)) / self.config.epochs))
        return total / len(batches)

    def remember(self, which: int, index: Tensor, predicted: Tensor) -> Tensor:
        """Return the targets of a batch, (B, classes), moved towards the prediction of the other network's teacher."""
        targets = self.memory * self.targets[which][index] + (1 - self.memory) * predicted
        self.targets[which][index] = targets
        return targets


def loss(logits: Tensor, y: Tensor, targets: Tensor, weight: float) -> Tensor:
    """Return L, the mean over the batch.

    Parameters
    ----------
    logits, y, targets : Tensor (B, classes)
        y sums to 1; targets to 1 or, at first, to less.
    weight : float
        λ.
    """
    p = logits.softmax(1).clamp(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    cross_entropy = -(y * logits.log_softmax(1)).sum(1)
    return (cross_entropy + weight * (1 - (p * targets).sum(1)).log()).mean()


def average_share(done: float) -> float:
    """Return α, how much of its weights a teacher keeps, when `done`, from 0 to 1, of all steps have been made."""
    return AVERAGE * math.exp(-5 * (1 - min(1, done / RAMP)) ** 2)


@torch.no_grad()
def average(teacher: nn.Module, network: nn.Module, share: float) -> None:
    """Move the weights of a teacher towards those of its network."""
    torch._foreach_lerp_(list(teacher.parameters()), list(network.parameters()), 1 - share)
