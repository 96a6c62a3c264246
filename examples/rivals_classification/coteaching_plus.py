"""Co-teaching+: two networks that teach each other the samples of small loss on which they disagree.

In every batch, S being the samples to which the two networks give different classes,

    S₁ = the share λ(e) of S with the smallest loss to the first network,  S₂ to the second,
    the first learns S₂, the second S₁;        λ(e) = 1 − τ·min(1, e / E_k)

with τ the share of wrong labels, which the method has to be told: here the true one. Before the first E_w epochs are
over S is the whole batch, which is Co-teaching (Han et al., NeurIPS 2018).

Settings of the public code for CIFAR-10: E_k = 10, E_w = 20 of 200 epochs, batches shared by both networks.

What differs from it: SGD in the schedule of the benchmark in place of Adam; cross-entropy of the logits (its
disagreement loss takes the softmax twice), the mean over what was chosen, where it divides by their number once more
(which Adam does not notice); a batch without disagreement teaches nothing, where its code goes on with all of it for
some hundred steps; shifts and flips, where it takes images as they are. Tested is the first network alone.

References
----------
Yu, Han, Yao, Niu, Tsang, Sugiyama, "How does Disagreement Help Generalization against Label Corruption?", ICML 2019
(arXiv 1901.04215), and github.com/xingruiyu/coteaching_plus.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from dipsop.classification.config import TrainConfig
from dipsop.classification.dataset import Dataset
from rivals_classification.two_networks import TwoNetworks, of_budget

RAMP_EPOCHS = 10  # E_k
WARMUP_EPOCHS = 20  # E_w


class CoTeachingPlus(TwoNetworks):
    """See the module. It is told how many of the labels are wrong, so the true ones must be known."""

    def __init__(self, data: Dataset, config: TrainConfig, device: torch.device) -> None:
        super().__init__(data, config, device)
        if data.true is None:
            raise ValueError("Co-teaching+ has to be told how many labels are wrong: true is None")
        self.wrong = float((data.given != data.true).mean())

    def probabilities(self, images: Tensor, flip: bool = False) -> Tensor:
        """Return the probabilities (N, classes) of images by the first network alone, as published."""
        return self.networks[0].probabilities(images, flip)

    def train(self, epoch: int) -> Tensor:
        """Make one epoch."""
        ramp, warmup = (of_budget(published, self.config.epochs) for published in (RAMP_EPOCHS, WARMUP_EPOCHS))
        kept = kept_share(epoch, self.wrong, ramp)
        batches = self.batches(self.everything(), self.config.batch)
        total = torch.zeros((), device=self.device)
        for number, index in enumerate(batches):
            x, given = self.view(index, epoch), self.given[index]
            logits = [network(x) for network in self.networks]
            losses = [F.cross_entropy(z, given, reduction="none") for z in logits]
            among = torch.ones_like(given, dtype=torch.bool)
            if epoch >= warmup:
                among = logits[0].argmax(1) != logits[1].argmax(1)
            if not among.any():
                continue
            for which, loss in enumerate(losses):
                taught = small_losses(losses[1 - which].detach(), among, kept)
                total += self.step(which, loss[taught].mean(), epoch + number / len(batches))
        return total / len(batches)


def kept_share(epoch: int, wrong: float, ramp: int) -> float:
    """Return λ(e): all samples at first, and when `ramp` epochs are over the share that is not wrong."""
    return 1 - wrong * min(1, epoch / ramp)


def small_losses(losses: Tensor, among: Tensor, kept: float) -> Tensor:
    """Return which samples have the smallest losses, (K,), the smallest first.

    Parameters
    ----------
    losses : Tensor (B,)
    among : Tensor (B,), bool
        Of which samples; one at least.
    kept : float in [0, 1]
        The share of them, rounded down, but one at least.
    """
    candidates = among.nonzero()[:, 0]
    count = max(1, int(kept * len(candidates)))
    return candidates[losses[candidates].argsort()[:count]]
