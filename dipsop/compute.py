"""What a run computes on: device, number format, threads. torch is imported when it is first asked for.

So `dipsop --help` is quick, and a picture is read before a second goes into loading torch.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Literal

from dipsop.errors import DipsopError

if TYPE_CHECKING:
    import torch

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["auto", "bfloat16", "float32"]
"""What number format the network computes in; u, v and the losses stay float32 whatever it is."""

STEPS_BETWEEN_QUESTIONS = 50
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h of glibc


def tune_process() -> None:
    """Set how this process waits and allocates, before torch is loaded. It is faster; results do not change.

    PyTorch's threads wait for each other by spinning. Where another program is busy that costs ten times the step; with
    a short spin before sleeping three times, and nothing where none is.

    A step allocates some hundred megabytes and frees them again. Handing them back to the system every time, to have
    them zeroed page by page in the next step, costs a twentieth of it; so buffers are kept, until `release_memory`.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    with suppress(OSError, AttributeError, TypeError):  # another system's C library
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 512 << 20)


def release_memory() -> None:
    """Hand buffers that are kept back to the system, where its C library can."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def pick_device(name: DeviceName) -> "torch.device":
    """Return the device of that name; auto is cuda where there is one, else cpu. On mps nothing was ever tested.

    Raises
    ------
    DipsopError
        If this machine, or this build of PyTorch, does not have it.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device("cuda" if there["cuda"] else "cpu")
    if not there[name]:
        raise DipsopError(f"PyTorch finds no {name} device on this machine: use --device auto or --device cpu.")
    return torch.device(name)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw the weights of new networks from a seed. Whatever the caller draws, on a GPU too, goes on as if not."""
    import torch

    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs besides
        yield


def may_ask(device: "torch.device", step: int) -> bool:
    """Whether a number may be asked of the device at this step.

    A processor has it at hand. Asking an accelerator waits for it, so there the question is put once in 50 steps.
    """
    return device.type == "cpu" or step % STEPS_BETWEEN_QUESTIONS == 0


def resolved_dtype(device: "torch.device", dtype: Dtype) -> "torch.dtype":
    """Return bfloat16 where asked for, or under "auto" where the device multiplies it natively; else float32."""
    import torch

    if dtype == "auto":
        return torch.bfloat16 if _native_bfloat16(device) else torch.float32
    return torch.bfloat16 if dtype == "bfloat16" else torch.float32


def autocast(device: "torch.device", dtype: Dtype) -> "torch.autocast":
    """Autocast of the network under `dtype`; nothing at all in float32."""
    import torch

    resolved = resolved_dtype(device, dtype)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=resolved is torch.bfloat16)


def _native_bfloat16(device: "torch.device") -> bool:
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # A processor without the instruction emulates it, slower than float32.
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())
