"""How prints age, and what scanning makes of pictures: on batches (N, 3, H, W) in [0, 1], for train_marks.py."""

import functools
import io
import math

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

TINT = (0.0, 0.2, 0.6)  # what yellowing takes at most from red, green and blue of the paper


def uniform(count: int, device: torch.device) -> Tensor:
    """One number in [0, 1) for each of a batch, (count, 1, 1, 1)."""
    return torch.rand(count, 1, 1, 1, device=device)


def normal(count: int, device: torch.device) -> Tensor:
    """The same of the normal distribution."""
    return torch.randn(count, 1, 1, 1, device=device)


def coin(count: int, chance: float, device: torch.device) -> Tensor:
    """True with that chance, for each of a batch."""
    return uniform(count, device) < chance


def aged(crops: Tensor) -> tuple[Tensor, Tensor]:
    """Return crops (N, 3, H, W) in [0, 1] as old prints, and the colour of their paper, (N, 3, 1, 1).

    In one tone from dark to paper, most of them, yellowed or not, with grain, some with a border of paper.
    """
    n, device = len(crops), crops.device
    tint = torch.tensor(TINT, device=device).view(1, 3, 1, 1)
    yellow = uniform(n, device) * (uniform(n, device) < 0.8)
    paper = (1 - 0.35 * uniform(n, device) ** 2) * (1 - yellow * tint)
    dark = 0.3 * uniform(n, device) ** 2 * (1 - 1.5 * yellow * tint)
    tone = crops.mean(1, keepdim=True).clamp(min=1e-4) ** (0.5 * normal(n, device)).exp()
    colour = torch.where(uniform(n, device) < 0.2, 0.6 * uniform(n, device), 0)  # that has not faded
    print_ = (1 - colour) * (dark + (paper - dark) * tone) + colour * crops
    grain = F.avg_pool2d(torch.randn_like(print_[:, :1]), 3, 1, 1) * 3
    grain = torch.where(uniform(n, device) < 0.5, torch.randn_like(grain), grain)
    print_ = print_ + 0.06 * uniform(n, device) ** 2 * grain
    return _bordered(print_, paper).clamp(0, 1), paper


def _bordered(print_: Tensor, paper: Tensor) -> Tensor:
    """A third of them with a border at one side, of paper or of what lay under the print, its edge straight or worn."""
    n, side, device = len(print_), print_.shape[-1], print_.device
    worn = F.interpolate(torch.randn(n, 1, side // 8, device=device), side, mode="linear")[:, 0]
    off = 0.3 * side * torch.rand(n, 1, device=device) + 5 * torch.rand(n, 1, device=device) ** 2 * worn
    off = torch.where(torch.rand(n, 1, device=device) < 0.35, off, -9.0)
    at = torch.arange(side, device=device).expand(n, side)
    at = torch.where(torch.rand(n, 1, device=device) < 0.5, at, side - 1 - at)
    beyond = ((off[:, None, :] - at[:, :, None]) / (0.3 + torch.rand(n, 1, 1, device=device))).sigmoid()[:, None]
    beyond = torch.where(uniform(n, device) < 0.5, beyond, beyond.transpose(2, 3))
    under = torch.where(uniform(n, device) < 0.5, torch.ones_like(paper), 0.1 * torch.rand_like(paper))
    colour = torch.where(uniform(n, device) < 0.7, (1.05 * paper).clamp(max=1), under)
    return print_ + beyond * (colour + 0.01 * torch.randn_like(print_) - print_)


def blurred(x: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of 5×5, with a σ for every picture."""
    at = torch.arange(-2, 3, device=x.device, dtype=x.dtype)
    weights = torch.exp(-0.5 * (at / sigma[:, :, 0]).square())  # (N, 1, 5)
    weights = weights / weights.sum(-1, keepdim=True)
    padded = F.pad(x, (2, 2, 2, 2), mode="replicate")
    across = sum(weights[:, :, k, None, None] * padded[..., k : k + x.shape[-1]] for k in range(5))
    assert isinstance(across, Tensor)
    down = sum(weights[:, :, k, None, None] * across[..., k : k + x.shape[-2], :] for k in range(5))
    assert isinstance(down, Tensor)
    return down


@functools.cache
def _jpeg_tables(device: torch.device) -> list[Tensor]:
    """The cosine transform of 8, the usual tables, RGB to YCbCr and back (ITU-T T.81, annex K; JFIF)."""
    k = torch.arange(8.0)
    cosine = torch.cos(math.pi * (2 * k[None] + 1) * k[:, None] / 16) / 2
    cosine[0] /= math.sqrt(2)
    tables = Image.new("RGB", (8, 8))
    buffer = io.BytesIO()
    tables.save(buffer, "JPEG", quality=50)
    quantization = Image.open(buffer).quantization  # type: ignore[attr-defined]
    luma, chroma = (torch.tensor(quantization[i], dtype=torch.float).view(8, 8) for i in (0, 1))
    colours = torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    return [table.to(device) for table in (cosine, luma, chroma, colours, torch.linalg.inv(colours))]


def through_jpeg(x: Tensor, quality: Tensor) -> Tensor:
    """Return what JPEG makes of pictures (N, 3, H, W) in [0, 1], sides multiples of 16, at qualities (N, 1, 1, 1)."""
    cosine, luma, chroma, colours, back_to_rgb = _jpeg_tables(x.device)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality) / 100
    tables = torch.stack([luma, chroma, chroma])[None] * scale  # (N, 3, 8, 8)
    tables = tables.round().clamp(1, 255)[:, :, None, :, None, :]
    n, _, height, width = x.shape
    ycc = torch.einsum("dc,nchw->ndhw", colours, 255 * x)
    ycc[:, 0] -= 128
    halved = F.interpolate(F.avg_pool2d(ycc[:, 1:], 2), scale_factor=2)
    ycc = torch.where(quality < 90, torch.cat([ycc[:, :1], halved], 1), ycc)
    blocks = ycc.reshape(n, 3, height // 8, 8, width // 8, 8)
    coefficients = torch.einsum("ui,ncaibj,vj->ncaubv", cosine, blocks, cosine)
    coefficients = (coefficients / tables).round() * tables
    back = torch.einsum("ui,ncaubv,vj->ncaibj", cosine, coefficients, cosine).reshape(n, 3, height, width)
    back[:, 0] += 128
    return (torch.einsum("dc,nchw->ndhw", back_to_rgb, back) / 255).clamp(0, 1)
