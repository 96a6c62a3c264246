"""The two U-Nets: the deep image prior's, which makes a picture from noise, and the one that predicts hidden values."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from dipsop.restoration.config import Border

PARTS = 4  # that are multiplied side by side, whatever the number of threads, so that their sum is the same
POSITIONS = 512  # of each part at a time: what is multiplied stays in the cache
LEAST_CHANNELS = 16


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1, padding: int = 0) -> Tensor:
    """Return F.conv2d, whose backward is our own where that of PyTorch is slow: in float32 on AVX2.

    Parameters
    ----------
    x : Tensor (N, C, H, W)
    weight : Tensor (D, C, k, k)
    bias : Tensor (D,) or None
    stride, padding : int
    """
    slow = (
        weight.requires_grad
        and x.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.cpu.get_cpu_capability() == "AVX2"
        and x.is_contiguous(memory_format=torch.channels_last)
        and weight.shape[1] >= LEAST_CHANNELS
    )
    if not slow:
        return F.conv2d(x, weight, bias, stride, padding)
    y: Tensor = _Convolved.apply(x, weight, bias, stride, padding)  # type: ignore[no-untyped-call]
    return y


class _Convolved(torch.autograd.Function):
    """F.conv2d with `weight_gradient`; the gradient of x is PyTorch's own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding, ctx.biased = stride, padding, bias is not None
        return F.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = conv2d_input(x.shape, weight, gradient, ctx.stride, ctx.padding)
        of_weight = weight_gradient(x, gradient, weight.shape[-1], ctx.stride, ctx.padding)
        of_bias = gradient.sum((0, 2, 3)) if ctx.biased else None
        return of_x, of_weight, of_bias, None, None


def weight_gradient(x: Tensor, gradient: Tensor, kernel: int, stride: int = 1, padding: int = 0) -> Tensor:
    """Return what a convolution hands on to its weight, (D, C, k, k): Σ gradient ⊗ the k×k neighbourhood of x.

    By matrix products over some rows at a time. PyTorch's (oneDNN, on AVX2) reads all of a picture again for every
    few channels: four times slower at 512×512, twice at 128×128.

    Parameters
    ----------
    x : Tensor (N, C, H, W), channels last
    gradient : Tensor (N, D, H', W'), channels last
        Of the convolution.
    kernel, stride, padding : int
        Of the convolution, k being the kernel.
    """
    (inputs, height, across), (outputs, down, width) = x.shape[1:], gradient.shape[1:]
    high = max(1, POSITIONS // width)  # rows of a part
    total = gradient.new_zeros(kernel, PARTS, outputs, kernel * inputs)
    # The rows of x that some rows of the gradient saw, each position with those beside it; 0 beyond the border.
    seen = gradient.new_zeros(stride * (PARTS * high - 1) + kernel, width, kernel, inputs)
    starts = [padding - k for k in range(kernel)]  # the first position that sees the first column, times the stride
    columns = [(max(0, -(-s // stride)), max(0, min(width, -(-(across + s) // stride)))) for s in starts]
    for picture, rows in zip(x.permute(0, 2, 3, 1), gradient.permute(0, 2, 3, 1), strict=True):
        top = 0
        while top < down:
            parts = max(1, min(PARTS, (down - top) // high))
            below = top + parts * min(high, down - top)
            first, last = stride * top - padding, stride * (below - 1) - padding + kernel
            inside = slice(max(0, first), min(height, last))
            here = seen[: last - first]
            for start, (left, right), shifted in zip(starts, columns, here.unbind(2), strict=True):
                beside = picture[inside, stride * left - start : stride * (right - 1) - start + 1 : stride]
                shifted[inside.start - first : inside.stop - first, left:right] = beside
            if first < 0:
                here[:-first] = 0
            if last > height:
                here[height - last :] = 0
            of_rows = rows[top:below].reshape(parts, -1, outputs).transpose(1, 2)
            for k in range(kernel):
                under = here[k : k + stride * (below - top - 1) + 1 : stride].reshape(parts, -1, kernel * inputs)
                total[k, :parts].add_(torch.bmm(of_rows, under))
            top = below
    return total.sum(1).view(kernel, outputs, kernel, inputs).permute(1, 3, 0, 2)


class _Conv(nn.Conv2d):
    """Convolution that keeps the size, up to its stride; beyond the border x is zero, or reflected."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, border: Border = "zeros") -> None:
        super().__init__(inputs, outputs, kernel, stride)
        self.border = border

    def forward(self, x: Tensor) -> Tensor:
        padding = self.kernel_size[0] // 2
        if padding and self.border == "reflect":
            # Autocast would pad, and take the gradient of it, in float32, and cast to and fro: a fifth of a step.
            with torch.autocast(x.device.type, enabled=False):
                x, padding = F.pad(x, [padding] * 4, mode="reflect"), 0
        return convolved(x, self.weight, self.bias, self.stride[0], padding)


def _doubled_bilinearly(x: Tensor) -> Tensor:
    """Twice the resolution, in the number format that x has (see _Conv)."""
    with torch.autocast(x.device.type, enabled=False):
        doubled = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    if doubled.requires_grad:  # its gradient is some channels of a wider one, which the backward is slow on
        doubled.register_hook(lambda gradient: gradient.contiguous(memory_format=torch.channels_last))
    return doubled


def _conv(inputs: int, outputs: int, kernel: int, border: Border, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, leaky ReLU: the deep image prior's unit."""
    return nn.Sequential(
        _Conv(inputs, outputs, kernel, stride, border),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(0.2, inplace=True),
    )


class SkipUNet(nn.Module):
    """The five-scale skip U-Net of the deep image prior: z (N, input_channels, H, W) → picture in [0, 1].

    H and W are multiples of `multiple` and at least twice that; who wants another size makes z larger and crops
    (`input_size` says how large).

    Parameters
    ----------
    input_channels, output_channels : int
    widths : sequence of int
        Channels of each scale, from fine to coarse; each scale halves the resolution.
    skip_width : int
        Channels of the 1×1 skip at every scale.
    border : "zeros" or "reflect"
        What convolutions see beyond it. Zeros tell the network where it is, so that it learns the frame of a scan, too.

    References
    ----------
    Ulyanov, Vedaldi, Lempitsky, "Deep Image Prior", IJCV 2020, supplementary material (denoising network).
    """

    def __init__(
        self,
        input_channels: int,
        output_channels: int,
        widths: Sequence[int],
        skip_width: int = 4,
        border: Border = "zeros",
    ) -> None:
        super().__init__()
        self.multiple = 2 ** len(widths)
        finer = [input_channels, *widths[:-1]]
        coarser = [*widths[1:], widths[-1]]
        self.skips = nn.ModuleList(_conv(f, skip_width, 1, border) for f in finer)
        self.downs = nn.ModuleList(
            nn.Sequential(_conv(f, w, 3, border, stride=2), _conv(w, w, 3, border))
            for f, w in zip(finer, widths, strict=True)
        )
        self.ups = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(skip_width + c), _conv(skip_width + c, w, 3, border), _conv(w, w, 1, border))
            for c, w in zip(coarser, widths, strict=True)
        )
        self.last = nn.Conv2d(widths[0], output_channels, 1)

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Size of the smallest z that the network takes and that covers a picture of height × width."""
        m = self.multiple
        return max(2 * m, -(-height // m) * m), max(2 * m, -(-width // m) * m)

    def forward(self, z: Tensor) -> Tensor:
        """Return the picture f(θ; z), (N, output_channels, H, W) in [0, 1]."""
        skipped, h = [], z
        for skip, down in zip(self.skips, self.downs, strict=True):
            skipped.append(skip(h))
            h = down(h)
        for up in reversed(self.ups):
            h = up(torch.cat([skipped.pop(), _doubled_bilinearly(h)], 1))
        return torch.sigmoid(self.last(h))


# Halving and doubling are each other's adjoint, up to a factor of 4. PyTorch's own backward of either is several times
# slower on a processor than its forward, so each serves as the other's backward.
class _Halved(torch.autograd.Function):
    """The mean of every 2×2."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return F.interpolate(gradient / 4, scale_factor=2)


class _Doubled(torch.autograd.Function):
    """Every value four times."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 4 * F.avg_pool2d(gradient, 2)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = _Conv(inputs, outputs, 3)
        self.second = _Conv(outputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        # Leaky, not GELU: whose backward costs as much as the convolutions.
        return F.leaky_relu_(self.second(F.leaky_relu_(self.first(x), 0.1)), 0.1)


class PredictorUNet(nn.Module):
    """A plain U-Net that starts as the zero function: (N, input_channels, H, W) → (N, output_channels, H, W), any size.

    It adds a correction to a first filling, so zero is the right start. No normalization: its statistics would tie
    what is predicted here to what else is in the crop, and cost a fifth of the step.

    Parameters
    ----------
    input_channels, output_channels : int
    widths : sequence of int
        Channels of each scale, from fine to coarse; each scale after the first halves the resolution.
    """

    def __init__(self, input_channels: int, output_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.multiple = 2 ** (len(widths) - 1)
        steps = list(itertools.pairwise(widths))
        self.first = _Block(input_channels, widths[0])
        self.downs = nn.ModuleList(_Block(fine, coarse) for fine, coarse in steps)
        self.ups = nn.ModuleList(_Block(coarse + fine, fine) for fine, coarse in reversed(steps))
        self.last = nn.Conv2d(widths[0], output_channels, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # He's start keeps the scale of the signal through fifteen layers and more; PyTorch's own loses it.
                nn.init.kaiming_normal_(module.weight, a=0.1)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the correction; a size that does not halve often enough is padded inside and cropped."""
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        h = self.first(x)
        skipped = [h]
        for block in self.downs:
            h = block(_Halved.apply(h))  # type: ignore[no-untyped-call]
            skipped.append(h)
        skipped.pop()
        for block in self.ups:
            doubled = _Doubled.apply(h)  # type: ignore[no-untyped-call]
            h = block(torch.cat([doubled, skipped.pop()], 1))
        correction: Tensor = self.last(h)
        return correction[..., :height, :width]
