"""Which device computes."""

import torch

from dipsop.commands.options import DeviceName
from dipsop.errors import DipsopError


def pick_device(name: DeviceName) -> torch.device:
    """Return the device of that name; auto is the first there is of cuda, mps, cpu.

    Raises
    ------
    DipsopError
        If this machine, or this build of PyTorch, does not have it.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, available in there.items() if available))
    if not there[name]:
        raise DipsopError(f"PyTorch finds no {name} device on this machine: use --device auto or --device cpu.")
    return torch.device(name)
