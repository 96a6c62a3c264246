"""How this process waits and allocates: settings of libraries below, to be made before torch is loaded."""

import ctypes
import os
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc


def tune_process() -> None:
    """Make a step as fast as it can be, alone on the machine and beside other programs; results do not change.

    PyTorch's threads wait for each other by spinning. Where another program is busy that costs ten times the step; with
    a short spin before sleeping three times, and nothing where none is.

    A step allocates some hundred megabytes and frees them again. Handing them back to the system every time, to have
    them zeroed page by page in the next step, costs a twentieth of it; so buffers of up to 32 MiB are kept.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    with suppress(OSError, AttributeError, TypeError):  # another system's C library
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_M_TRIM_THRESHOLD, 512 << 20)
