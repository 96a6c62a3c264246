"""What a person sees while a fit runs: on stderr, so that stdout holds results only."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from dipsop.restoration.fit import Step

SECONDS_BETWEEN_FRAMES = 0.25  # asking a step for its share of corruption is a pass over the picture
SECONDS_BETWEEN_LINES = 30.0


class Display:
    """A progress bar on a terminal, a line every half minute elsewhere, nothing if quiet.

    Parameters
    ----------
    steps : int
        Budget of the fit.
    title : str
        Stands before the bar.
    quiet : bool
    """

    def __init__(self, steps: int, title: str = "", quiet: bool = False) -> None:
        self._steps, self._title, self._quiet = steps, title, quiet
        self._terminal = sys.stderr.isatty()
        self._next = time.monotonic() + (0 if self._terminal else SECONDS_BETWEEN_LINES)
        self._bar = Progress(
            *([TextColumn("{task.description}")] if title else []),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[state]}", markup=False),
            console=Console(stderr=True),
            transient=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=quiet or not self._terminal,
        )
        self._task = self._bar.add_task(title, total=1.0, state="starting")

    def __enter__(self) -> Self:
        """Draw the empty bar."""
        self._bar.start()
        self._bar.refresh()
        return self

    def __exit__(self, *exception: object) -> None:
        """Take the bar away."""
        self._bar.stop()

    def watched(self, steps: Iterable[Step]) -> Iterator[Step]:
        """Pass the steps on, showing one now and then."""
        for step in steps:
            self.see(step)
            yield step

    def see(self, step: Step) -> None:
        """Show a step, if it is time for one."""
        if not self._quiet and time.monotonic() >= self._next:
            self._show(step)

    def say(self, state: str) -> None:
        """Show a few words instead of a step."""
        self._bar.update(self._task, state=state)
        self._bar.refresh()

    def tell(self, sentence: str) -> None:
        """Say a sentence that stays."""
        if not self._quiet:
            self._bar.console.print(sentence, markup=False, highlight=False)

    def _show(self, step: Step) -> None:
        state = (
            f"step {step.iteration}/{self._steps}  loss {step.loss:.4f}  "
            f"{100 * step.fraction_corrupted:.1f} % corrupted  {clock(step.seconds_left)} left"
        )
        if self._terminal:
            self._bar.update(self._task, completed=step.done, state=state)
            self._bar.refresh()
        else:
            print(f"{self._title}  {state}".lstrip(), file=sys.stderr, flush=True)
        self._next = time.monotonic() + (SECONDS_BETWEEN_FRAMES if self._terminal else SECONDS_BETWEEN_LINES)


def clock(seconds: float) -> str:
    """Write a time as 0:07, 12:34 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
