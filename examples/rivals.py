"""The rivals of the restoration benchmark: functions (image, truth) → picture, on arrays (H, W, C) in [0, 1].

Where a rival has a setting that its user would have to guess, it is given the best one by the truth, in its favour.
"""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from dipsop.pictures.quality import Array, psnr

Rival = Callable[[Array, Array], Array]


def _best(candidates: Iterable[Array], truth: Array) -> Array:
    return max(candidates, key=lambda candidate: psnr(candidate.clip(0, 1), truth))


def _by_channel(image: Array, method: Callable[[Array], Array]) -> Array:
    return np.stack([method(image[..., c]) for c in range(image.shape[-1])], -1)


def untouched(image: Array, truth: Array) -> Array:
    """Return the input."""
    return image


def best_median(image: Array, truth: Array) -> Array:
    """Return the best of the 3×3, 5×5 and 7×7 medians, channel by channel."""
    from skimage.filters import median

    def filtered(side: int) -> Array:
        return _by_channel(image, lambda channel: median(channel, np.ones((side, side), bool)))

    return _best(map(filtered, (3, 5, 7)), truth)


def extremes_filled(image: Array, truth: Array) -> Array:
    """Take every value at 0 or 1 for corrupted and fill it biharmonically from the others, channel by channel."""
    from skimage.restoration import inpaint_biharmonic

    def filled(channel: Array) -> Array:
        extreme: NDArray[np.bool_] = (channel == 0) | (channel == 1)
        return inpaint_biharmonic(channel, extreme) if extreme.any() else channel

    return _by_channel(image, filled)


def total_variation(image: Array, truth: Array) -> Array:
    """Return the best of seven weights of total variation denoising (Chambolle 2004)."""
    from skimage.restoration import denoise_tv_chambolle

    weights = (0.05, 0.1, 0.2, 0.4, 0.8, 1.2, 1.6)
    return _best((denoise_tv_chambolle(image, weight=w, channel_axis=-1) for w in weights), truth)


def nonlocal_means(image: Array, truth: Array) -> Array:
    """Return the best of five strengths of non-local means (Buades et al. 2005)."""
    from skimage.restoration import denoise_nl_means

    def denoised(strength: float) -> Array:
        # Of a grey picture it drops the channel.
        picture: Array = denoise_nl_means(image, 5, 6, h=strength, sigma=strength / 2, channel_axis=-1)
        return picture.reshape(image.shape)

    return _best(map(denoised, (0.05, 0.1, 0.2, 0.4, 0.8)), truth)


def bm3d(image: Array, truth: Array) -> Array:
    """Return the best of four noise levels of BM3D (Dabov et al. 2007), channel by channel; needs the package bm3d."""
    from bm3d import bm3d as denoise

    def denoised(sigma: float) -> Array:
        return _by_channel(image, lambda channel: denoise(channel, sigma))

    return _best(map(denoised, (0.05, 0.15, 0.3, 0.5)), truth)


RIVALS: dict[str, Rival] = {
    "input": untouched,
    "best median": best_median,
    "extremes filled": extremes_filled,
    "total variation": total_variation,
    "non-local means": nonlocal_means,
    "BM3D": bm3d,
}
