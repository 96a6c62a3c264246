"""Networks for small images: ResNet34, PreActResNet18, and a fast one with which two processor cores get somewhere."""

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Side in pixels of what FastNet whitens: 24 filters; the 54 of 3×3 patches make a quarter as much work again in all.
PATCH = 2


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


class _BasicBlock(nn.Module):
    """conv, norm, ReLU, conv, norm, plus the input, ReLU (He et al., CVPR 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first, self.first_norm = _conv(inputs, outputs, stride=stride), nn.BatchNorm2d(outputs)
        self.second, self.second_norm = _conv(outputs, outputs), nn.BatchNorm2d(outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.first_norm(self.first(x)))
        return F.relu(self.second_norm(self.second(h)) + self.shortcut(x))


class _PreActBlock(nn.Module):
    """norm, ReLU, conv, norm, ReLU, conv, plus the input (He et al., ECCV 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first_norm, self.first = nn.BatchNorm2d(inputs), _conv(inputs, outputs, stride=stride)
        self.second_norm, self.second = nn.BatchNorm2d(outputs), _conv(outputs, outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else _conv(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.first_norm(x))
        shortcut = x if self.shortcut is None else self.shortcut(h)
        out: Tensor = self.second(F.relu(self.second_norm(self.first(h)))) + shortcut
        return out


class _ResNet(nn.Module):
    """Four stages of 64, 128, 256, 512 channels after the CIFAR stem: one 3×3 convolution, no pooling."""

    def __init__(self, blocks: tuple[int, ...], classes: int, block: type[_BasicBlock | _PreActBlock]) -> None:
        super().__init__()
        pre = block is _PreActBlock
        self.stem = _conv(3, 64) if pre else nn.Sequential(_conv(3, 64), nn.BatchNorm2d(64), nn.ReLU())
        stages: list[nn.Module] = []
        inputs = 64
        for outputs, count in zip((64, 128, 256, 512), blocks, strict=True):
            for k in range(count):
                stages.append(block(inputs, outputs, 2 if k == 0 and outputs > 64 else 1))
                inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.last_norm = nn.BatchNorm2d(512) if pre else None
        self.classify = nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stages(self.stem(x))
        if self.last_norm is not None:
            h = F.relu(self.last_norm(h))
        logits: Tensor = self.classify(h.mean((2, 3)))
        return logits


def resnet34(classes: int) -> nn.Module:
    """Return ResNet34 with the CIFAR stem, 21.3 million parameters at 10 classes."""
    return _ResNet((3, 4, 6, 3), classes, _BasicBlock)


def preactresnet18(classes: int) -> nn.Module:
    """Return the pre-activation ResNet18 with the CIFAR stem, 11.2 million parameters at 10 classes."""
    return _ResNet((2, 2, 2, 2), classes, _PreActBlock)


class _FastBlock(nn.Module):
    """Twice convolution and norm, pooled after the first; a residual around the second.

    Convolutions begin by handing their inputs on in the first of their outputs, and norms have a bias alone.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.first_norm = _conv(inputs, outputs), nn.BatchNorm2d(outputs)
        self.second, self.second_norm = _conv(outputs, outputs), nn.BatchNorm2d(outputs)
        for convolution in (self.first, self.second):
            nn.init.dirac_(convolution.weight[: convolution.in_channels])
        for norm in (self.first_norm, self.second_norm):
            norm.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.first_norm(F.max_pool2d(self.first(x), 2)))
        return h + F.relu(self.second_norm(self.second(h)))


class FastNet(nn.Module):
    """A frozen whitening of 2×2 patches, three wide blocks, global maximum, a linear layer.

    Parameters
    ----------
    classes : int
    widths : tuple of int
        Channels of the blocks, each at half the resolution of the one before, rounded down: images have 16×16 pixels
        or more.

    References
    ----------
    Built as the fastest published CIFAR-10 runs: D. Page, "How to train your ResNet" (2018); K. Jordan, "94 % on
    CIFAR-10 in 3.29 seconds on a single GPU" (2024).
    """

    def __init__(self, classes: int, widths: tuple[int, ...] = (64, 128, 256)) -> None:
        super().__init__()
        directions = 3 * PATCH**2
        self.whiten = nn.Conv2d(3, 2 * directions, PATCH)
        self.whiten.requires_grad_(False)
        sizes = (2 * directions, *widths)
        self.blocks = nn.Sequential(*(_FastBlock(a, b) for a, b in itertools.pairwise(sizes)))
        self.classify = nn.Linear(widths[-1], classes, bias=False)
        self.scale = 0.125

    @torch.no_grad()
    def fit_whitening(self, images: Tensor) -> None:
        """Set the first layer so that it whitens patches, each direction with both signs.

        Parameters
        ----------
        images : Tensor (N, 3, H, W), float, normalized as the network will see them; some thousand are enough
        """
        patches = F.unfold(images, PATCH).transpose(1, 2).reshape(-1, 3 * PATCH**2).cpu().double()
        values, vectors = torch.linalg.eigh(torch.cov(patches.T))
        filters = (vectors / (values + 5e-4).sqrt()).T.reshape(-1, 3, PATCH, PATCH).to(self.whiten.weight)
        self.whiten.weight.copy_(torch.cat([filters, -filters]))
        self.whiten.bias.zero_()  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes)."""
        h = self.blocks(F.relu(self.whiten(x)))
        logits: Tensor = self.scale * self.classify(h.amax((2, 3)))
        return logits


NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "fast": FastNet,
    "resnet34": resnet34,
    "preactresnet18": preactresnet18,
}
