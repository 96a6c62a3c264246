"""DivideMix: what has a large loss loses its label, and two networks teach each other as semi-supervised learning does.

After a warm-up with cross-entropy, before every epoch, a mixture of two Gaussians is fitted to the losses of all
samples, for each network: w is the probability of a sample to be of the one with the smaller mean. The samples with
w > 0.5 keep a label, the others lose it, and each network learns from the division that the other one made:

    x labelled:    q = sharpen(w·y + (1 − w)·mean of its own predictions on two views)         co-refinement
    x unlabelled:  q = sharpen(mean of the predictions of both networks on two views)          co-guessing
    sharpen(p) ∝ p^(1/T);  all views are mixed with all (MixUp), l ~ Beta(α, α), l ← max(l, 1 − l)
    L = cross-entropy on the labelled + λ_u·mean (p − q)² on the unlabelled + KL(uniform ‖ mean prediction)

Settings of the public code: T = 0.5, α = 4, 10 epochs of warm-up with twice the batch, λ_u reached within 16 more; the
mixture's 10 iterations, tolerance 0.01, covariance 5e-4. λ_u as the paper's appendix has it for CIFAR-10: 25, but 0
where fewer than about 30 % of the labels are wrong and for asymmetric noise; so the noise has to be told. In its
warm-up, asymmetric noise has a penalty on confident predictions. Labels of people (CIFAR-10N) are treated as symmetric
noise of as many wrong ones. Tested are both networks together.

What differs: optimizer and schedule are those of the benchmark (published: 0.02, a tenth of it in the second half of
300 epochs); batches are full ones, as everywhere in the benchmark; the second view of a sample is flipped where the
first is not, instead of at random; a mean over five epochs of the losses, for 90 % noise, is left out.

References
----------
Li, Socher, Hoi, "DivideMix: Learning with Noisy Labels as Semi-supervised Learning", ICLR 2020 (arXiv 2002.07394), and
github.com/LiJunnan1992/DivideMix.
"""

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dipsop.classification.classifier import Classifier
from dipsop.classification.config import TrainConfig
from dipsop.classification.dataset import Dataset
from dipsop.sop.labels import imbalance
from rivals_classification.two_networks import TwoNetworks, mixed, mixing_weight, of_budget

WARMUP_EPOCHS = 10
RAMP_EPOCHS = 16
TEMPERATURE = 0.5  # T
ALPHA = 4
CLEAN = 0.5  # the least w of a sample that keeps its label
WEIGHT = 25.0  # λ_u
FEW_WRONG = 0.3  # below it λ_u is 0


class DivideMix(TwoNetworks):
    """See the module. It is told how many of the labels are wrong, so the true ones must be known."""

    def __init__(self, data: Dataset, config: TrainConfig, device: torch.device) -> None:
        super().__init__(data, config, device)
        if data.true is None:
            raise ValueError("the weight λ_u of DivideMix depends on how many labels are wrong: true is None")
        self.asymmetric = data.noise.startswith("asymmetric")
        few = float((data.given != data.true).mean()) < FEW_WRONG
        self.weight = 0.0 if few or self.asymmetric else WEIGHT
        self.warmup = of_budget(WARMUP_EPOCHS, config.epochs)

    def train(self, epoch: int) -> Tensor:
        """Make one epoch: of warm-up, or of division and learning."""
        if epoch < self.warmup:
            return self._warm_up(0, epoch) + self._warm_up(1, epoch)
        first, second = (self.clean_probability(network, epoch) for network in self.networks)
        return self._learn(0, second, epoch) + self._learn(1, first, epoch)

    def _warm_up(self, which: int, epoch: int) -> Tensor:
        batches = self.batches(self.everything(), 2 * self.config.batch)
        total = torch.zeros((), device=self.device)
        for number, index in enumerate(batches):
            logits = self.networks[which](self.view(index, epoch))
            loss = F.cross_entropy(logits, self.given[index])
            if self.asymmetric:
                loss = loss + negative_entropy(logits)
            total += self.step(which, loss, epoch + number / len(batches))
        return total / len(batches)

    def clean_probability(self, network: Classifier, epoch: int) -> Tensor:
        """Return w of all samples, (N,), by the losses of one network."""
        p = network.probabilities(self.images, flip=False)
        losses = -p[self.everything(), self.given].clamp(min=1e-30).log()
        seed = self.config.seed + epoch
        return torch.from_numpy(smaller_loss(losses.cpu().numpy(), seed)).to(self.device)

    def _learn(self, which: int, clean: Tensor, epoch: int) -> Tensor:
        own, other = self.networks[which].train(), self.networks[1 - which].eval()
        labelled, unlabelled = divided(clean)
        batches, more = self.batches(labelled, self.config.batch), self._endless(unlabelled)
        total = torch.zeros((), device=self.device)
        for number, index in enumerate(batches):
            done = epoch + number / len(batches)
            x, u = ([self.view(of, epoch), self.view(of, epoch + 1)] for of in (index, next(more)))
            with torch.no_grad():
                refined = refine(self.one_hot[index], clean[index], mean_prediction([own], x))
                guessed = sharpen(mean_prediction([own, other], u))
            weight = self.weight * min(1, (done - self.warmup) / of_budget(RAMP_EPOCHS, self.config.epochs))
            total += self.step(which, self._mixed_loss(own, x, refined, u, guessed, weight), done)
        return total / len(batches)

    def _endless(self, samples: Tensor) -> Iterator[Tensor]:
        while True:
            yield from self.batches(samples, self.config.batch)

    def _mixed_loss(
        self, network: Classifier, x: list[Tensor], refined: Tensor, u: list[Tensor], guessed: Tensor, weight: float
    ) -> Tensor:
        """L of a batch; that of a sample counts as labelled where the larger part of the mixture is."""
        views, q = torch.cat([*x, *u]), torch.cat([refined, refined, guessed, guessed])
        share = mixing_weight(ALPHA, self.random)
        order = self.permuted(len(views))
        logits, q = network(mixed(views, order, share)), mixed(q, order, share)
        count = 2 * len(refined)
        of_labelled = F.cross_entropy(logits[:count], q[:count])
        of_unlabelled = (logits[count:].softmax(1) - q[count:]).square().mean()
        total: Tensor = of_labelled + weight * of_unlabelled + imbalance(logits)
        return total


def smaller_loss(losses: NDArray[np.floating], seed: int) -> NDArray[np.float32]:
    """Return the probability of each loss, (N,), to be of the Gaussian with the smaller mean, of two."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    scaled = ((losses - losses.min()) / max(float(np.ptp(losses)), 1e-12))[:, None].astype(np.float64)
    mixture = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # ten iterations are what is published
        probabilities = mixture.fit(scaled).predict_proba(scaled)
    smaller: NDArray[np.float32] = probabilities[:, mixture.means_[:, 0].argmin()].astype(np.float32)
    return smaller


def divided(clean: Tensor) -> tuple[Tensor, Tensor]:
    """Return which samples keep their label and which do not; where either would be none, the likelier half does."""
    keeps = clean > CLEAN
    if keeps.all() or not keeps.any():
        keeps = torch.zeros_like(keeps)
        keeps[clean.argsort(descending=True)[: (len(clean) + 1) // 2]] = True
    return keeps.nonzero()[:, 0], (~keeps).nonzero()[:, 0]


def mean_prediction(networks: Sequence[Classifier], views: Sequence[Tensor]) -> Tensor:
    """Return the mean of the probabilities (B, classes) that the networks give to the views."""
    return torch.stack([network(view).softmax(1) for network in networks for view in views]).mean(0)


def refine(y: Tensor, clean: Tensor, predicted: Tensor) -> Tensor:
    """Return sharpen(w·y + (1 − w)·p): labels (B, classes), with w (B,) the probability that they are right."""
    return sharpen(clean[:, None] * y + (1 - clean[:, None]) * predicted)


def sharpen(p: Tensor) -> Tensor:
    """Return p^(1/T), normalized: nearer to one class than p."""
    powers = p ** (1 / TEMPERATURE)
    return powers / powers.sum(1, keepdim=True)


def negative_entropy(logits: Tensor) -> Tensor:
    """Return Σ p log p, the mean over the batch: large where predictions are confident."""
    logs = logits.log_softmax(1)
    return (logs.exp() * logs).sum(1).mean()
