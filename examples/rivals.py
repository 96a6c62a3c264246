"""The rivals of the restoration benchmark: functions (image, truth) → picture, on arrays (H, W, C) in [0, 1].

Where a rival has a setting that its user would have to guess, it is given the best one by the truth, in its favour.
"""

import os
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dipsop.pictures.picture import Array
from dipsop.pictures.quality import psnr

# Where the weights of PD-Denoising lie: logs/logs_color_MC_AWGN_RVIN of the repository yzhouas/PD-Denoising-pytorch.
PD_WEIGHTS = "PD_DENOISING_WEIGHTS"

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


def inpainted(image: Array, truth: Array) -> Array:
    """Return the better of OpenCV's two inpaintings, told exactly which values are wrong; needs opencv-python-headless.

    What a person with a brush and all the time of the world would get (Telea 2004; Bertalmio et al. 2001).
    """
    import cv2

    levels, wrong = np.rint(255 * image).astype(np.uint8), (image != truth).astype(np.uint8)

    def filled(method: int) -> Array:
        picture = np.empty_like(image, np.float32)
        for c in range(image.shape[-1]):
            picture[..., c] = cv2.inpaint(levels[..., c].copy(), wrong[..., c].copy(), 3, method) / 255
        return picture

    return _best(map(filled, (cv2.INPAINT_TELEA, cv2.INPAINT_NS)), truth)


def pd_denoising(image: Array, truth: Array) -> Array:
    """Return what PD-Denoising makes of it, told nothing: a 20-layer DnCNN and an estimator of the noise.

    Its weights, trained on Gaussian and random-valued noise, are read from the folder that PD_DENOISING_WEIGHTS names.
    Zhou, Jiao, Huang, Wang, Wang, Shi, Huang, "When AWGN-based denoiser meets real noises", AAAI 2020.
    """
    network, estimator = _pd_networks(Path(os.environ[PD_WEIGHTS]))
    y = torch.from_numpy(np.repeat(image, 3 // image.shape[-1], -1).transpose(2, 0, 1)[None].copy())
    y = y.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        clean = y - network(torch.cat([y, estimator(y).clamp(0, 1)], 1))
    colours: Array = clean[0].permute(1, 2, 0).numpy()
    return colours if image.shape[-1] == 3 else colours.mean(-1, keepdims=True)


@cache
def _pd_networks(weights: Path) -> tuple[nn.Module, nn.Module]:
    def plain(inputs: int, outputs: int, layers: int, file: str) -> nn.Module:
        inside = [
            layer
            for _ in range(layers - 2)
            for layer in (nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU())
        ]
        first, last = (nn.Conv2d(*ends, 3, padding=1, bias=False) for ends in ((inputs, 64), (64, outputs)))
        network = nn.Sequential(first, nn.ReLU(), *inside, last)
        state = torch.load(weights / file, map_location="cpu", weights_only=True)
        network.load_state_dict({name.removeprefix("module.").removeprefix("dncnn."): w for name, w in state.items()})
        return network.eval()

    return plain(9, 3, 20, "net.pth"), plain(3, 6, 3, "est_net.pth")


PACKAGES = {"BM3D": "bm3d", "inpainted, true mask": "cv2"}  # what some need
RIVALS: dict[str, Rival] = {
    "input": untouched,
    "best median": best_median,
    "extremes filled": extremes_filled,
    "total variation": total_variation,
    "non-local means": nonlocal_means,
    "BM3D": bm3d,
    "inpainted, true mask": inpainted,
    "PD-Denoising": pd_denoising,
}
