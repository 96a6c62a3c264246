"""Weak, cut and strong views of whole batches, on the device where the data lies.

All is drawn by the generator that is given, so that the same seed gives the same views wherever the samples lie.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

SHIFT = 4  # pixels of the weak view, either way, the border reflected
OPERATIONS = 2  # on each strong view
CUTOUT = 17  # side in pixels at 32×32, odd to have a centre, scaled with the image


def weak_view(padded: Tensor, index: Tensor, epoch: int, generator: torch.Generator) -> Tensor:
    """Shift each image at random by up to SHIFT pixels, and flip it in every other epoch.

    Flips alternate: what is seen left in one epoch is seen right in the next, at random only in which comes first, so
    that two epochs see both (K. Jordan 2024).

    Parameters
    ----------
    padded : Tensor (N, H + 2·SHIFT, W + 2·SHIFT, 3), uint8
        All images, as `pad` makes them.
    index : Tensor (B,)
        Which images.
    epoch : int

    Returns
    -------
    Tensor (B, 3, H, W), uint8, channels last in memory
    """
    height, width = padded.shape[1] - 2 * SHIFT, padded.shape[2] - 2 * SHIFT
    shift = sent(torch.randint(0, 2 * SHIFT + 1, (2, len(index), 1), generator=generator), padded.device)
    rows, columns = (s + torch.arange(n, device=padded.device) for s, n in zip(shift, (height, width), strict=True))
    # Which comes first is the image's own: a hash of its number (Knuth's multiplicative).
    flipped = ((index * 2654435761 >> 16) + epoch) % 2 == 1
    columns = torch.where(flipped[:, None], columns.flip(1), columns)
    view = padded[index[:, None, None], rows[:, :, None], columns[:, None, :]]
    return view.permute(0, 3, 1, 2)


def pad(images: Tensor) -> Tensor:
    """Reflect the borders of all images, (N, 3, H, W) uint8 → (N, H + 2·SHIFT, W + 2·SHIFT, 3)."""
    height, width = images.shape[-2:]
    rows, columns = (_reflected(n, images.device) for n in (height, width))
    return images[..., rows[:, None], columns].permute(0, 2, 3, 1).contiguous()


def _reflected(length: int, device: torch.device) -> Tensor:
    at = torch.arange(-SHIFT, length + SHIFT, device=device).abs()
    return torch.where(at >= length, 2 * (length - 1) - at, at).clamp(0, length - 1)


def strong_view(weak: Tensor, generator: torch.Generator) -> Tensor:
    """Change colours and geometry of each image at random, and cut a square out of it.

    In the manner of RandAugment (Cubuk et al. 2020): two of the operations below one after the other, each drawn for
    each image, with a strength drawn up to its most.

    Parameters
    ----------
    weak : Tensor (B, 3, H, W), float in [0, 1]

    Returns
    -------
    Tensor of that shape, in [0, 1]
    """
    x = weak
    for choice, strength, sign in sent(torch.rand(OPERATIONS, 3, len(x), generator=generator), x.device):
        choice, strength, sign = choice * (len(_COLOURS) + 1), 2 * strength - 1, 2 * sign - 1
        changed = _warped(x, choice, strength, sign)
        for k, colour in enumerate(_COLOURS):
            here = (choice.long() == k).view(-1, 1, 1, 1)
            changed = torch.where(here, colour(x, strength.view(-1, 1, 1, 1)), changed)
        x = changed.clamp(0, 1)
    return cut_out(x, CUTOUT, generator)


def sent(drawn: Tensor, device: torch.device) -> Tensor:
    """To the device, without waiting for CUDA, which has its copy when the call returns; others might read it later."""
    return drawn.to(device, non_blocking=device.type == "cuda")


def _warped(x: Tensor, choice: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    """Rotate by up to 30°, shear by up to 0.3 and shift by up to 0.3 of the side, where a warp was chosen."""
    warps = choice.long() == len(_COLOURS)
    kind = (choice.frac() * 4).long()  # rotation, shear along either axis, shift
    zero = torch.zeros_like(strength)
    angle = torch.where(warps & (kind == 0), 0.52 * strength, zero)
    shear_x, shear_y = (torch.where(warps & (kind == k), 0.3 * strength, zero) for k in (1, 2))
    right, down = (torch.where(warps & (kind == 3), 0.6 * s, zero) for s in (strength, sign))
    rows = torch.stack([angle.cos(), -angle.sin() + shear_x, right, angle.sin() + shear_y, angle.cos(), down], 1)
    grid = F.affine_grid(rows.view(-1, 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def _brightness(x: Tensor, strength: Tensor) -> Tensor:
    return x * (1 + 0.8 * strength)


def _contrast(x: Tensor, strength: Tensor) -> Tensor:
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * (1 + 0.8 * strength)


def _saturation(x: Tensor, strength: Tensor) -> Tensor:
    grey = x.mean(1, keepdim=True)
    return grey + (x - grey) * (1 + 0.8 * strength)


def _solarize(x: Tensor, strength: Tensor) -> Tensor:
    return torch.where(x > 1 - 0.7 * strength.abs(), 1 - x, x)


def _posterize(x: Tensor, strength: Tensor) -> Tensor:
    levels = 2 ** (8 - (4 * strength.abs()).round())
    return (x * levels).floor() / levels


def _stretch(x: Tensor, strength: Tensor) -> Tensor:
    """Autocontrast, each channel over its whole range."""
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return (x - low) / (high - low).clamp(min=1e-3)


def _sharpness(x: Tensor, strength: Tensor) -> Tensor:
    smooth = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return smooth + (x - smooth) * (1 + 0.9 * strength)


_COLOURS = (_brightness, _contrast, _saturation, _solarize, _posterize, _stretch, _sharpness)


def cut_out(x: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Grey a square, its centre anywhere in the image (DeVries, Taylor 2017).

    Parameters
    ----------
    x : Tensor (B, 3, H, W), float in [0, 1]
    side : int
        Of the square, in pixels of an image of 32×32; 0 for none, and nothing is drawn.

    Returns
    -------
    Tensor of that shape
    """
    if not side:
        return x
    height, width = x.shape[-2:]
    half = side * min(height, width) // 64
    centre = (torch.rand(2, len(x), 1, generator=generator) * torch.tensor([[[height]], [[width]]])).long()
    rows, columns = (
        (torch.arange(n, device=x.device) - c).abs() <= half
        for n, c in zip((height, width), sent(centre, x.device), strict=True)
    )
    inside = rows[:, None, :, None] & columns[:, None, None, :]
    return torch.where(inside, 0.5, x)
