"""Every choice of a restoration, and the presets: the only home of the defaults.

Free of torch, so that `dipsop --help` is quick.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from dipsop.dtype import Dtype

Polarity = Literal["both", "salt", "pepper"]


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """What every fit has, whichever way it goes.

    Parameters
    ----------
    steps : int >= 1
        Optimizer steps; schedules are laid over them.
    time_limit : float > 0, seconds, or None
        Ends the fit earlier; schedules then follow whichever of the two budgets is spent faster.
    seed : int
        Fixes everything drawn: same seed, same device, same result.
    dtype : "auto", "bfloat16" or "float32"
        What the network computes in; auto takes bfloat16 where the processor multiplies it natively.
    shared_corruption : bool
        One (u, v) for all channels of a pixel instead of one for every value.
    """

    steps: int
    time_limit: float | None = None
    seed: int = 0
    dtype: Dtype = "auto"
    shared_corruption: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError where a budget is not positive."""
        if self.steps < 1:
            raise ValueError(f"steps must be 1 or more, got {self.steps}")
        if self.time_limit is not None and not self.time_limit > 0:
            raise ValueError(f"time_limit must be above 0 seconds, got {self.time_limit}")


@dataclass(frozen=True, kw_only=True)
class HeldOut(FitConfig):
    """The network predicts values that it does not see; residuals of such predictions drive (u, v). Quick and best.

    Parameters
    ----------
    widths : tuple of int
        Channels of every scale of the U-Net; each after the first halves the resolution.
    pretrained : bool
        Start from the shipped weights where they fit: their widths, and grey pictures or those of three channels.
    first_judgements : int
        At how many steps from the first on such a start judges all values.
    lr : float
        Adam's rate: warmed up over `warmup` steps, constant for `hold` steps, then falling with the root of the steps,
        and over the second half of the budget no slower than linearly to 2 % of it.
    averaging : float in [0, 1)
        Share of the old in the running mean of the weights.
    crop, batch : int
        Side of the random square crops and their number per step.
    most_hidden : float in (0, 1)
        Each crop hides a share of its values that is drawn between 0 and this.
    judgements : int
        How often, evenly over the fit, every value is predicted unseen and (u, v) are fitted anew.
    parts : int >= 2
        In how many disjoint parts the values are hidden for that; more sees more of the image, and takes longer. Two
        thirds of it beyond a megapixel.
    least_residual : float
        Floor of the local residual scale b, so that one lucky neighbourhood does not condemn its next value.
    flips : int, 1 to 8
        Over how many flips and transposes the last prediction is averaged.
    polarity : "both", "salt" or "pepper"
        What is looked for: any corruption, values that are too bright alone, or too dark alone.
    strength : float > 0
        Factor on the odds that a value is corrupted: above 1 finds more, and more that is none.
    scratches : bool
        Look for strokes too: scratches, hairs, lettering. Blocks of pixels are hidden together, so that one part of a
        stroke does not speak for another, and what was found once stays found. Print and line drawings are strokes.
    """

    widths: tuple[int, ...] = (32, 64, 96, 96)
    pretrained: bool = True
    first_judgements: int = 3
    lr: float = 2e-3
    averaging: float = 0.98
    warmup: int = 20
    hold: int = 250
    crop: int = 128
    batch: int = 2
    most_hidden: float = 0.45
    judgements: int = 10
    parts: int = 6
    least_residual: float = 0.006
    flips: int = 8
    polarity: Polarity = "both"
    strength: float = 1.0
    scratches: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError where a budget or the strength is not positive."""
        super().__post_init__()
        if not 0 < self.strength < math.inf:
            raise ValueError(f"strength must be above 0, got {self.strength}")


@dataclass(frozen=True, kw_only=True)
class WholeImage(FitConfig):
    """Deep image prior with (u, v): the network makes the whole picture from fixed noise. Scratch, paper and the demo.

    Parameters
    ----------
    optimizer : "sgd" or "adam"
        What moves θ.
    loss : "squared", "absolute" or "huber"
        On r = f + s − y, averaged over the values; the Huber loss turns linear at |r| = 0.02.
    lr, alpha, init_scale : float
        The discrepant rates of dipsop.sop: rate of θ, rate of (u, v) over it, and γ. alpha = 0 makes it the plain deep
        image prior.
    random_start : bool
        u, v ~ N(0, γ²) as published, instead of u = v = γ.
    corruption_step : "gradient" or "flow"
        The published explicit step, or the exact flow that it approximates, stable at high rates.
    decay : "none" or "cosine"
        Schedule of both rates over the budget; their ratio stands.
    width, skip_width, input_channels : int
        Of the five-scale skip U-Net: its channels, those of its skips, those of z.
    input_noise : float
        σ of the fresh noise added to z at every step.
    """

    optimizer: Literal["sgd", "adam"] = "adam"
    loss: Literal["squared", "absolute", "huber"] = "huber"
    lr: float = 0.01
    alpha: float = 2.0
    init_scale: float = 1e-5
    random_start: bool = False
    corruption_step: Literal["gradient", "flow"] = "flow"
    decay: Literal["none", "cosine"] = "cosine"
    width: int = 32
    skip_width: int = 4
    input_channels: int = 8
    input_noise: float = 0.0


Config = HeldOut | WholeImage

# The published rate of (u, v), 500 on the mean over 3·512·512 values, said per entry: 500·2 / (3·512·512).
PUBLISHED_CORRUPTION_RATE = 500 * 2 / (3 * 512 * 512)

PRESETS: dict[str, Config] = {
    "quick": HeldOut(steps=400, judgements=6),
    "best": HeldOut(steps=1500, judgements=6),  # four times as many steps bring nothing more
    "scratch": WholeImage(steps=2500),
    "paper": WholeImage(
        steps=150_000,
        dtype="float32",
        optimizer="sgd",
        loss="squared",
        lr=1.0,
        alpha=PUBLISHED_CORRUPTION_RATE,
        random_start=True,
        corruption_step="gradient",
        decay="none",
        width=128,
        input_channels=32,
        input_noise=1 / 30,
    ),
}

# What the demonstration compares: one start (seed) and one schedule for all, so that only the objective differs. On its
# small picture (u, v) must be faster than in `scratch`: the network begins to fit the corruption after 300 steps.
_DEMO = WholeImage(steps=1600)
DEMO: dict[str, WholeImage] = {
    "DIP-l2": replace(_DEMO, loss="squared", alpha=0.0),
    "DIP-l1": replace(_DEMO, loss="absolute", alpha=0.0),
    "DIP-SOP": replace(_DEMO, alpha=10.0),
}
