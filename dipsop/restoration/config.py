"""Every choice of a restoration, and the presets: the only home of the defaults.

Free of torch, so that `dipsop --help` is quick.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

from dipsop.compute import Dtype

Polarity = Literal["both", "salt", "pepper"]
Looking = Literal["never", "sparse", "always"]
Optimizer = Literal["sgd", "muon"]
Loss = Literal["squared", "absolute", "huber"]
CorruptionStep = Literal["gradient", "flow"]
Decay = Literal["none", "cosine"]
Border = Literal["zeros", "reflect"]


SHIPPED_WIDTHS = (32, 64, 96, 96)  # of the network that the shipped weights are of
MOST_INIT_SCALE = 0.5  # at its own pace, u or v has arrived at 0.7
MOST_PARTS = 256  # their numbers are kept in bytes


def _at_least(least: int, name: str, value: int) -> None:
    if value < least:
        raise ValueError(f"{name} must be {least} or more, got {value}")


def _above_0(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be above 0 and finite, got {value}")


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


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
        Fixes everything drawn: on a processor the same seed gives the same result.
    dtype : "auto", "bfloat16" or "float32"
        What the network computes in; auto takes bfloat16 where the processor multiplies it natively.
    """

    steps: int
    time_limit: float | None = None
    seed: int = 0
    dtype: Dtype = "auto"

    def __post_init__(self) -> None:
        """Raise ValueError where a budget is not positive, or the number format is none."""
        _at_least(1, "steps", self.steps)
        if self.time_limit is not None and not self.time_limit > 0:
            raise ValueError(f"time_limit must be above 0 seconds, got {self.time_limit}")
        _one_of("dtype", self.dtype, get_args(Dtype))


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How the network of a held-out fit learns, and how its last prediction is made.

    Parameters
    ----------
    widths : tuple of int >= 1
        Channels of every scale of the U-Net; each after the first halves the resolution.
    pretrained : bool
        Start from the shipped weights where they fit: those widths.
    lr : float > 0
        Adam's rate; kernels move at five times that (dipsop.optimizers). Warmed up over `warmup` steps, constant for
        `hold` steps, then falling with the root of the steps, and over the second half of the budget no slower than
        linearly to 2 % of it.
    averaging : float in [0, 1)
        Share of the old in the running mean of the weights.
    warmup, hold : int >= 1
        Steps; see `lr`.
    crop, batch : int >= 1
        Side in pixels of the random square crops, and their number per step.
    most_hidden : float in (0, 1)
        Each crop hides a share of its values that is drawn between 0 and this.
    flips : int, 1 to 8
        Over how many flips and transposes the last prediction is averaged.
    """

    widths: tuple[int, ...] = SHIPPED_WIDTHS
    pretrained: bool = True
    lr: float = 2e-3
    averaging: float = 0.98
    warmup: int = 20
    hold: int = 250
    crop: int = 128
    batch: int = 2
    most_hidden: float = 0.45
    flips: int = 8

    def __post_init__(self) -> None:
        """Raise ValueError where a choice is out of its range."""
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"widths must be one or more numbers of channels, 1 or more each, got {self.widths}")
        for name in ("warmup", "hold", "crop", "batch"):
            _at_least(1, name, getattr(self, name))
        _above_0("lr", self.lr)
        if not 0 <= self.averaging < 1:
            raise ValueError(f"averaging must be 0 or above and below 1, got {self.averaging}")
        if not 0 < self.most_hidden < 1:
            raise ValueError(f"most_hidden must lie between 0 and 1, got {self.most_hidden}")
        if not 1 <= self.flips <= 8:
            raise ValueError(f"flips must be 1 to 8, got {self.flips}")

    @property
    def starts_pretrained(self) -> bool:
        """Whether the shipped weights are wanted, and fit."""
        return self.pretrained and tuple(self.widths) == SHIPPED_WIDTHS


@dataclass(frozen=True, kw_only=True)
class DetectionConfig:
    """How a held-out fit decides which values are corrupted.

    Parameters
    ----------
    rounds : int >= 1
        How often, evenly over the fit, every value is predicted unseen and (u, v) follow its residual.
    first_rounds : int >= 0
        At how many steps from the first on that is done besides, where the weights start pretrained.
    parts : int, 2 to 256
        In how many disjoint parts the values are hidden for the last round; more sees more of the image, and takes
        longer. The rounds before it, which the next goes over again, take three eighths as many, at least 2.
    look : "never", "sparse" or "always"
        When to go by a shipped network that has seen what goes wrong, too, and judges a value by what is around it:
        where it is better than residuals alone, which is where corruption is sparse or hits whole pixels, and where
        what is connected is no damage to it; or always. It is for pictures in colour and for weights that start
        pretrained, and not asked where a polarity is told: it has not learned from that. Another network looks for
        scratches, lettering and other marks before the first round, in grey pictures too, but not in a drawing unless
        `scratches` says that there are some.
    least_residual : float > 0
        Floor of the local residual scale b, so that one lucky neighbourhood does not flag its next value.
    polarity : "both", "salt" or "pepper"
        What is looked for: any corruption, values that are too bright alone, or too dark alone.
    strength : float > 0
        Factor on the odds that a value is corrupted: above 1 finds more, and more false alarms.
    scratches : bool
        There are scratches, hairs, lettering or dust to be seen: those are taken out of which the network that looks
        for them is not sure by itself, too. In print and line drawings that is what is drawn.
    shared_corruption : bool
        Corruption hits whole pixels: they are hidden as a whole, and all channels are found where one is. Without a
        look the evidence of a pixel's channels adds up; with a polarity, a channel that is off to the other side is
        evidence against it.
    """

    rounds: int = 10
    first_rounds: int = 3
    parts: int = 8
    look: Looking = "sparse"
    least_residual: float = 0.006
    polarity: Polarity = "both"
    strength: float = 1.0
    scratches: bool = False
    shared_corruption: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError where a choice is out of its range."""
        for least, name in ((1, "rounds"), (0, "first_rounds"), (2, "parts")):
            _at_least(least, name, getattr(self, name))
        if self.parts > MOST_PARTS:
            raise ValueError(f"parts must be {MOST_PARTS} or fewer, got {self.parts}")
        _above_0("least_residual", self.least_residual)
        _above_0("strength", self.strength)
        _one_of("polarity", self.polarity, get_args(Polarity))
        _one_of("look", self.look, get_args(Looking))

    @property
    def parts_before(self) -> int:
        """In how many parts the values are hidden for the rounds before the last."""
        return max(2, 3 * self.parts // 8)

    @property
    def may_look(self) -> bool:
        """Whether the look is asked, as far as that depends on choices."""
        return self.look != "never" and self.polarity == "both"


@dataclass(frozen=True, kw_only=True)
class HeldOut(FitConfig, TrainingConfig, DetectionConfig):
    """The network predicts values that it does not see; residuals of such predictions drive (u, v). Quick and best.

    Its choices are those of the budget (FitConfig), of the training (TrainingConfig) and of the detection
    (DetectionConfig). Pictures beyond a megapixel get two thirds of the rounds, three quarters of the parts and a
    quarter of the flips.
    """

    def __post_init__(self) -> None:
        """Raise ValueError where a choice is out of its range."""
        for part in (FitConfig, TrainingConfig, DetectionConfig):
            part.__post_init__(self)
        if self.scratches and not (self.starts_pretrained and self.look != "never"):
            raise ValueError("scratches are found by a shipped network: it takes the shipped weights and a look")


@dataclass(frozen=True, kw_only=True)
class WholeImage(FitConfig):
    """Deep image prior with (u, v): the network makes the whole picture from fixed noise. Dip, paper and the demo.

    Parameters
    ----------
    optimizer : "sgd" or "muon"
        What moves θ (dipsop.optimizers).
    loss : "squared", "absolute" or "huber"
        On r = f + s − y, averaged over the values.
    huber_delta : float > 0
        |r| where the Huber loss turns linear: above the fit's own error, below the corruption. With alpha = 0 the Huber
        loss is what an explicit penalty huber_delta·‖s‖₁ on s makes of the squared loss.
    lr, alpha, init_scale : float
        The discrepant rates of dipsop.sop: rate of θ, rate of (u, v) over it, and γ. alpha = 0 makes it the plain deep
        image prior; None lets (u, v) find their own pace (dipsop.restoration.release).
    bound : float > 0 or None
        d, at which the residual that u and v follow is clipped, so that all that is off by more leaves together; None
        leaves it as it is, as published.
    random_factors : bool
        u, v ~ N(0, γ²) as published, instead of u = v = γ.
    corruption_step : "gradient" or "flow"
        The published explicit step, or the exact flow that it approximates, stable at high rates.
    decay : "none" or "cosine"
        Schedule of both rates over the budget; their ratio stands. At their own pace, (u, v) do not heed it.
    width, skip_width, input_channels : int
        Of the five-scale skip U-Net: its channels, those of its skips, those of z.
    border : "zeros" or "reflect"
        What its convolutions see beyond the border.
    input_noise : float >= 0
        σ of the fresh noise added to z at every step.
    shared_corruption : bool
        Corruption hits whole pixels: their channels are found together. With an alpha, one (u, v) for all channels of a
        pixel instead of one for every value.
    """

    optimizer: Optimizer = "muon"
    loss: Loss = "huber"
    huber_delta: float = 0.02
    lr: float = 0.01
    alpha: float | None = None
    bound: float | None = 0.2
    init_scale: float = 1e-5
    random_factors: bool = False
    corruption_step: CorruptionStep = "flow"
    decay: Decay = "cosine"
    width: int = 32
    skip_width: int = 4
    input_channels: int = 8
    border: Border = "zeros"
    input_noise: float = 0.0
    shared_corruption: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError where a choice is out of its range (that of the rates, dipsop.sop holds)."""
        super().__post_init__()
        _one_of("optimizer", self.optimizer, get_args(Optimizer))
        _one_of("loss", self.loss, get_args(Loss))
        _one_of("corruption_step", self.corruption_step, get_args(CorruptionStep))
        _one_of("decay", self.decay, get_args(Decay))
        _one_of("border", self.border, get_args(Border))
        for name in ("width", "skip_width", "input_channels"):
            _at_least(1, name, getattr(self, name))
        _above_0("huber_delta", self.huber_delta)
        if self.bound is not None:
            _above_0("bound", self.bound)
        if self.alpha is None and (self.corruption_step != "flow" or self.bound is None):
            raise ValueError("u and v find their own pace (alpha=None) by flow steps on a residual that has a bound")
        if self.alpha is None and self.init_scale >= MOST_INIT_SCALE:
            raise ValueError(f"init_scale must be below {MOST_INIT_SCALE} with alpha=None, got {self.init_scale}")
        if not 0 <= self.input_noise < math.inf:
            raise ValueError(f"input_noise must be 0 or above and finite, got {self.input_noise}")


Config = HeldOut | WholeImage

# The published rate of (u, v), 500 on the mean over 3·512·512 values, said per entry: 500·2 / (3·512·512).
PUBLISHED_CORRUPTION_RATE = 500 * 2 / (3 * 512 * 512)

RANDOM_START_STEPS = 400  # at least: a network that starts from nothing has more to learn

_DIP = WholeImage(steps=1500)
PRESETS: dict[str, Config] = {
    "quick": HeldOut(steps=150, rounds=5),
    "best": HeldOut(steps=1500, rounds=6),
    "dip": _DIP,
    "paper": WholeImage(
        steps=150_000,
        dtype="float32",
        optimizer="sgd",
        loss="squared",
        lr=1.0,
        alpha=PUBLISHED_CORRUPTION_RATE,
        bound=None,
        random_factors=True,
        corruption_step="gradient",
        decay="none",
        width=128,
        input_channels=32,
        border="reflect",
        input_noise=1 / 30,
    ),
}

# What the demonstration compares: the preset dip, and on the same start and schedule the plain deep image prior under
# ℓ2, under ℓ1, and with an explicit penalty λ‖s‖₁ on s in the place of the implicit bias. With that penalty the best s
# is known in closed form at every step, and what is left of ½(f + s − y)² + λ|s| is the Huber loss of f − y at λ.
PENALTIES = (0.02, 0.1, 0.5)  # λ; ℓ1 is their limit at 0, ℓ2 at infinity
DEMO: dict[str, WholeImage] = {
    "DIP-l2": replace(_DIP, loss="squared", alpha=0.0),
    "DIP-l1": replace(_DIP, loss="absolute", alpha=0.0),
    **{f"penalty {weight:g}": replace(_DIP, loss="huber", huber_delta=weight, alpha=0.0) for weight in PENALTIES},
    "dip": _DIP,
}
