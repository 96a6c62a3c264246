"""Ctrl-C once keeps the result so far, twice leaves at once."""

import signal
from types import FrameType
from typing import Any, Self

EXIT_BY_SIGNAL = 128  # plus the signal's number, as shells have it: 130 for Ctrl-C, 143 for SIGTERM


class Stopping:
    """While entered, SIGINT and SIGTERM are noted rather than obeyed, once there is something to keep.

    Attributes
    ----------
    kept : bool
        Set it when there is a state to write; until then a signal leaves at once, as a second one always does.
    signal : int or None
        The signal that came: the job is to stop.
    """

    def __init__(self) -> None:
        self.kept = False
        self.signal: int | None = None
        self._former: dict[int, Any] = {}

    def came(self) -> bool:
        """Whether a signal came: what a job asks as its `stop`."""
        return self.signal is not None

    @property
    def exit_status(self) -> int:
        """What the process is to exit with: 0 where no signal came."""
        return 0 if self.signal is None else EXIT_BY_SIGNAL + self.signal

    def __enter__(self) -> Self:
        """Listen. A signal that whoever started us wants ignored (nohup, a script's background job) stays so."""
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        """Put the former handlers back."""
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None or not self.kept:
            raise SystemExit(EXIT_BY_SIGNAL + number)
        self.signal = number
