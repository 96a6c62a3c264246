"""How often something is done beside the fit."""

import time
from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")


class Pace:
    """Do something every so many seconds, and more rarely where it would cost more than a twentieth of the time.

    Parameters
    ----------
    seconds : float
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = time.monotonic() + seconds

    def maybe(self, action: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> bool:
        """Do it now if it is time; returns whether it was. Where it fails, it is done again as long after."""
        begin = time.monotonic()
        if begin < self._next:
            return False
        try:
            action(*args, **kwargs)
        finally:
            end = time.monotonic()
            self._next = end + max(self._seconds, 20 * (end - begin))
        return True
