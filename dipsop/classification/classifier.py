"""A network with the normalization of its images: what is trained, saved, and used on further images."""

import torch
from torch import Tensor, nn

from dipsop.classification.networks import NETWORKS, FastNet
from dipsop.compute import Dtype, autocast, resolved_dtype

CPU = torch.device("cpu")
EVALUATION_BATCH = 500  # images of 32×32; of larger ones fewer, as memory goes with the pixels


class Classifier(nn.Module):
    """Images (B, 3, H, W) in [0, 1] → logits (B, classes).

    Parameters
    ----------
    network : str
        A name in NETWORKS.
    classes : int
    dtype : "auto", "bfloat16" or "float32"
        What it computes in; settled here, since asking the device in every call would break a compiled graph.
    device : torch.device
        Where it lies, channels last.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: str, classes: int, dtype: Dtype = "auto", device: torch.device = CPU) -> None:
        super().__init__()
        self.network = NETWORKS[network](classes)
        self._dtype: Dtype = "bfloat16" if resolved_dtype(device, dtype) is torch.bfloat16 else "float32"
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))
        self.register_buffer("deviation", torch.ones(1, 3, 1, 1))
        self.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def fit_normalization(self, images: Tensor) -> None:
        """Take mean and deviation of each colour, and what whitens patches, from some of the images.

        Parameters
        ----------
        images : Tensor (N, 3, H, W), uint8
            Some thousand are enough; they are taken from everywhere, since a folder's images lie class by class.
        """
        images = _some(images, 5000).float() / 255
        self.mean.copy_(images.mean((0, 2, 3), keepdim=True))
        self.deviation.copy_(images.std((0, 2, 3), keepdim=True).clamp(min=0.05))
        if isinstance(self.network, FastNet):
            self.network.fit_whitening((_some(images, 1000) - self.mean) / self.deviation)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        x = ((x - self.mean) / self.deviation).contiguous(memory_format=torch.channels_last)
        with autocast(x.device, self._dtype):
            logits: Tensor = self.network(x)
        return logits.float()

    @torch.no_grad()
    def probabilities(self, images: Tensor, flip: bool = True) -> Tensor:
        """Return the probabilities (N, classes) of images.

        Parameters
        ----------
        images : Tensor (N, 3, H, W), uint8
        flip : bool
            By the mean logits of the image and its mirror image: a little better, in twice the time.
        """
        self.eval()
        out = []
        for part in images.split(_fitting(images, EVALUATION_BATCH)):
            x = part.to(self.mean.device).float() / 255
            logits = (self(x) + self(x.flip(-1))) / 2 if flip else self(x)
            out.append(logits.softmax(1))
        return torch.cat(out)


def _fitting(images: Tensor, count: int) -> int:
    """How many images have as many pixels as `count` of 32×32."""
    return max(1, count * 32 * 32 // (images.shape[-1] * images.shape[-2]))


def _some(images: Tensor, count: int) -> Tensor:
    """Evenly spread ones, about as many as have the pixels of `count` of 32×32."""
    return images[:: max(1, len(images) // _fitting(images, count))]
