"""A look by a network that has seen what goes wrong, on trial: what does it bring to a held-out fit?

    python examples/look.py PICTURE... --corruption random-valued:0.3 --crop 160 --steps 60

By a prediction P made without seeing the value, and the scale b of its error, the odds of corruption are

    log odds = |y − P| / b + log(2b·π / (1 − π)),

were every value alone. What is around says more: the rest of a scratch, the other channels, how dense the noise is,
what print looks like. This network adds that to the log-odds, at every round of detection: it is a factor on the start
γ² of u and v. It has learned it from noise, dead pixels, scratches, hairs, dust and lettering laid over photographs,
and from clean photographs and print (train_look.py). dipsop does not use it yet; look.md says how far it is.

Printed is the PSNR in dB without the outer 8 pixels, as the fit goes on, without and with the look, and what share of
the corrupted values was found, and of the clean ones with them.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from benchmark_restoration import corrupted, inner
from numpy.typing import NDArray
from torch import Tensor, nn

from dipsop import PRESETS
from dipsop.compute import Dtype, autocast, tune_process
from dipsop.pictures import images
from dipsop.pictures.quality import psnr
from dipsop.pictures.tiles import TILE, tiles
from dipsop.restoration import structure
from dipsop.restoration.config import HeldOut
from dipsop.restoration.detection import MOST_FOLLOWED, Detection
from dipsop.restoration.fit import as_tensor
from dipsop.restoration.held_out import HeldOutFit
from dipsop.restoration.local_stats import LEAST_TRUST, corrected_scale, ring
from dipsop.restoration.networks import PredictorUNet
from dipsop.restoration.predictor import load_weights
from dipsop.restoration.prior import FIRST_SHARE, MOST_SHARE, Prior, trust_of
from dipsop.sop import SparseCorruption

WEIGHTS = Path(__file__).with_suffix(".npz")
WIDTHS = (32, 48, 64, 64)
CHANNELS = 3
LEAST_SHARE = 1e-4  # π; its first and its largest are those of a detection
LEAST_SCALE, MOST_SCALE = 0.006, 0.3  # b
MOST_RESIDUAL = 10.0  # in units of b
VOUCHED = 1.0  # what the look adds at least to the log-odds of what it takes for damage
MOST_ALONE = 5.0  # log-odds that residuals alone come to: the network is to be able to overrule them
LOOKED_AT = (1, 2, 3, 5, 10, 25, 50, 100, 200, 400)  # steps


class Look(nn.Module):
    """(y, trust, prediction, its scale) → what is to be added to the log-odds of every value.

    Parameters
    ----------
    dtype : "auto", "bfloat16" or "float32"
        What the network computes in.
    """

    def __init__(self, dtype: Dtype = "auto") -> None:
        super().__init__()
        self.dtype = dtype
        self.network = PredictorUNet(5 * CHANNELS, CHANNELS, WIDTHS)

    def forward(self, y: Tensor, trust: Tensor, predicted: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-odds of every value alone, and what to add, float32 of the shape of y.

        Parameters
        ----------
        y : Tensor (N, C, H, W) in [0, 1], C being 3 or 1
        trust : Tensor of that shape, in [0, 1]
            What was trusted for the prediction, and by how much.
        predicted, scale : Tensor of that shape
            What every value is predicted to be while it is hidden, and how far off that may be in the mean.
        """
        alone, scale = by_residuals(y, trust, predicted, scale)
        residual = ((y - predicted) / scale).clamp(-MOST_RESIDUAL, MOST_RESIDUAL)
        parts = [residual / 2, scale.log() / 2 + 2, alone / 2, predicted - 0.5, y - 0.5]
        z = torch.cat([part.expand(-1, CHANNELS, -1, -1) for part in parts], 1)
        with autocast(y.device, self.dtype):
            context: Tensor = self.network(z.contiguous(memory_format=torch.channels_last)).float()
        return alone, context.mean(1, keepdim=True) if y.shape[1] == 1 else context


def by_residuals(y: Tensor, trust: Tensor, predicted: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-odds of every value alone, b corrected by the residuals around and π fitted; and that b."""
    residual, share = predicted - y, torch.tensor(FIRST_SHARE, device=y.device)
    window = ring(2.0, 5, y.device)
    for _ in range(2):
        b = corrected_scale(scale, residual, trust + LEAST_TRUST, window).clamp(LEAST_SCALE, MOST_SCALE)
        log_odds = residual.abs() / b + (2 * b * share / (1 - share)).log()
        trust = torch.sigmoid(-log_odds)
        share = (1 - trust.mean((1, 2, 3), keepdim=True)).clamp(LEAST_SHARE, MOST_SHARE)
    return log_odds.clamp(max=MOST_ALONE), b


def trained(dtype: Dtype) -> Look:
    """Return the network with the weights that lie beside this file."""
    look = Look(dtype)
    look.load_state_dict(load_weights(WEIGHTS))
    look.to(memory_format=torch.channels_last).requires_grad_(False)  # type: ignore[call-overload]
    return look


class ResidualsAlone(Prior):
    """π and c by what residuals alone say, as the look had them when it was trained: nothing counts twice."""

    def fit(self, corruption: SparseCorruption, residual: Tensor, scale: Tensor) -> None:
        """See `Prior.fit`; the corruption given is what the look made of it."""
        alone = SparseCorruption.constant(self.start(self.y, scale))
        most = MOST_FOLLOWED * scale
        alone.flow_step(residual.clamp(-most, most), 1 / (4 * scale))
        super().fit(alone, residual, scale)


class LookingDetection(Detection):
    """A detection to whose start of u and v the look adds what is around."""

    context: Tensor | None = None

    def __init__(self, y: Tensor, config: HeldOut) -> None:
        super().__init__(y, config, first_rounds=config.first_rounds)
        self.prior = ResidualsAlone(y, config)

    def _start(self, residual: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        start, followed = super()._start(residual, rows)
        if self.context is None:
            return start, followed
        # No residual is followed further than the network has seen: else it could not overrule one.
        most = self.scale[..., rows, :] * (MOST_ALONE - 2 * start.log()).clamp_(min=0)
        return start.mul_(torch.exp(self.context[..., rows, :] / 2)), followed.clamp(-most, most)

    def _leave_print_alone(self) -> None:
        """Ask whether it is print only of what the look does not vouch for: it has seen print, and strokes on it."""
        if self.context is None:
            return super()._leave_print_alone()
        vouched = self.context > VOUCHED
        trust = trust_of(self.corruption).masked_fill_(vouched, 1)
        if structure.clusters(trust) > self._most_clustered:
            self._make_certain(~vouched, 0.0)
            self.prior.forget(structure.LEAST_CLUSTERED)
        return None


class LookingFit(HeldOutFit):
    """A held-out fit that looks at every round of detection."""

    def __init__(self, y: Tensor, config: HeldOut) -> None:
        super().__init__(y, config)
        self.detection = LookingDetection(y, config)
        self._look = trained(config.dtype)

    @torch.no_grad()
    def predict_hidden(self) -> tuple[Tensor, Tensor]:
        """Predict every value while it is hidden; and look at that."""
        value, scale = super().predict_hidden()
        trust, context = trust_of(self.detection.corruption), torch.empty_like(value)
        for tile in tiles(value.shape[-2], value.shape[-1], TILE):
            _, said = self._look(*(part[..., *tile.outer] for part in (self.y, trust, value, scale)))
            context[..., *tile.inner] = said[..., *tile.inner_of_outer]
        assert isinstance(self.detection, LookingDetection)
        self.detection.context = context
        return value, scale


def course(fit: HeldOutFit, steps: int, truth: Tensor) -> str:
    """Return what PSNR the fit has after some of its steps, and what it has found by then."""

    def array(picture: Tensor) -> NDArray[np.float32]:
        return picture[0].permute(1, 2, 0).numpy()

    hit, said = fit.y != truth, []
    for step in range(1, steps + 1):
        fit.step((step - 1) / steps)
        if step in LOOKED_AT or step == steps:
            found = fit.found()
            restored = torch.where(found, fit.network_output(), fit.y)
            said.append(f"{step}: {psnr(inner(array(restored)), inner(array(truth))):.2f}")
    shares = f"found {float(found[hit].float().mean()):.1%} and {float(found[~hit].float().mean()):.2%}"
    return f"{'  '.join(said)}  ({shares})"


def main() -> None:
    """Fit to every picture twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--corruption", default="random-valued:0.3", help="as for benchmark_restoration.py")
    parser.add_argument("--crop", type=int, help="take so many pixels of the middle")
    parser.add_argument("--steps", type=int, default=60)
    a = parser.parse_args()
    tune_process()
    config = replace(PRESETS["quick"], steps=a.steps)
    assert isinstance(config, HeldOut)
    for path in a.pictures:
        values = images.load(path).values
        if a.crop:
            top, left = ((length - a.crop) // 2 for length in values.shape[:2])
            values = values[top : top + a.crop, left : left + a.crop]
        clean, y, _ = corrupted(values, a.corruption, seed=0)
        truth, seen = (as_tensor(part, torch.device("cpu")) for part in (clean, y))
        for name, fit in (("without", HeldOutFit), ("with", LookingFit)):
            print(f"{path.name} {a.corruption} {name:8}{course(fit(seen, config), a.steps, truth)}", flush=True)


if __name__ == "__main__":
    main()
