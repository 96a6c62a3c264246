"""How often something is done beside the fit."""

import time
from collections.abc import Callable


class Pace:
    """Do something every so many seconds, and more rarely where it would cost more than a twentieth of the time.

    Parameters
    ----------
    seconds : float
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = time.monotonic() + seconds

    def maybe(self, action: Callable[[], object]) -> None:
        """Do it now if it is time."""
        begin = time.monotonic()
        if begin >= self._next:
            action()
            end = time.monotonic()
            self._next = end + max(self._seconds, 20 * (end - begin))
