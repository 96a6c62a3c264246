"""The two U-Nets: the deep image prior's, which makes a picture from noise, and the one that predicts hidden values."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Conv(nn.Conv2d):
    """Convolution under reflection padding."""

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel_size[0] > 1:
            # Autocast would pad, and take the gradient of it, in float32, and cast to and fro: a fifth of a step.
            with torch.autocast(x.device.type, enabled=False):
                x = F.pad(x, [self.kernel_size[0] // 2] * 4, mode="reflect")
        return F.conv2d(x, self.weight, self.bias, self.stride)


def _doubled_bilinearly(x: Tensor) -> Tensor:
    """Twice the resolution, in the number format that x has (see _Conv)."""
    with torch.autocast(x.device.type, enabled=False):
        doubled = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    if doubled.requires_grad:  # its gradient is some channels of a wider one, which the backward is slow on
        doubled.register_hook(lambda gradient: gradient.contiguous(memory_format=torch.channels_last))
    return doubled


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, leaky ReLU, under reflection padding: the deep image prior's unit."""
    return nn.Sequential(
        _Conv(inputs, outputs, kernel, stride),
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

    References
    ----------
    Ulyanov, Vedaldi, Lempitsky, "Deep Image Prior", IJCV 2020, supplementary material (denoising network).
    """

    def __init__(self, input_channels: int, output_channels: int, widths: Sequence[int], skip_width: int = 4) -> None:
        super().__init__()
        self.multiple = 2 ** len(widths)
        finer = [input_channels, *widths[:-1]]
        coarser = [*widths[1:], widths[-1]]
        self.skips = nn.ModuleList(_conv(f, skip_width, 1) for f in finer)
        self.downs = nn.ModuleList(
            nn.Sequential(_conv(f, w, 3, stride=2), _conv(w, w, 3)) for f, w in zip(finer, widths, strict=True)
        )
        self.ups = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(skip_width + c), _conv(skip_width + c, w, 3), _conv(w, w, 1))
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
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        # Leaky, not GELU: whose backward costs as much as the convolutions.
        return F.leaky_relu(self.second(F.leaky_relu(self.first(x), 0.1)), 0.1)


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
                # He's start keeps the scale of the signal through sixteen layers; PyTorch's own loses it.
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
