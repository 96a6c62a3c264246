"""What a bug report needs: versions, what the machine is and has, how fast it computes, which extras are there."""

import importlib.metadata as metadata
import platform
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import psutil
from packaging.requirements import Requirement

from dipsop import __version__
from dipsop.compute import pick_device, resolved_dtype
from dipsop.jobs.memory import available
from dipsop.jobs.record import version_of
from dipsop.jobs.worker import cores

if TYPE_CHECKING:
    import torch

LIBRARIES = ("torch", "numpy", "pillow", "scikit-image", "tifffile", "imagecodecs")
CHANNELS, SIDE, REPEATS = 64, 192, 5  # of the convolution that is timed


def report() -> dict[str, Any]:
    """Look at this installation and this machine; takes a few seconds.

    Returns
    -------
    dict
        dipsop, python, libraries : versions
        system, processor, cores, threads : what it runs on; `threads` is how many PyTorch takes
        memory, memory_free : bytes
        device, dtype : what a restoration would compute on, and in
        gpu : the name of the GPU, or why none is used
        gflops : 10⁹ floating-point operations a second of a 3×3 convolution of 64 channels, in that number format
        extras : for each extra, the packages that are missing; an empty list where it is there
    """
    import torch

    device = pick_device("auto")
    dtype = resolved_dtype(device, "auto")
    return {
        "dipsop": __version__,
        "python": platform.python_version(),
        "libraries": {name: version_of(name) for name in LIBRARIES},
        "system": platform.platform(),
        "processor": _processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "memory": int(psutil.virtual_memory().total),
        "memory_free": available(torch.device("cpu")),
        "device": str(device),
        "dtype": str(dtype).removeprefix("torch."),
        "gpu": _gpu(),
        "gflops": round(_gflops(device, dtype), 1),
        "extras": _extras(),
    }


def _processor() -> str:
    """The name of the processor; on Linux `platform` does not have it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration, UnicodeError):
        return platform.processor() or platform.machine()


def _gpu() -> str:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    if torch.backends.mps.is_available():
        return "Apple (mps)"
    if torch.version.cuda is None and torch.version.hip is None:
        return "none: this build of PyTorch is for processors alone"
    return "none: PyTorch finds no GPU, or no driver for it"


def _gflops(device: "torch.device", dtype: "torch.dtype") -> float:
    """The median over some convolutions of the kind that the network spends its time on, forward alone."""
    import torch

    layer = torch.nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1).to(device, dtype).requires_grad_(False)
    layer = layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.rand(4, CHANNELS, SIDE, SIDE, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    seconds = []
    for _ in range(REPEATS + 1):
        begin = time.perf_counter()
        float(layer(x)[0, 0, 0, 0])  # waits for an accelerator
        seconds.append(time.perf_counter() - begin)
    operations = 2 * 9 * CHANNELS**2 * x.shape[0] * SIDE**2
    return operations / median(seconds[1:]) / 1e9  # the first one plans


def _extras() -> dict[str, list[str]]:
    """Which packages of each extra for users are missing; nothing where dipsop runs without having been installed."""
    if version_of("dipsop") is None:
        return {}
    extras = metadata.metadata("dipsop").get_all("Provides-Extra") or []
    requirements = [Requirement(line) for line in metadata.requires("dipsop") or []]
    return {
        extra: [r.name for r in requirements if _belongs(r, extra) and version_of(r.name) is None]
        for extra in extras
        if extra != "test"
    }


def _belongs(requirement: Requirement, extra: str) -> bool:
    """Whether a requirement comes with an extra alone."""
    marker = requirement.marker
    return marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})
