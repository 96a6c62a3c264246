"""Held-out fitting: the network predicts values that it does not see, so it cannot overfit, however long it is trained.

It sees the observation with a random part of the values hidden, and distrusted ones weighted down (predictor.py). The
loss counts hidden values alone, each by its trust. A few times during the fit every value is predicted while hidden,
and the residuals move (u, v) (detection.py). A step sees random crops, so its cost does not grow with the picture.

The network starts from weights that are shipped or from random ones.
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dipsop.compute import may_ask, seeded
from dipsop.optimizers import Muon
from dipsop.pictures.tiles import LARGE, TILE, tiles
from dipsop.restoration import structure
from dipsop.restoration.config import HeldOut
from dipsop.restoration.content import is_drawn
from dipsop.restoration.detection import Detection
from dipsop.restoration.look import TiledLook
from dipsop.restoration.marks import marks_over
from dipsop.restoration.predictor import SHIPPED_CHANNELS, HeldOutPredictor, loss, pretrained_weights
from dipsop.restoration.prior import trust_of
from dipsop.sop import SparseCorruption

# A loss this far above the usual has leapt: predictions got worse by as much as the plain filling is off. It is a
# difference and not a ratio, because the usual loss can be 0 or below.
LEAP = 1.0
NEAR = 32  # pixels beyond its border that a tile sees in a round: what is farther off moves a prediction by 1e-5
JUDGING = 1  # what a round does with its predictions takes as long as this many views of the picture
LAST_ROUND = 0.97  # of the budget; the first ones, by weights that know pictures, go before the first steps


class HeldOutFit:
    """The state of a held-out fit to one picture: the network and its training; `detection` has the rest.

    Parameters
    ----------
    y : Tensor (1, C, H, W), float32 in [0, 1]
        The observation, on the device that is to compute.
    config : HeldOut
    mask : Tensor or None, bool, the shape of y
        Where the values are corrupted, if that is known: then these are predicted, and nothing else is looked for.
    protected : Tensor or None, bool, the shape of y
        Values that are left alone.
    """

    def __init__(self, y: Tensor, config: HeldOut, mask: Tensor | None = None, protected: Tensor | None = None) -> None:
        begin = time.perf_counter()
        config = config if y.shape[-2:].numel() <= LARGE else _thrifty(config)
        self.y, self.config = y, config
        self._cpu_random = torch.Generator().manual_seed(config.seed)
        self._random = torch.Generator(y.device).manual_seed(config.seed)
        start = pretrained_weights() if config.starts_pretrained else None
        sees = start is not None and mask is None and config.look != "never"
        in_colour = y.shape[1] == SHIPPED_CHANNELS and not is_grey(y)
        look = TiledLook(config.dtype, y.device) if sees and config.may_look and in_colour else None
        # Over one colour, a line of a chart is drawn as a scratch is. Only a person can say which it is.
        looks_for_marks = sees and (config.scratches or not is_drawn(y))
        marks = marks_over(y, config.dtype, config.scratches) if looks_for_marks else None
        self.detection = Detection(y, config, mask, protected, config.first_rounds if start else 0, look, marks)
        # A hole is filled better by a network that has learned to fill holes of such a shape in other places.
        self._in_holes = mask is not None and structure.clusters(self.detection.corruption) > 0
        with seeded(config.seed):
            predictor = HeldOutPredictor(SHIPPED_CHANNELS if start else y.shape[1], config.widths, config.dtype)
        if start:
            predictor.load_state_dict(start)
        self.predictor = predictor.to(y.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        # What predicts for a round and at the end is the mean of the weights over the last steps: a single step's are a
        # noisy draw.
        self._mean_predictor = copy.deepcopy(self.predictor).requires_grad_(False)
        self._optimizer = Muon(self.predictor.parameters())
        self._taken, self._rounds_taken, self._usual_loss = 0, 0, math.inf
        self._view_seconds, self._last_views = 0.0, float(config.flips)
        if mask is not None:  # then it is known how much of the picture the last prediction is for
            inner = [tile.inner for tile in tiles(y.shape[-2], y.shape[-1], TILE)]
            self._last_views *= sum(bool(self.detection.found[..., *where].any()) for where in inner) / len(inner)
        self.seconds_aside = time.perf_counter() - begin

    def step(self, done: float) -> Tensor:
        """Take one step; `done` in [0, 1) is the share of the budget spent. Returns the loss, before the step."""
        begin = time.perf_counter()
        if self._taken < self.detection.first_rounds:
            self.detect()
        y, u, v = self._crops(self.y, self.detection.corruption.u, self.detection.corruption.v)
        trust = trust_of(SparseCorruption(u, v))
        share = self.config.most_hidden * self._uniform((len(y), 1, 1, 1))
        hidden = (self._spread(self._uniform, y) < share).float()
        if self._in_holes:
            (elsewhere,) = self._crops(self.detection.found)
            if elsewhere.shape[-2:] != y.shape[-2:]:  # of a picture that is narrower than a crop, turned
                elsewhere = elsewhere.transpose(-1, -2)
            hidden = torch.maximum(hidden, elsewhere.float())
        value = loss(self.predictor(y, trust * (1 - hidden)), y, hidden * trust)
        leapt = self._has_leapt(value)
        if not leapt:
            self._learn(value, done)
        self._take_rounds(self._rounds_due(done))
        if self.detection.known:  # no round says how long a view takes: a step is about three of its crops
            views = 3 * y.numel() / self.y.numel()
            self._view_seconds = (time.perf_counter() - begin) / views
        # Clamped, so that an infinite loss that is mended does not end the fit.
        return value.detach().clamp(max=LEAP + self._usual_loss) if leapt else value.detach()

    def _learn(self, value: Tensor, done: float) -> None:
        """Take a step down the loss, and the weights into their running mean."""
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.predictor.parameters(), 0.5)
        self._optimizer.step(self._lr(done))
        self._taken += 1
        with torch.no_grad():
            means, weights = list(self._mean_predictor.parameters()), list(self.predictor.parameters())
            torch._foreach_lerp_(means, weights, max(1 - self.config.averaging, 1 / (self._taken + 1)))

    def _has_leapt(self, value: Tensor) -> bool:
        """Put the mean weights back where the loss has leapt, and leave the step out.

        A network without normalization can leave its way within a few steps, once in some thousand, and takes hundreds
        to come back.
        """
        if not may_ask(self.y.device, self._taken):
            return False
        now = float(value.detach())
        leapt = now > LEAP + self._usual_loss
        if leapt:
            self.predictor.load_state_dict(self._mean_predictor.state_dict())
            self._taken += 1
        else:
            self._usual_loss = now if math.isinf(self._usual_loss) else 0.95 * self._usual_loss + 0.05 * now
        return leapt

    def finish(self) -> None:
        """Take the last round, where a time limit ended the fit in a step that began before it was due."""
        self._take_rounds(self.config.rounds)

    def _rounds_due(self, done: float) -> int:
        rounds, is_last = self.config.rounds, done * self.config.steps > self.config.steps - 1.5
        return rounds if is_last else min(rounds, int(done * rounds / LAST_ROUND + 1e-9))

    def _take_rounds(self, due: int) -> None:
        """Take the rounds that are due, those that are overdue as one."""
        if due > self._rounds_taken:
            last = due == self.config.rounds
            for _ in range(self._taken, self.detection.first_rounds if last else 0):
                self.detect()  # a fit of fewer steps takes the first rounds all the same: without them it erases print
            self.detect(last)
            self._rounds_taken = due

    @torch.no_grad()
    def detect(self, last: bool = False) -> None:
        """Predict every value while it is hidden, and let (u, v) follow the residuals, if there is a question."""
        if self.detection.known:
            return
        begin = time.perf_counter()
        # Few parts, except in the last round: the next one goes over them again.
        parts = self.config.parts if last else self.config.parts_before
        self.detection.round(*self.predict_hidden(parts))
        seconds = time.perf_counter() - begin
        self.seconds_aside += seconds
        self._view_seconds = seconds / (parts + JUDGING)

    @torch.no_grad()
    def predict_hidden(self, parts: int) -> tuple[Tensor, Tensor]:
        """Predict every value while it is hidden, part by part, and how far off that may be: two pictures."""
        value, scale = torch.empty_like(self.y), torch.empty_like(self.y)
        for tile in tiles(self.y.shape[-2], self.y.shape[-1], TILE, NEAR):
            y, trust = self.y[..., *tile.outer], trust_of(self.detection.corruption[..., *tile.outer])
            part = self._spread(lambda shape: self._dealt(parts, shape), y)
            for k in range(parts):
                hidden = part == k
                prediction = self._mean_predictor(y, trust * ~hidden)
                hidden = hidden[..., *tile.inner_of_outer]
                for whole, said in ((value, prediction.value), (scale, prediction.scale)):
                    part_of_whole = whole[..., *tile.inner]
                    part_of_whole.copy_(torch.where(hidden, said[..., *tile.inner_of_outer], part_of_whole))
        return value, scale

    def image(self, flips: int | None = None) -> Tensor:
        """What `restored` says of `network_output`; tiles where nothing is replaced are not predicted for it."""
        replaced = self.detection.replaced()
        return self.detection.posterior_mean(self.network_output(flips, replaced), replaced)

    @torch.no_grad()
    def network_output(self, flips: int | None = None, wanted: Tensor | None = None) -> Tensor:
        """f, the mean over flips and transposes of the prediction from all trusted values, (1, C, H, W) in [0, 1].

        Where values are wanted, a bool tensor of that shape, it is y in tiles without any.
        """
        f = self.y.clone()
        for tile in tiles(self.y.shape[-2], self.y.shape[-1], TILE):
            if wanted is not None and not wanted[..., *tile.inner].any():
                continue
            y, trust = self.y[..., *tile.outer], trust_of(self.detection.corruption[..., *tile.outer])
            predictions = [
                unflipped(self._mean_predictor(flipped(y, flip), flipped(trust, flip)).value, flip)
                for flip in range(flips or self.config.flips)
            ]
            f[..., *tile.inner] = torch.stack(predictions).mean(0)[..., *tile.inner_of_outer]
        return f.clamp_(0, 1)

    def found(self) -> Tensor:
        """Where corruption was found, bool (1, C, H, W)."""
        return self.detection.found

    def restored(self, network_output: Tensor) -> Tensor:
        """The posterior mean of the clean value, given f."""
        return self.detection.posterior_mean(network_output)

    def sparse_corruption(self, network_output: Tensor) -> SparseCorruption:
        """(u, v), given f."""
        return self.detection.sparse_corruption(network_output)

    def effective_lambda(self) -> float | None:
        """The median over the values of λ = −log γ / (2α), in units of intensity; None where the mask is known."""
        return self.detection.effective_lambda()

    def state(self) -> dict[str, Any]:
        """All that the next step depends on: tensors, numbers and containers of them."""
        return {
            "predictor": self.predictor.state_dict(),
            "mean_predictor": self._mean_predictor.state_dict(),
            "optimizer": self._optimizer.state(),
            "detection": self.detection.state(),
            "random": [self._cpu_random.get_state(), self._random.get_state()],
            "taken": self._taken,
            "rounds_taken": self._rounds_taken,
            "usual_loss": self._usual_loss,
            "view_seconds": self._view_seconds,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state of a fit to the same picture with the same config."""
        self.predictor.load_state_dict(state["predictor"])
        self._mean_predictor.load_state_dict(state["mean_predictor"])
        self._optimizer.load(state["optimizer"])
        self.detection.load(state["detection"])
        for generator, saved in zip((self._cpu_random, self._random), state["random"], strict=True):
            generator.set_state(saved)
        self._taken, self._rounds_taken = state["taken"], state["rounds_taken"]
        self._usual_loss, self._view_seconds = state["usual_loss"], state["view_seconds"]

    def seconds_aside_left(self) -> float:
        """How long what is not a step is going to take: rounds of detection, and the last prediction."""
        rounds = self.config.rounds - self._rounds_taken + max(0, self.detection.first_rounds - self._taken)
        rounds = 0 if self.detection.known else rounds
        views = self.config.parts_before * (rounds - 1) + self.config.parts if rounds else 0
        return self._view_seconds * (views + JUDGING * rounds + self._last_views)

    def _lr(self, done: float) -> float:
        warm = min(1.0, (self._taken + 1) / self.config.warmup)
        held = math.sqrt(self.config.hold / max(self.config.hold, self._taken))
        return self.config.lr * warm * max(0.02, min(held, 2 - 2 * done))

    def _spread(self, draw: Callable[[tuple[int, ...]], Tensor], y: Tensor) -> Tensor:
        """Draw for every value; once for a pixel where its channels are corrupted together.

        Else the other channels of such a pixel, as corrupted as it is, would speak for it.
        """
        return draw((len(y), 1 if self.detection.by_pixel else y.shape[1], *y.shape[2:]))

    def _dealt(self, parts: int, shape: tuple[int, ...]) -> Tensor:
        return torch.randint(parts, shape, generator=self._random, device=self.y.device, dtype=torch.uint8)

    def _uniform(self, shape: tuple[int, ...]) -> Tensor:
        return torch.rand(shape, generator=self._random, device=self.y.device)

    def _crops(self, *pictures: Tensor) -> list[Tensor]:
        """The same `batch` random crops of each picture, under one of the eight flips and transposes."""
        (height, width), crop = self.y.shape[-2:], self.config.crop
        rows = torch.randint(max(1, height - crop + 1), (self.config.batch,), generator=self._cpu_random).tolist()
        columns = torch.randint(max(1, width - crop + 1), (self.config.batch,), generator=self._cpu_random).tolist()
        flip = int(torch.randint(8, (), generator=self._cpu_random))
        where = list(zip(rows, columns, strict=True))
        return [flipped(torch.cat([p[..., r : r + crop, c : c + crop] for r, c in where]), flip) for p in pictures]


def _thrifty(config: HeldOut) -> HeldOut:
    """Choices for large pictures, where rounds and the last prediction take most of the time.

    They hold more than the steps can learn from, so fewer looks are enough.
    """
    return replace(
        config,
        rounds=max(1, 2 * config.rounds // 3),
        parts=max(2, 3 * config.parts // 4),
        flips=-(-config.flips // 4),
    )


def is_grey(picture: Tensor) -> bool:
    """Whether all channels are equal."""
    return bool((picture == picture[:, :1]).all())


def flipped(picture: Tensor, flip: int) -> Tensor:
    """One of the eight flips and transposes of the last two dimensions: bit 0 left-right, 1 up-down, 2 transposed."""
    axes = [axis for bit, axis in ((1, -1), (2, -2)) if flip & bit]
    picture = picture.flip(axes) if axes else picture
    return picture.transpose(-1, -2) if flip & 4 else picture


def unflipped(picture: Tensor, flip: int) -> Tensor:
    """Undo `flipped`."""
    return flipped(picture.transpose(-1, -2) if flip & 4 else picture, flip & 3)
