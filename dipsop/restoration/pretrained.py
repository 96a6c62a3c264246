"""The pretrained weights that are shipped beside this file; examples/train_start.py made them, and says from what.

They are a start only: they know how to predict values of photographs from their surroundings, and every fit goes on
from there on its own picture. `pretrained=False` starts from random weights.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

SHIPPED_WIDTHS = (32, 64, 96, 96)
SHIPPED_CHANNELS = 3
_FILE = Path(__file__).with_name("pretrained.npz")


def pretrained_weights(channels: int, widths: Sequence[int]) -> dict[str, Tensor] | None:
    """Return the weights of a `HeldOutPredictor` of three channels, or None where they do not fit the picture.

    Parameters
    ----------
    channels : int
        Of the picture: 1, which goes through as three equal ones, or 3.
    widths : sequence of int
        The network asked for.
    """
    if channels not in (1, SHIPPED_CHANNELS) or tuple(widths) != SHIPPED_WIDTHS:
        return None
    with np.load(_FILE, allow_pickle=False) as weights:
        return {name: torch.from_numpy(weights[name].astype(np.float32)) for name in weights.files}


def save(predictor: nn.Module, path: Path) -> None:
    """Write the weights in half precision, half the size; the network computes in less."""
    arrays = {name: weight.detach().cpu().numpy().astype(np.float16) for name, weight in predictor.state_dict().items()}
    temporary = path.with_name(path.name + ".part.npz")
    np.savez_compressed(temporary, **arrays)
    temporary.replace(path)
