"""A network with the normalization of its images: what is trained, saved, and used on further images."""

import torch
from torch import Tensor, nn

from dipsop.classification.config import NetworkName
from dipsop.classification.features import WIDTH, FeatureNetwork
from dipsop.classification.networks import NETWORKS, FastNet
from dipsop.compute import Dtype, autocast, resolved_dtype

CPU = torch.device("cpu")
FEATURE_LENGTH = 2.0  # so that the same rate serves networks of any width
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


class FeatureClassifier(nn.Module):
    """Features (B, D) → logits: a linear layer, to which each feature comes with mean 0 and one deviation.

    Parameters
    ----------
    width : int
        D.
    classes : int
    device : torch.device
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int, classes: int, device: torch.device = CPU) -> None:
        super().__init__()
        self.network = nn.Linear(width, classes)
        nn.init.zeros_(self.network.weight)
        nn.init.zeros_(self.network.bias)
        self.register_buffer("mean", torch.zeros(1, width))
        self.register_buffer("deviation", torch.ones(1, width))
        self.to(device)

    @torch.no_grad()
    def fit_normalization(self, features: Tensor) -> None:
        """Take mean and deviation of each feature; the length of a vector of them becomes about FEATURE_LENGTH."""
        self.mean.copy_(features.mean(0, keepdim=True))
        spread = features.std(0, keepdim=True) + 1e-3
        self.deviation.copy_(spread * features.shape[1] ** 0.5 / FEATURE_LENGTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.network((x - self.mean) / self.deviation)
        return logits

    @torch.no_grad()
    def probabilities(self, features: Tensor, flip: bool = False) -> Tensor:
        """Return the probabilities (N, classes) of features; `flip` has no meaning here."""
        logits: Tensor = self(features.to(self.mean.device))
        return logits.softmax(1)


class PretrainedClassifier(nn.Module):
    """Images (B, 3, H, W) in [0, 1] → logits, by features and a classifier of these: in one, to be handed on.

    Parameters
    ----------
    sees : FeatureNetwork
    classifier : FeatureClassifier
    side : int
        At which features are made; smaller images are enlarged to it.
    """

    def __init__(self, sees: FeatureNetwork, classifier: FeatureClassifier, side: int) -> None:
        super().__init__()
        self.sees, self.classifier, self._side = sees, classifier, side

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        features = self.sees(255 * x, self._side).half().float()  # as they are kept
        logits: Tensor = self.classifier(features)
        return logits


def classifier(
    network: NetworkName, classes: int, dtype: Dtype, device: torch.device
) -> Classifier | FeatureClassifier:
    """Return what a run trains: on images, or with the network "pretrained" on features of them."""
    if network == "pretrained":
        return FeatureClassifier(WIDTH, classes, device)
    return Classifier(network, classes, dtype, device)


def _fitting(images: Tensor, count: int) -> int:
    """How many images have as many pixels as `count` of 32×32."""
    return max(1, count * 32 * 32 // (images.shape[-1] * images.shape[-2]))


def _some(images: Tensor, count: int) -> Tensor:
    """Evenly spread ones, about as many as have the pixels of `count` of 32×32."""
    return images[:: max(1, len(images) // _fitting(images, count))]
