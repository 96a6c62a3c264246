"""Labelled images in memory, as everything in this folder takes them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Features = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Dataset:
    """Training images with labels of which a part may be wrong, and test images with labels that are taken for right.

    Attributes
    ----------
    images : uint8 (N, 3, H, W), or features of them, float32 (N, D)
        H and W are 0 where the files have not been read.
    given : int64 (N,)
        The labels to train on, from 0.
    true : int64 (N,) or None
        The right ones, where they are known. Nothing is trained on them.
    classes : tuple of str
    test_images : as images; M is 0 where there are none
    test_labels : int64 (M,)
    paths, test_paths : tuple of Path or None
        Where the images came from, one file each.
    noise : str
        How the given labels came about, for the record.
    trusted : bool (N,) or None
        Labels that a person has decided on; none where it is None.
    """

    images: Images | Features
    given: Labels
    true: Labels | None
    classes: tuple[str, ...]
    test_images: Images | Features
    test_labels: Labels
    paths: tuple[Path, ...] | None = None
    test_paths: tuple[Path, ...] | None = None
    noise: str = "none"
    trusted: NDArray[np.bool_] | None = None

    @property
    def names(self) -> list[str]:
        """Of the training images: paths where there are, else indices."""
        return [str(k) for k in range(len(self.given))] if self.paths is None else [str(path) for path in self.paths]

    def first(self, count: int | None) -> Self:
        """The same with the first `count` training images alone; all where it is None."""
        return self.at(np.arange(len(self.given))[:count])

    def spread(self, count: int) -> Self:
        """The same with `count` training images, or all where there are fewer, evenly spread over those there are."""
        count = min(count, len(self.given))
        return self.at(np.arange(count) * len(self.given) // count)

    def at(self, index: NDArray[np.int64]) -> Self:
        """Return the same with these training images alone."""
        return replace(
            self,
            images=self.images[index],
            given=self.given[index],
            true=None if self.true is None else self.true[index],
            paths=None if self.paths is None else tuple(self.paths[k] for k in index),
            trusted=None if self.trusted is None else self.trusted[index],
        )
