"""What a person sees of a restoration: bars and lines on stderr while it runs, sentences on stdout at its end."""

import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from dipsop.commands.stopping import Stopping
from dipsop.files import as_json, shown
from dipsop.jobs import events
from dipsop.pictures.encode import FORMATS

if TYPE_CHECKING:
    from dipsop.restoration.fit import Step

SECONDS_BETWEEN_FRAMES = 0.25  # asking a step for its share of corruption is a pass over the picture
SECONDS_BETWEEN_LINES = 30.0


def follow(job: Iterable[Any], stopping: Stopping, quiet: bool) -> Mapping[str, Any] | None:
    """Show the events of a restoration, a demonstration or a relabelling; return its report, None if it was stopped."""
    report: Mapping[str, Any] | None = None
    tell: Callable[[str], object] = partial(note, quiet=quiet)
    with ExitStack() as shown_bar:
        for event in job:
            match event:
                case events.Begun(steps, title):
                    shown_bar.close()
                    bar = shown_bar.enter_context(Bar(steps, title, quiet))
                    tell = bar.tell
                case events.Finishing(stopped):
                    bar.say("stopping; Ctrl-C again leaves at once" if stopped else "the last prediction")
                case events.Noted(sentence):
                    tell(f"note: {sentence}")
                case events.ShortOfMemory(pixels):
                    bar.tell(f"not enough memory: going on in pieces of {pixels / 1e6:.1f} megapixels")
                case events.Done(report):
                    pass
                case events.Stopped(completed, of):
                    note(f"stopped after {completed} of {of}: nothing was written", quiet)
                case events.Preview() | events.Written():
                    pass
                case events.Underway():
                    stopping.kept = True
                    bar.see_share(event)
                case _:  # a step, which holds its fit: it gets no name that would outlast it
                    stopping.kept = True
                    bar.see(event)
    return report


def note(sentence: str, quiet: bool) -> None:
    """Say a note on stderr."""
    if not quiet:
        print(sentence, file=sys.stderr, flush=True)


class Bar:
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

    def see(self, step: "Step") -> None:
        """Show a step, if it is time for one."""
        if not self._quiet and time.monotonic() >= self._next:
            self._show(step)

    def see_share(self, event: events.Underway) -> None:
        """Show how far the parts are, if it is time for it."""
        if not self._quiet and time.monotonic() >= self._next:
            self._state(event.done, f"{event.parts}  {clock(event.seconds_left)} left")

    def say(self, state: str) -> None:
        """Show a few words instead of a step."""
        self._bar.update(self._task, state=state)
        self._bar.refresh()

    def tell(self, sentence: str) -> None:
        """Say a sentence that stays."""
        if not self._quiet:
            self._bar.console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    def _show(self, step: "Step") -> None:
        state = (
            f"step {step.iteration}/{self._steps}  loss {step.loss:.4f}  "
            f"{100 * step.fraction_corrupted:.1f} % corrupted  {clock(step.seconds_left)} left"
        )
        self._state(step.done, state)

    def _state(self, done: float, state: str) -> None:
        if self._terminal:
            self._bar.update(self._task, completed=done, state=state)
            self._bar.refresh()
        else:
            print(f"{self._title}  {state}".lstrip(), file=sys.stderr, flush=True)
        self._next = time.monotonic() + (SECONDS_BETWEEN_FRAMES if self._terminal else SECONDS_BETWEEN_LINES)


def follow_many(job: Iterable[Any], stopping: Stopping, json: bool, quiet: bool) -> int:
    """Show the events of many pictures: a row while each runs, a line when it ends; returns how many failed."""
    outcomes: list[events.Restored | events.Skipped | events.Failed] = []
    rows: dict[Path, Any] = {}
    looking: Any = None
    with _bars(quiet) as bars:
        for event in job:
            match event:
                case events.Begun(pictures):
                    stopping.kept = True
                    total = bars.add_task("", total=pictures, state="")
                case events.Progress(source, done, left):
                    if source not in rows:
                        rows[source] = bars.add_task("", total=1.0, state="")
                    bars.update(rows[source], completed=done, state=f"{source.name}  {clock(left)} left")
                case events.Underway(done, left, parts):
                    stopping.kept = True
                    if looking is None:
                        looking = bars.add_task("", total=1.0, state="")
                    bars.update(looking, completed=done, state=f"{parts}  {clock(left)} left")
                case events.DeadPixels():
                    if looking is not None:
                        bars.remove_task(looking)
                    _report_dead_pixels(event, json, quiet)
                case events.Done(counts):
                    pass
                case outcome:
                    outcomes.append(outcome)
                    if outcome.source in rows:
                        bars.remove_task(rows.pop(outcome.source))
                    if not isinstance(outcome, events.Skipped) and bars.tasks:
                        bars.advance(total)
                    _report(outcome, json, quiet)
    if not json and not quiet:
        print(table(outcomes, counts))
    return int(counts["failed"])


def _bars(quiet: bool) -> Progress:
    console = Console(stderr=True)
    return Progress(
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}", markup=False),
        console=console,
        transient=True,
        redirect_stdout=False,
        disable=quiet or not console.is_terminal,
    )


def _report(outcome: events.Restored | events.Skipped | events.Failed, json: bool, quiet: bool) -> None:
    """A line when a picture is done: its JSON on stdout, or what went wrong on stderr."""
    if json:
        said: dict[str, Any] = {"in": str(outcome.source)}
        match outcome:
            case events.Restored(report=report):
                said |= report
            case events.Skipped():
                said |= {"skipped": True}
            case events.Failed(why=why):
                said |= {"error": why}
        print(as_json(said | {"out": str(outcome.out)}), flush=True)
    if isinstance(outcome, events.Restored):
        for sentence in outcome.report.get("notes", ()):
            note(f"note: {sentence}", quiet)
    if isinstance(outcome, events.Failed):
        print(f"dipsop: {outcome.why}", file=sys.stderr, flush=True)
    elif not quiet and not json:
        print(f"{shown(outcome.source)}  {in_a_few_words(outcome)}", file=sys.stderr, flush=True)


def _report_dead_pixels(event: events.DeadPixels, json: bool, quiet: bool) -> None:
    """Say what is dead in all pictures of a series, and where the map is."""
    if json:
        said = {"corruption_map": str(event.path), "fraction_corrupted": event.fraction, "frames": event.frames}
        print(as_json(said), flush=True)
    elif not quiet:
        seen = f"dead in all {event.frames} pictures" if event.frames else "dead by the map that was there"
        share = in_percent(event.fraction) if event.fraction else "none"
        print(f"{shown(event.path)}  {share} of the values {seen}", file=sys.stderr, flush=True)


def in_a_few_words(outcome: events.Restored | events.Skipped | events.Failed) -> str:
    """Say how one picture of many ended."""
    if isinstance(outcome, events.Failed):
        return "failed"
    if isinstance(outcome, events.Skipped):
        return "skipped, its result is there"
    return f"{found(outcome.report, 'corrupted')}, {outcome.report['seconds']:.0f} s"


def table(outcomes: Sequence[events.Restored | events.Skipped | events.Failed], counts: Mapping[str, int]) -> str:
    """The summary, a picture a line in the order of their names, and the totals; ASCII, for old consoles."""
    ordered = sorted(outcomes, key=lambda outcome: str(outcome.source))
    names = [shown(outcome.source) for outcome in ordered]
    width = max(map(len, names), default=0)
    lines = [f"{name:<{width}}  {in_a_few_words(outcome)}" for name, outcome in zip(names, ordered, strict=True)]
    total = f"{counts['restored']} restored, {counts['skipped']} skipped, {counts['failed']} failed"
    left = counts["left"]
    return "\n".join([*lines, total + (f", {left} left to do: give the same command again" if left else "")])


def found(report: Mapping[str, Any], what: str) -> str:
    """Say how much corruption was found, as a share of `what`."""
    if share := report["fraction_corrupted"]:
        return f"{in_percent(share)} {what}"
    told = report["effective_lambda"] is None  # by a mask: nothing was looked for
    return "nothing was to be filled" if told else "no sparse corruption found"


def in_percent(share: float) -> str:
    """Write a share as 12.3 %; a small one with as many digits as show it, since it may be a few pixels of millions."""
    percent = 100 * share
    return f"{percent:.{1 if percent >= 1 else max(3, 1 - math.floor(math.log10(percent)))}f} %"


def in_words(report: Mapping[str, Any]) -> str:
    """Return the summary of one picture as a person reads it; ASCII, for the sake of old consoles."""
    pieces = f" in {report['pieces']} pieces" if report["pieces"] > 1 else ""
    lines = {
        "wrote": shown(Path(report["out"])) + (f", {report['pages']} pages" if "pages" in report else ""),
        "corrupted": found(report, "of the values"),
        "steps": f"{report['steps']}{pieces} in {report['seconds']:.1f} s on {report['device']} ({report['reason']})",
    }
    if report["fraction_corrupted"] and FORMATS.get(Path(report["out"]).suffix.lower()) == "JPEG":
        lines["note"] = "JPEG rounds all values once more: a .png or .tif keeps those that were not corrupted"
    if "psnr" in report:
        lines["PSNR"] = f"{report['psnr']:.2f} dB, before {report['psnr_input']:.2f} dB"
        lines["SSIM"] = f"{report['ssim']:.4f}"
    if "as_recorded" in report:
        lines["record"] = "the same bits again" if report["as_recorded"] else "another result than was recorded"
    return aligned(lines)


def aligned(lines: Mapping[str, str]) -> str:
    """Put what stands beside each name in a column."""
    return "\n".join(f"{name:<10} {value}" for name, value in lines.items())


def clock(seconds: float) -> str:
    """Write a time as 0:07, 12:34 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
