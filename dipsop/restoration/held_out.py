"""Held-out fitting: the network predicts values that it does not see, so it cannot overfit, however long it is trained.

It sees the observation with a random part of the values hidden and with suspicious ones weighted down, both filled from
their surroundings, and predicts a correction to the filling. The loss counts hidden values alone, each by its trust. A
few times during the fit every value is predicted while hidden, and the residuals move (u, v) (see evidence.py).
A step sees random crops, so its cost does not grow with the picture.
"""

import torch
from torch import Tensor

from dipsop.restoration.config import HeldOut
from dipsop.restoration.evidence import Evidence
from dipsop.restoration.precision import autocast
from dipsop.restoration.surroundings import first_guess, ring, weighted_mean
from dipsop.restoration.unet import PredictorUNet
from dipsop.sop import SparseCorruption

TILE, MARGIN = 512, 48  # of predictions over the whole picture: bounds memory; the margin is what a tile sees beside it


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
        channels = y.shape[1]
        self._cpu_random = torch.Generator().manual_seed(config.seed)
        self._random = torch.Generator(y.device).manual_seed(config.seed)
        self.median, trust = first_guess(y)
        self.evidence = Evidence(y, trust, config.least_residual, config.shared_corruption)
        with torch.random.fork_rng([]):
            torch.manual_seed(config.seed)
            network = PredictorUNet(4 * channels, channels, config.width, config.depth)
        self.network = network.to(y.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=config.lr)
        self._near = ring(1.0, 2, y.device)
        self._predicted: Tensor | None = None
        self._taken, self._judged = 0, 0

    def step(self, done: float) -> Tensor:
        """Take one step; `done` in [0, 1) is the share of the budget spent. Returns the loss, before the step."""
        y, trust, median = self._crops(self.y, self.evidence.trust, self.median)
        share = self.config.most_hidden * self._uniform(len(y), 1, 1, 1)
        hidden = (self._uniform(*y.shape) < share).float()
        residual = self._predict(y, trust * (1 - hidden), median) - y
        weight = hidden * trust
        loss = (residual.abs() * weight).sum() / weight.sum().clamp(min=1e-3)
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 0.5)
        for group in self._optimizer.param_groups:
            group["lr"] = self._lr(done)
        self._optimizer.step()
        self._taken += 1
        if done * (self.config.judgements + 1) >= self._judged + 1:
            self.judge()
        return loss.detach()

    @torch.no_grad()
    def judge(self) -> None:
        """Predict every value while it is hidden, and let (u, v) follow the residuals."""
        y, parts = self.y, self.config.parts
        part = torch.randint(0, parts, y.shape, generator=self._random, device=y.device, dtype=torch.uint8)
        fresh = torch.zeros_like(y)
        for k in range(parts):
            out = part == k
            fresh = torch.where(out, self._predict_tiled(self.evidence.trust * ~out), fresh)
        # Two rounds' predictions have partly independent errors: their mean is the better judge.
        self._predicted = fresh if self._predicted is None else (self._predicted + fresh) / 2
        self.evidence.update(self._predicted)
        self._judged += 1

    @torch.no_grad()
    def network_output(self) -> Tensor:
        """f, the mean over flips and transposes of the prediction from all trusted values, (1, C, H, W) in [0, 1]."""
        total = torch.zeros_like(self.y)
        for flip in range(self.config.flips):
            total += self._predict_tiled(self.evidence.trust, flip)
        return (total / self.config.flips).clamp(0, 1)

    def found(self) -> Tensor:
        """Where corruption was found, bool (1, C, H, W)."""
        return self.evidence.found()

    def sparse_corruption(self, network_output: Tensor) -> SparseCorruption:
        """(u, v), given f."""
        return self.evidence.sparse_corruption(network_output)

    def effective_lambda(self) -> float:
        """The median over the values of λ = −log γ / (2α), in units of intensity."""
        return float(self.evidence.effective_lambda)

    def rates(self) -> str:
        """The rates, for a message."""
        return f"lr {self.config.lr:g}"

    def _lr(self, done: float) -> float:
        warm = min(1.0, (self._taken + 1) / self.config.warmup)
        return self.config.lr * warm * max(0.02, min(1.0, 2 - 2 * done))

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

    def _predict(self, y: Tensor, trust: Tensor, median: Tensor) -> Tensor:
        filling = weighted_mean(y, trust + 1e-3, self._near)
        seen = filling + trust * (y - filling)
        z = torch.cat([seen - 0.5, trust - 0.5, filling - 0.5, median - 0.5], 1)
        with autocast(y.device, self.config.dtype):
            correction: Tensor = self.network(z.contiguous(memory_format=torch.channels_last))
        return filling + correction.float()

    def _predict_tiled(self, trust: Tensor, flip: int = 0) -> Tensor:
        """Predict the whole picture from the trusted values, tile by tile, under a flip that is undone again."""
        out = torch.empty_like(self.y)
        height, width = self.y.shape[-2:]
        for top in range(0, height, TILE):
            for left in range(0, width, TILE):
                rows = slice(max(0, top - MARGIN), min(height, top + TILE + MARGIN))
                columns = slice(max(0, left - MARGIN), min(width, left + TILE + MARGIN))
                tiles = (flipped(p[..., rows, columns], flip) for p in (self.y, trust, self.median))
                tile = unflipped(self._predict(*tiles), flip)
                inner = tile[..., top - rows.start :, left - columns.start :][..., :TILE, :TILE]
                out[..., top : top + TILE, left : left + TILE] = inner
        return out


def flipped(picture: Tensor, flip: int) -> Tensor:
    """One of the eight flips and transposes of the last two dimensions: bit 0 left-right, 1 up-down, 2 transposed."""
    axes = [axis for bit, axis in ((1, -1), (2, -2)) if flip & bit]
    picture = picture.flip(axes) if axes else picture
    return picture.transpose(-1, -2) if flip & 4 else picture


def unflipped(picture: Tensor, flip: int) -> Tensor:
    """Undo `flipped`."""
    return flipped(picture.transpose(-1, -2) if flip & 4 else picture, flip & 3)
