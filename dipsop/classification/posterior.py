"""How probable it is that each label is wrong, and how many are, from what a classifier says that has not seen them.

With π = softmax(z / τ), z the log-probabilities of a classifier that was trained without the sample, and T the noise,

    P(given = k, x) = Σ_c π_c(x) T_ck,        P(true = c | given = k, x) ∝ π_c(x) T_ck.

T and the temperature τ are those under which the given labels are the most likely; T by EM, as for one annotator whose
mistakes are unknown (Dawid, Skene 1979) and a prior over the classes that is the classifier's. With few samples T is
drawn to noise that is the same for all classes: then one number, the share of wrong labels, is all that is estimated,
and labels that are merely hard for the classifier do not pass for noise.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dipsop.classification.dataset import Labels

Array = NDArray[np.float64]

TEMPERATURES = np.geomspace(0.1, 2.0, 14)
EM_STEPS = 40
AS_LIKELY = 2.0  # in log-likelihood: temperatures so close to the best may be the right ones
UNIFORM_NOISE_WEIGHT = 200  # samples of each class that the uniform T counts for
ENOUGH = 10_000  # samples to find the temperature on
LEAST_PROBABILITY = 1e-6


@dataclass(frozen=True)
class Posterior:
    """What is known of the true labels.

    Attributes
    ----------
    true : (N, C)
        Probability of each class to be the true one, given the label and the image.
    wrong : float
        Expected number of wrong labels.
    error : float
        Of that number: its standard error, and how far it moves with the temperature and with noise that is the same
        for all classes. What this model of noise does not see, as labels that are wrong where images are hard, is no
        part of it.
    """

    true: Array
    wrong: float
    error: float


def posterior(probabilities: NDArray[np.floating], given: Labels) -> Posterior:
    """Estimate the noise and what it leaves of each label.

    Parameters
    ----------
    probabilities : (N, C)
        Of each class, by a classifier that was trained on noisy labels too, but not on this sample.
    given : (N,)
        The labels, from 0 to C − 1.
    """
    z = np.log(np.maximum(probabilities, LEAST_PROBABILITY).astype(np.float64))
    part = slice(None, None, max(1, len(given) // ENOUGH))
    fits = [(tau, *_fit(z[part], given[part], tau)) for tau in TEMPERATURES]
    likelihood = max(fit[2] for fit in fits)
    numbers = [_wrong(true, given[part]) for _, true, here in fits if here > likelihood - AS_LIKELY]
    by_temperature = (max(numbers) - min(numbers)) / 2 * len(given) / len(given[part])
    temperature = next(tau for tau, _, here in fits if here == likelihood)
    true, _ = _fit(z, given, temperature)
    uniform, _ = _fit(z, given, temperature, weight=1e12)
    wrong = _wrong(true, given)
    by_noise = wrong - _wrong(uniform, given)
    return Posterior(true, wrong, math.hypot(_unknown(true, given), by_noise, by_temperature))


def _wrong(true: Array, given: Labels) -> float:
    return float((1 - of_given(true, given)).sum())


def of_given(probabilities: NDArray[np.floating], given: Labels) -> NDArray[np.floating]:
    """The probability of each sample's own label, (N,)."""
    own: NDArray[np.floating] = probabilities[np.arange(len(given)), given]
    return own


def _fit(z: Array, given: Labels, temperature: float, weight: float = UNIFORM_NOISE_WEIGHT) -> tuple[Array, float]:
    """EM for T at a temperature. Returns P(true | given, x), and the log-likelihood of the given labels."""
    classes = z.shape[1]
    order = np.argsort(given, kind="stable")  # each class is in one piece then: N·C sums rather than a product of N·C²
    present, starts = np.unique(given[order], return_index=True)
    pi = np.exp((z[order] - z[order].max(1, keepdims=True)) / temperature)
    pi /= pi.sum(1, keepdims=True)
    noise, counts = _uniform(0.1, classes), np.zeros((classes, classes))
    for _ in range(EM_STEPS):
        joint = pi * noise.T[given[order]]
        likelihood = joint.sum(1, keepdims=True)
        joint /= likelihood
        counts[:, present] = np.add.reduceat(joint, starts).T
        noise = counts + weight * _uniform(1 - np.trace(counts) / len(given), classes)
        noise /= noise.sum(1, keepdims=True)
    true = np.empty_like(joint)
    true[order] = joint
    return true, float(np.log(likelihood).sum())


def _uniform(wrong: float, classes: int) -> Array:
    """T where a share `wrong` of every class is spread over the others."""
    return np.where(np.eye(classes, dtype=bool), 1 - wrong, wrong / (classes - 1))


def _unknown(true: Array, given: Labels) -> float:
    """Standard error of the number of wrong labels among these N, q being the probability of each to be wrong.

    Were it known of each, the share ε = mean(q) would have the information N / v, v = ε(1 − ε); of this is missing
    M / v², M = Σq(1 − q) (Louis 1982). The variance of the estimate is then N²v² / (Nv − M), less the Nv by which the
    number itself would differ in another sample of the kind.
    """
    q = 1 - of_given(true, given)
    known, missing = float(len(q) * q.mean() * (1 - q.mean())), float((q * (1 - q)).sum())
    return math.sqrt(known * missing / (known - missing)) if missing < known else math.sqrt(known)
