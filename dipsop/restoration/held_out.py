"""Held-out fitting: the network predicts values that it does not see, so it cannot overfit, however long it is trained.

It sees the observation with a random part of the values hidden, and suspicious ones weighted down (predictor.py). The
loss counts hidden values alone, each by its trust. A few times during the fit every value is predicted while hidden,
and the residuals move (u, v) (evidence.py). A step sees random crops, so its cost does not grow with the picture.

The network starts from weights that are shipped (start.py) or from nothing.
"""

import copy
from collections.abc import Iterator
from types import EllipsisType
from typing import NamedTuple

import torch
from torch import Tensor

from dipsop.restoration.config import HeldOut
from dipsop.restoration.evidence import Evidence
from dipsop.restoration.predictor import HeldOutPredictor, loss
from dipsop.restoration.start import shipped_start
from dipsop.restoration.surroundings import first_guess
from dipsop.sop import SparseCorruption

TILE, MARGIN = 512, 56  # of predictions over the whole picture: bounds memory; the margin is as far as the network sees

LAST_JUDGEMENT = 0.97  # of the budget; the first ones, by weights that know pictures, go before the first steps


class HeldOutFit:
    """The state of a held-out fit to one picture.

    Parameters
    ----------
    y : Tensor (1, C, H, W), float32 in [0, 1]
        The observation, on the device that is to compute.
    config : HeldOut
    """

    def __init__(self, y: Tensor, config: HeldOut) -> None:
        self.y, self.config = y, config
        self._cpu_random = torch.Generator().manual_seed(config.seed)
        self._random = torch.Generator(y.device).manual_seed(config.seed)
        trust = torch.empty_like(y)
        for tile in tiles(y):
            trust[tile.inner] = first_guess(y[tile.outer])[tile.inner_of_outer]
        self.evidence = Evidence(y, trust, config.least_residual, config.shared_corruption)
        self._by_pixel = self.evidence.hits_pixels()
        start = shipped_start(y.shape[1], config.widths) if config.pretrained else None
        with torch.random.fork_rng([]):
            torch.manual_seed(config.seed)
            predictor = HeldOutPredictor(3 if start else y.shape[1], config.widths, config.dtype)
        if start:
            predictor.load_state_dict(start)
        self.predictor = predictor.to(y.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        # What judges and answers is the mean of the weights over the last steps: a single step's are a noisy draw.
        self._mean_predictor = copy.deepcopy(self.predictor).requires_grad_(False)
        self._optimizer = torch.optim.Adam(self.predictor.parameters(), lr=config.lr, fused=True)
        self._taken, self._judged = 0, 0
        self._first_judgements = config.first_judgements if start else 0

    def step(self, done: float) -> Tensor:
        """Take one step; `done` in [0, 1) is the share of the budget spent. Returns the loss, before the step."""
        if self._taken < self._first_judgements:
            self.judge()
        y, trust = self._crops(self.y, self.evidence.trust)
        share = self.config.most_hidden * self._uniform(len(y), 1, 1, 1)
        hidden = (self._uniform(*self._hidden_shape(y)) < share).float()
        value = loss(self.predictor(y, trust * (1 - hidden)), y, hidden * trust)
        self._optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.predictor.parameters(), 0.5)
        for group in self._optimizer.param_groups:
            group["lr"] = self._lr(done)
        self._optimizer.step()
        self._taken += 1
        with torch.no_grad():
            means, weights = list(self._mean_predictor.parameters()), list(self.predictor.parameters())
            torch._foreach_lerp_(means, weights, max(1 - self.config.averaging, 1 / (self._taken + 1)))
        if done >= LAST_JUDGEMENT * (self._judged + 1) / self.config.judgements:
            self.judge()
            self._judged += 1
        return value.detach()

    @torch.no_grad()
    def judge(self) -> None:
        """Predict every value while it is hidden, and let (u, v) follow the residuals."""
        value, scale = torch.empty_like(self.y), torch.empty_like(self.y)
        for tile in tiles(self.y):
            y, trust = self.y[tile.outer], self.evidence.trust[tile.outer]
            # Hidden in turn, part by part.
            shape, parts = self._hidden_shape(y), self.config.parts
            part = torch.randint(0, parts, shape, generator=self._random, device=y.device, dtype=torch.uint8)
            for k in range(parts):
                hidden = part == k
                prediction = self._mean_predictor(y, trust * ~hidden)
                hidden = hidden[tile.inner_of_outer]
                for whole, said in ((value, prediction.value), (scale, prediction.scale)):
                    whole[tile.inner] = torch.where(hidden, said[tile.inner_of_outer], whole[tile.inner])
        self.evidence.update(value, scale)
        self._by_pixel = self.evidence.hits_pixels()

    @torch.no_grad()
    def network_output(self) -> Tensor:
        """f, the mean over flips and transposes of the prediction from all trusted values, (1, C, H, W) in [0, 1]."""
        f = torch.empty_like(self.y)
        for tile in tiles(self.y):
            y, trust = self.y[tile.outer], self.evidence.trust[tile.outer]
            looks = [
                unflipped(self._mean_predictor(flipped(y, flip), flipped(trust, flip)).value, flip)
                for flip in range(self.config.flips)
            ]
            f[tile.inner] = torch.stack(looks).mean(0)[tile.inner_of_outer]
        return f.clamp_(0, 1)

    def found(self) -> Tensor:
        """Where corruption was found, bool (1, C, H, W)."""
        return self.evidence.found()

    def sparse_corruption(self, network_output: Tensor) -> SparseCorruption:
        """(u, v), given f."""
        return self.evidence.sparse_corruption(network_output)

    def effective_lambda(self) -> float:
        """The median over the values of λ = −log γ / (2α), in units of intensity."""
        return float(self.evidence.effective_lambda())

    def rates(self) -> str:
        """The rates, for a message."""
        return f"lr {self.config.lr:g}"

    def _lr(self, done: float) -> float:
        warm = min(1.0, (self._taken + 1) / self.config.warmup)
        return self.config.lr * warm * max(0.02, min(1.0, 2 - 2 * done))

    def _hidden_shape(self, y: Tensor) -> tuple[int, ...]:
        """Values are hidden one by one, or where corruption hits whole pixels, pixel by pixel.

        Else the other channels of such a pixel, as corrupted as it is, would speak for it.
        """
        return (len(y), 1, *y.shape[2:]) if self._by_pixel else tuple(y.shape)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self._random, device=self.y.device)

    def _crops(self, *pictures: Tensor) -> list[Tensor]:
        """The same `batch` random crops of each picture, under one of the eight flips and transposes."""
        (height, width), crop = self.y.shape[-2:], self.config.crop
        rows = torch.randint(max(1, height - crop + 1), (self.config.batch,), generator=self._cpu_random).tolist()
        columns = torch.randint(max(1, width - crop + 1), (self.config.batch,), generator=self._cpu_random).tolist()
        flip = int(torch.randint(8, (), generator=self._cpu_random))
        where = list(zip(rows, columns, strict=True))
        return [flipped(torch.cat([p[..., r : r + crop, c : c + crop] for r, c in where]), flip) for p in pictures]


class Tile(NamedTuple):
    """A part of a picture: what is predicted, what the network sees for it, and where the one lies in the other."""

    inner: tuple[EllipsisType, slice, slice]
    outer: tuple[EllipsisType, slice, slice]
    inner_of_outer: tuple[EllipsisType, slice, slice]


def tiles(picture: Tensor) -> Iterator[Tile]:
    """Cut a picture (..., H, W) into tiles that overlap by as much as the network sees, so that no seam can show."""
    for rows in _cuts(picture.shape[-2]):
        for columns in _cuts(picture.shape[-1]):
            yield Tile(*((..., r, c) for r, c in zip(rows, columns, strict=True)))


def _cuts(length: int) -> Iterator[tuple[slice, slice, slice]]:
    for start in range(0, length, TILE):
        stop, first = min(length, start + TILE), max(0, start - MARGIN)
        yield slice(start, stop), slice(first, min(length, stop + MARGIN)), slice(start - first, stop - first)


def flipped(picture: Tensor, flip: int) -> Tensor:
    """One of the eight flips and transposes of the last two dimensions: bit 0 left-right, 1 up-down, 2 transposed."""
    axes = [axis for bit, axis in ((1, -1), (2, -2)) if flip & bit]
    picture = picture.flip(axes) if axes else picture
    return picture.transpose(-1, -2) if flip & 4 else picture


def unflipped(picture: Tensor, flip: int) -> Tensor:
    """Undo `flipped`."""
    return flipped(picture.transpose(-1, -2) if flip & 4 else picture, flip & 3)
