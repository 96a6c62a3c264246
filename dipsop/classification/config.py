"""Every choice of a training run and of its export, and the published recipes: the only home of the defaults.

Free of torch.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from dipsop.compute import Dtype

Method = Literal["ce", "sop", "sop+", "elr"]
NetworkName = Literal["fast", "resnet34", "preactresnet18", "pretrained"]
Optimizer = Literal["sgd", "muon"]
Schedule = Literal["one-cycle", "steps", "cosine"]
ExportFormat = Literal["cleanlab", "label-studio", "fiftyone", "safetensors", "onnx"]

# Pixels that a person's own images are resized to: for networks trained from scratch, and for "pretrained" about what
# its networks were trained with.
SIDE, PRETRAINED_SIDE = 32, 224


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a classifier is trained.

    Parameters
    ----------
    method : "ce", "sop", "sop+" or "elr"
        Cross-entropy; sparse over-parameterization; that with two views; early-learning regularization.
    network : "fast", "resnet34", "preactresnet18" or "pretrained"
        The last is a linear layer on the features of frozen networks.
    epochs, batch : int
        The batch is that of all processes together.
    optimizer : "sgd" or "muon"
        What moves θ (dipsop.optimizers).
    lr, momentum : float
        Of θ. Muon moves kernels at five times that rate, which is the angle by which they turn in a step.
    weight_decay, nesterov : float, bool
        Of SGD: decay of θ, and Nesterov's momentum rather than the plain one. Muon has none, and always.
    schedule : "one-cycle", "steps" or "cosine"
        Up over the first fifth and linearly down to 0; ×0.1 at one and at two thirds; cosine down to a hundredth.
    rate_u, rate_v : float
        Of (u, v), constant, without momentum or decay, as published: per batch of 128, whatever the batch is here.
    cutout : int >= 0
        Side of a grey square that is laid over every view, in pixels of an image of 32×32; 0 for none. With "sop+",
        whose strong views have one, its weak ones have none.
    consistency, balance : float
        Weights of the two further terms of "sop+".
    seed : int
        Fixes everything drawn: same seed, same number of shares and of threads, same result, to the bit on processors.
    dtype : "auto", "bfloat16" or "float32"
        What the network computes in.
    shares : int
        In how many fixed parts the samples are dealt; each makes its part of every batch, with batch statistics of its
        own. A multiple of the number of processes; the curve does not depend on that number, only on this one.
    compile : bool
        Compile the network; pays on GPUs.
    """

    method: Method = "sop"
    network: NetworkName = "fast"
    epochs: int = 24
    batch: int = 512
    optimizer: Optimizer = "muon"
    lr: float = 0.02
    momentum: float = 0.6
    weight_decay: float = 0.0
    nesterov: bool = True
    schedule: Schedule = "one-cycle"
    rate_u: float = 20.0
    rate_v: float = 125.0
    cutout: int = 9
    consistency: float = 0.9
    balance: float = 0.1
    seed: int = 0
    dtype: Dtype = "auto"
    shares: int = 1
    compile: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError where a number makes no sense."""
        for name in ("epochs", "batch", "shares"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.batch % self.shares:
            raise ValueError(f"batch must be a multiple of shares, got {self.batch} and {self.shares}")
        if self.network == "pretrained" and (self.method == "sop+" or self.shares > 1):
            raise ValueError("the network pretrained has no second view for sop+, and a single share")
        if not self.lr > 0:
            raise ValueError(f"lr must be above 0, got {self.lr}")

    def rate_at(self, done: float) -> float:
        """Return the learning rate when `done`, from 0 to 1, of all steps have been made."""
        if self.schedule == "one-cycle":
            return self.lr * min(5 * done + 0.01, 1.25 * (1 - done))
        if self.schedule == "cosine":
            return self.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
        return self.lr * 0.1 ** math.floor(3 * done)


# As published for CIFAR (arXiv 2202.14026, appendix, and the code beside it): the rates of (u, v).
_PUBLISHED_RATES = {
    (10, "symmetric"): (10.0, 10.0),
    (10, "asymmetric"): (10.0, 100.0),
    (100, "symmetric"): (1.0, 10.0),
    (100, "asymmetric"): (1.0, 100.0),
}

_SOP = TrainConfig(
    network="resnet34", epochs=120, batch=128, optimizer="sgd", lr=0.02, momentum=0.9, weight_decay=5e-4,
    nesterov=False, schedule="steps", rate_u=10.0, rate_v=10.0, cutout=0,
)  # fmt: skip

RECIPES: dict[str, TrainConfig] = {
    "fast": TrainConfig(),
    "pretrained": TrainConfig(
        network="pretrained",
        epochs=60,
        batch=128,
        optimizer="sgd",
        lr=0.2,
        momentum=0.9,
        weight_decay=1e-4,
        rate_u=8.0,
        rate_v=50.0,
    ),
    "sop": _SOP,
    "sop+": replace(_SOP, method="sop+", network="preactresnet18", epochs=300, schedule="cosine"),
}

_SMALLEST_BATCHES = {"fast": (16, 64), "pretrained": (8, 8)}  # and how many steps an epoch is to have


def by_data(recipe: str, classes: int, noise: str, samples: int, batch: int | None = None) -> dict[str, Any]:
    """Return the settings of a recipe that depend on the data.

    Parameters
    ----------
    recipe : a key of RECIPES
    classes : int
        What was published for 10 or for 100, whichever is nearer.
    noise : str
        As given to the command; what is not asymmetric has the settings of symmetric noise.
    samples : int
        Of few, "fast" and "pretrained" make smaller batches, so that an epoch has 64 steps or eight, at a rate that
        goes with their root.
    batch : int or None
        Such a batch instead, at the rate that goes with it.
    """
    if recipe in ("fast", "pretrained"):
        least, steps = _SMALLEST_BATCHES[recipe]
        batch = batch or min(RECIPES[recipe].batch, max(least, 1 << (samples // steps).bit_length() >> 1))
        return {"batch": batch, "lr": RECIPES[recipe].lr * (batch / RECIPES[recipe].batch) ** 0.5}
    size, kind = 100 if classes > 50 else 10, "asymmetric" if noise.startswith("asymmetric") else "symmetric"
    rate_u, rate_v = _PUBLISHED_RATES[size, kind]
    settings: dict[str, Any] = {"rate_u": rate_u, "rate_v": rate_v}
    if size == 100:
        settings |= {"epochs": 150} if recipe == "sop" else {"weight_decay": 1e-3}
    return settings
