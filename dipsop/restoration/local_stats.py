"""What the surroundings of a value say about it, the value itself excluded: means, medians, and a first guess.

All on tensors (N, C, H, W), channel by channel, with a weight in [0, 1] for every value. A neighbour beyond the border
has weight 0, so that borders need no padding rule.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# A value that nobody trusts still counts this much: there is a mean, however many neighbours are hidden.
LEAST_TRUST = 1e-3
NOTHING = 1e-7  # instead of 0, where it is divided by
REWEIGHTINGS = 8  # of the surroundings, for a first guess
BAND = 1 << 20  # pixels that are worked on at a time


def bands(picture: Tensor) -> Iterator[slice]:
    """Rows to work on at a time: the temporaries of a detection, a dozen, are of a million pixels and not of all."""
    height, width = picture.shape[-2:]
    step = max(16, BAND // width)
    return (slice(top, min(height, top + step)) for top in range(0, height, step))


def ring(sigma: float, radius: int, device: torch.device) -> Tensor:
    """Gaussian window (2·radius + 1)² of sum 1 without its centre: a value never speaks for itself."""
    t = torch.arange(-radius, radius + 1, device=device, dtype=torch.float32)
    window = torch.exp(-(t[:, None].square() + t[None].square()) / (2 * sigma**2))
    window[radius, radius] = 0
    return window / window.sum()


def local_sum(values: Tensor, window: Tensor) -> Tensor:
    """Correlate every channel with the window; zero beyond the border."""
    channels = values.shape[1]
    kernel = window.expand(channels, 1, *window.shape)
    # Channels last: sixteen times faster than channels first on a processor.
    values = values.contiguous(memory_format=torch.channels_last)
    return F.conv2d(values, kernel, padding=window.shape[-1] // 2, groups=channels)


def weighted_mean(values: Tensor, weight: Tensor, window: Tensor) -> Tensor:
    """Normalized convolution, Σk·w·y / Σk·w; the overall mean where no neighbour has weight.

    References
    ----------
    Knutsson, Westin, "Normalized and differential convolution", CVPR 1993.
    """
    return weighted_means([values], weight, window)[0]


def weighted_means(values: Sequence[Tensor], weight: Tensor, window: Tensor) -> list[Tensor]:
    """Return the `weighted_mean` of several under one weight, all by one convolution."""
    *sums, total = local_sum(torch.cat([*(v * weight for v in values), weight], 1), window).chunk(len(values) + 1, 1)
    return [(s + NOTHING * v.mean()) / (total + NOTHING) for s, v in zip(sums, values, strict=True)]


def filled_means(values: Sequence[Tensor], trust: Tensor, window: Tensor) -> list[Tensor]:
    """Return the `weighted_mean` of several, which goes on from scale to scale where nobody near is trusted.

    There the mean at half the size has the say, by a weight of LEAST_TRUST: a hole is filled from its rims, however
    wide it is. Where nothing at all is trusted, the mean of all.

    References
    ----------
    Gortler, Grzeszczuk, Szeliski, Cohen, "The lumigraph", SIGGRAPH 1996 (push-pull).
    """
    trust = trust.clamp(min=NOTHING)
    sums = _filled(torch.cat([*(v * trust for v in values), trust], 1), len(values), window)
    return list(sums.chunk(len(values), 1))


def _filled(weighted: Tensor, count: int, window: Tensor) -> Tensor:
    """The means of `count` values, from w·y of each and w in one tensor."""
    if max(weighted.shape[-2:]) <= window.shape[-1]:
        sums, total = _apart(weighted.mean((2, 3), keepdim=True), count)
        return (sums / total).expand(-1, -1, *weighted.shape[-2:])
    smaller = F.avg_pool2d(weighted, 2, ceil_mode=True, count_include_pad=False)
    farther = F.interpolate(_filled(smaller, count, window), weighted.shape[-2:], mode="bilinear")
    sums, total = _apart(local_sum(weighted, window), count)
    return (sums + LEAST_TRUST * farther) / (total + LEAST_TRUST)


def _apart(weighted: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Σw·y of every value, and Σw as often."""
    channels = weighted.shape[1] // (count + 1)
    sums, total = weighted.split([count * channels, channels], 1)
    return sums, total.repeat(1, count, 1, 1)


def corrected_scale(scale: Tensor, residual: Tensor, weight: Tensor, window: Tensor) -> Tensor:
    """Return a scale, times the ratio of the mean residual |P − y| around to the mean of what is said of it."""
    seen, said = weighted_means([residual.abs(), scale], weight, window)
    return scale * seen / said.clamp(min=1e-4)


def weighted_median(values: Tensor, weight: Tensor, window: Tensor, levels: int = 32) -> Tensor:
    """Median of the surroundings, from the local distribution function at `levels` levels, interpolated in between.

    Sorting 24 neighbours of every value takes seconds on a processor; 32 small convolutions take a fraction of one.
    """
    total = local_sum(weight, window) + NOTHING
    median = torch.ones_like(values)
    below, open_ = torch.zeros_like(values), torch.ones_like(values, dtype=torch.bool)
    for level in range(1, levels + 1):
        reached = local_sum(weight * (values < level / levels), window) / total
        here = open_ & (reached >= 0.5)
        inside = (0.5 - below) / (reached - below).clamp(min=NOTHING)
        median = torch.where(here, (level - 1 + inside) / levels, median)
        open_ &= ~here
        below = reached
    return median


def first_guess(y: Tensor) -> Tensor:
    """Return a trust in every value, by robust statistics of its surroundings, before any network.

    The deviation from the median of the surroundings, measured by the local scale, gives every value a trust; then,
    REWEIGHTINGS times in all, the mean of the trusted surroundings takes the place of the median.

    Parameters
    ----------
    y : Tensor (1, C, H, W) in [0, 1]

    Returns
    -------
    trust : Tensor (1, C, H, W) in [0, 1]
    """
    close, near, around = ring(2.0, 2, y.device), ring(1.0, 3, y.device), ring(2.0, 5, y.device)
    everything = torch.ones_like(y)
    median = base = weighted_median(y, everything, close)
    # Clamped, so that the outliers themselves do not set the scale that they are measured by.
    scale = (0.5 * weighted_mean((y - median).abs().clamp(max=0.2), everything, close)).clamp(0.03, 0.15)
    for _ in range(REWEIGHTINGS):
        deviation = (y - base).abs()
        trust = 1 / (1 + (deviation / scale) ** 4)
        base = weighted_mean(y, trust, near)
        scale = (2.5 * weighted_mean(deviation, trust, around)).clamp(0.03, 0.2)
    return trust
