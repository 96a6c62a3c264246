"""How much memory a restoration may take, and how large a piece of a picture that allows."""

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from dipsop.errors import DipsopError
from dipsop.files import shown
from dipsop.pictures.picture import Picture
from dipsop.restoration.config import Config, HeldOut

if TYPE_CHECKING:
    import torch

# Peak of the process, measured: PyTorch with all that a step and a tile take, and on top of it what a fit and its
# result hold for every value of a piece. A whole-image fit holds all that its network says, by its width.
FIXED = 800 << 20
PER_VALUE = 42
PER_VALUE_AND_CHANNEL = 28
SHARE = 0.8  # of what is free: others want some too
SMALLEST = 256 * 256  # pixels of a piece: below that the margins are most of the work
# Limit and use of a container, and which part of the use are files that the system keeps in memory while nobody asks.
_CONTAINERS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parsed(text: str | None) -> int | None:
    """Return bytes of a text like 4G, 1.5GiB or 900M; ValueError where it is none."""
    if text is None:
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*", text.lower())
    if not match or not float(match[1]):
        raise ValueError(f"{text} is not an amount of memory: say 4G or 1.5G.")
    return int(float(match[1]) * _UNITS[match[2]])


def free() -> int:
    """Bytes that can be taken now of this machine's memory, and of this process's share of it."""
    least = int(psutil.virtual_memory().available)
    for folder, limit, used, kept in _CONTAINERS:
        with suppress(OSError, ValueError):  # not this kind of container, or no limit
            taken = int(Path(folder, used).read_text()) - _stated(Path(folder, "memory.stat"), kept)
            least = min(least, int(Path(folder, limit).read_text()) - taken)
    return least


def _stated(statistics: Path, name: str) -> int:
    with suppress(OSError, ValueError):  # then the use is all taken to be needed
        lines = (line.split() for line in statistics.read_text().splitlines())
        return next((int(value) for key, value in lines if key == name), 0)
    return 0


def available(device: "torch.device") -> int:
    """Bytes that can be taken now where it is to be computed."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return free()


def of_fit(config: Config, values: int) -> int:
    """Bytes that a fit to so many values takes, PyTorch included."""
    return FIXED + _per_value(config) * values


def _per_value(config: Config) -> int:
    return PER_VALUE if isinstance(config, HeldOut) else PER_VALUE_AND_CHANNEL * config.width


def most_pixels(
    picture: Picture, config: Config, budget: int | None, device: "torch.device", source: Path, of_many: bool = False
) -> int | None:
    """Return how many pixels a piece may have so that the whole stays within the budget; None for all of them.

    Raises
    ------
    DipsopError
        Not even small pieces fit.
    """
    remedy = "close other programs" if budget is None else "allow more by --memory"
    remedy += ", take fewer at a time by --jobs" if of_many else ""
    budget = int(SHARE * available(device)) if budget is None else budget
    height, width, channels = picture.samples.shape
    # What was read, what is written, a map of what was found, and one of them once more while it is encoded.
    whole = picture.samples_and_alpha.nbytes * 3 + picture.samples.size
    piece = (budget - FIXED - whole) // (_per_value(config) * channels)
    if piece >= height * width:
        return None
    if piece < SMALLEST:
        needed = whole + of_fit(config, channels * SMALLEST)
        raise DipsopError(
            f"{shown(source)} needs {needed / 2**30:.1f} GiB of memory and {budget / 2**30:.1f} GiB can be taken: "
            f"{remedy}, or scale it down."
        )
    return int(piece)
