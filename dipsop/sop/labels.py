"""SOP on labels: y ≈ p + u∘u − v∘v, with a scalar u for the given class of every sample and a v for each of the others.

With p = softmax of the prediction, y one-hot, U = u²·y and V = v²·(1 − y), so that s = U − V:

    L = −log q_y + ‖onehot(argmax p) + s − y‖²,    q = normalize(max(p + U − stopgrad(V), ε))

The first term moves θ and u, the second v (and u). What is wrong with a label ends in s: u² says how little the given
class is believed, v² which class takes its place.

References
----------
Liu, Zhu, Qu, You, "Robust Training under Label Noise by Over-parameterization", ICML 2022 (arXiv 2202.14026).
Liu, Niles-Weed, Razavian, Fernandez-Granda, "Early-Learning Regularization Prevents Memorization of Noisy Labels",
NeurIPS 2020 (ELR).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from dipsop.sop.corruption import SparseCorruption

LEAST_PROBABILITY = 1e-4  # ε
INIT_SCALE = 1e-8  # standard deviation of u, v at the start; lost in half precision, so they are float32
# The published rates are for the mean over a batch of so many; per sample they are that much smaller.
PUBLISHED_BATCH = 128


class LabelCorruption:
    """(u, v) of a fixed set of samples.

    Parameters
    ----------
    given : Tensor (N,), int64
        The labels to train on.
    classes : int
    rates : (float, float)
        Of u and of v, as published: per batch of 128.
    generator : torch.Generator
        Draws u, v ~ N(0, 1e-8²).
    trusted : Tensor (N,), bool, or None
        Labels known to be right: their u and v start at 0 and, growth being multiplicative, stay there.

    Attributes
    ----------
    factors : SparseCorruption
        u is zero but at the given class, v is zero there: growth is multiplicative, so zeros stay.
    """

    def __init__(
        self,
        given: Tensor,
        classes: int,
        rates: tuple[float, float],
        generator: torch.Generator,
        trusted: Tensor | None = None,
    ) -> None:
        shape = (len(given), classes)
        self.is_given = F.one_hot(given, classes).bool()
        start = SparseCorruption.random(shape, INIT_SCALE, generator, given.device)
        open_ = 1.0 if trusted is None else (~trusted).float()[:, None]
        self.factors = SparseCorruption(start.u * self.is_given * open_, start.v * ~self.is_given * open_)
        self.rates = rates

    def value(self, index: Tensor) -> Tensor:
        """s = U − V of some samples, (B, C)."""
        return self._rows(index).value

    def step(self, index: Tensor, gradient: Tensor) -> None:
        """Move the rows of a batch, and no others, by ∂L/∂s, L being each sample's own loss; then project to [−1, 1].

        Parameters
        ----------
        index : Tensor (B,), without repeats
        gradient : Tensor (B, C)
        """
        rows = self._rows(index)
        of_u, of_v = (rate / PUBLISHED_BATCH for rate in self.rates)
        rows.gradient_step(gradient, torch.where(self.is_given[index], of_u, of_v))
        # As the paper has it, after the step: a clamp inside the loss would leave no gradient to what passed 1.
        self.factors.u[index] = rows.u.clamp(-1, 1)
        self.factors.v[index] = rows.v.clamp(-1, 1)

    def _rows(self, index: Tensor) -> SparseCorruption:
        return SparseCorruption(self.factors.u[index], self.factors.v[index])


def sop_loss(logits: Tensor, is_given: Tensor, s: Tensor) -> Tensor:
    """Return L of every sample, (B,), in float32.

    Parameters
    ----------
    logits : Tensor (B, C)
    is_given : Tensor (B, C), bool
        One-hot labels.
    s : Tensor (B, C)
        u∘u − v∘v; the gradient of L with respect to it moves (u, v).
    """
    y = is_given.float()
    p = logits.float().softmax(1)
    q = (p + torch.where(is_given, s, s.detach())).clamp(min=LEAST_PROBABILITY)
    cross_entropy = q.sum(1).log() - (q * y).sum(1).log()
    predicted = F.one_hot(p.argmax(1), p.shape[1]).float()
    return cross_entropy + (predicted + s - y).square().sum(1)


def consistency(weak: Tensor, strong: Tensor) -> Tensor:
    """KL divergence from the prediction on the weak view, which gets no gradient, to that on the strong, (B,)."""
    target = weak.detach().float().log_softmax(1)
    return (target.exp() * (target - strong.float().log_softmax(1))).sum(1)


def imbalance(logits: Tensor) -> Tensor:
    """KL divergence from the uniform distribution to the mean prediction of the batch, a scalar."""
    mean = logits.float().softmax(1).mean(0).clamp(min=LEAST_PROBABILITY)
    return -(mean * len(mean)).log().mean()


class EarlyLearning:
    """ELR: cross-entropy plus λ·log(1 − ⟨p, t⟩), t being a running mean of the sample's predictions.

    Parameters
    ----------
    samples, classes : int
        λ and β are as published: 3 and 0.7 for CIFAR-10, 7 and 0.9 for CIFAR-100, here for more than 50 classes.
    """

    def __init__(self, samples: int, classes: int, device: torch.device) -> None:
        self.targets = torch.zeros(samples, classes, device=device)
        self.weight, self.memory = (3.0, 0.7) if classes <= 50 else (7.0, 0.9)

    def loss(self, logits: Tensor, given: Tensor, index: Tensor) -> Tensor:
        """Return the loss of every sample, (B,), and remember its prediction."""
        p = logits.float().softmax(1).clamp(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
        seen = p.detach()
        targets = self.memory * self.targets[index] + (1 - self.memory) * seen / seen.sum(1, keepdim=True)
        self.targets[index] = targets
        return F.cross_entropy(logits.float(), given, reduction="none") + self.weight * (1 - (p * targets).sum(1)).log()
