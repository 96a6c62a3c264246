"""How close a picture is to the truth. For evaluation alone: nothing in a fit may ask."""

import math

import numpy as np

from dipsop.pictures.picture import Array


def psnr(picture: Array, truth: Array) -> float:
    """Peak signal-to-noise ratio, −10·log₁₀ of the mean square error, in dB.

    Parameters
    ----------
    picture, truth : float arrays of one shape, in [0, 1]

    Returns
    -------
    float
        Infinite where they are equal.
    """
    error = float(np.mean(np.square(picture.astype(np.float64) - truth)))
    return -10 * math.log10(error) if error > 0 else math.inf


def ssim(picture: Array, truth: Array) -> float:
    """Structural similarity by scikit-image: 7×7 windows, mean over windows and channels.

    Parameters
    ----------
    picture, truth : float arrays (H, W, C) of one shape, in [0, 1]
        A side under 7 makes the windows smaller.

    Returns
    -------
    float
        At most 1; NaN where a side is under 3, so that there is no structure.
    """
    from skimage.metrics import structural_similarity

    side = min(7, *picture.shape[:2])
    if side < 3:
        return math.nan
    return float(structural_similarity(picture, truth, win_size=side - 1 + side % 2, channel_axis=-1, data_range=1.0))
