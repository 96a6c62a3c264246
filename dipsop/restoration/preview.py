"""What can be shown of a picture before the fit has begun."""

import numpy as np
import torch

from dipsop.restoration.fit import as_tensor
from dipsop.restoration.quality import Array
from dipsop.restoration.surroundings import first_guess, ring, weighted_mean
from dipsop.restoration.tiles import tiles

TILE, MARGIN = 512, 16


@torch.no_grad()
def first_estimate(image: Array) -> Array:
    """Fill what the first guess does not trust by the mean of its trusted surroundings.

    Parameters
    ----------
    image : float32 array (H, W, C) in [0, 1]

    Returns
    -------
    array of that shape
        A classical estimate, in a second per megapixel or so: the fit is going to be better.
    """
    y = as_tensor(image, torch.device("cpu"))
    estimate = y.clone()
    height, width = image.shape[:2]
    for tile in tiles(height, width, TILE, MARGIN):
        around = y[..., *tile.outer]
        trust = first_guess(around)
        filled = torch.where(trust < 0.5, weighted_mean(around, trust, ring(1.0, 3, y.device)), around)
        estimate[..., *tile.inner] = filled[..., *tile.inner_of_outer]
    return np.ascontiguousarray(estimate[0].permute(1, 2, 0).numpy())
