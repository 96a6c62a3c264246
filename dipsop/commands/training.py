"""What a person sees of a training run, and what Ctrl-C does to it. Imported once the command has begun."""

import math
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Self

import typer

from dipsop.classification import distributed, review, run_folder
from dipsop.classification.trainer import Epoch
from dipsop.commands.display import Bar, aligned, clock
from dipsop.commands.stopping import Stopping
from dipsop.files import as_json, shown
from dipsop.jobs.classify import ClassifyJob, run
from dipsop.jobs.events import Advice, Begun, Done, Fetching, Looking, Noted, Saving, Stopped, Underway, never

SECONDS_BETWEEN_LINES = 2.0


def follow(job: ClassifyJob, *, json: bool, quiet: bool) -> int:
    """Do the job: progress on stderr, the summary on stdout. Returns the exit status.

    Until the training begins a signal leaves at once. From then on a single process hears it between steps. Several
    processes could part ways there, so each leaves at once, but for the moments at which an epoch is written. A signal
    while the results are written comes too late to stop anything.
    """
    several = distributed.several()
    lines = Lines(quiet or not distributed.is_first())
    with Stopping() as stopping:
        try:
            # Closed also where a signal ends it here.
            with lines, closing(run(job, never if several else stopping.came)) as events:
                for event in events:
                    lines.show(event)
                    match event:
                        case Begun() | Looking():
                            stopping.kept = not several
                        case Saving():
                            stopping.kept = True
                        case Epoch() if several:
                            if stopping.came():
                                raise SystemExit(stopping.exit_status)
                            stopping.kept = False
                        case Done(report):
                            if json:
                                typer.echo(as_json(report))
                            elif not quiet:
                                typer.echo(in_words(report))
        except SystemExit:
            if lines.epochs:
                lines.show(Stopped(completed=run_folder.epochs_written(job.out), of=lines.epochs))
            raise
    return stopping.exit_status


class Lines:
    """What happens, on stderr: a line per epoch over a bar, and one every other second of what comes before.

    Attributes
    ----------
    epochs : int
        Of the whole run; 0 until the training begins.
    """

    def __init__(self, quiet: bool) -> None:
        self.epochs = 0
        self._quiet, self._said, self._left = quiet, 0.0, 0.0
        self._bar: Bar | None = None
        self._shown = ExitStack()

    def __enter__(self) -> Self:
        """Show nothing yet."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Take the bar away."""
        self._shown.close()

    def show(self, event: object) -> None:
        """Show what there is to see of an event."""
        match event:
            case Fetching(there, total):
                if time.monotonic() > self._said + SECONDS_BETWEEN_LINES or there == total:
                    self._said = time.monotonic()
                    of = f" of {total / 1e6:.0f}" if total else ""
                    self._say(f"fetching  {there / 1e6:.0f}{of} MB")
            case Looking(done, of, left):
                if time.monotonic() > self._said + SECONDS_BETWEEN_LINES or done == of:
                    self._said = time.monotonic()
                    self._say(f"features  {done}/{of} images  {clock(left)} left")
            case Advice(sentence) | Noted(sentence):
                self._say(f"note: {sentence}")
            case Begun(steps):
                self.epochs = steps
                self._bar = self._shown.enter_context(Bar(steps, quiet=self._quiet))
            case Underway():
                self._left = event.seconds_left
                if self._bar is not None:
                    self._bar.see_share(event)
            case Epoch():
                self._say(self._figures(event))
            case Done():
                self._shown.close()
            case Stopped(completed, of):
                self._shown.close()
                self._say(f"stopped after {completed} of {of} epochs: go on with --resume")

    def _figures(self, epoch: Epoch) -> str:
        figures = [f"loss {epoch.loss:.3f}", f"given {epoch.given_accuracy:.3f}"]
        figures += [f"true {epoch.true_accuracy:.3f}"] if not math.isnan(epoch.true_accuracy) else []
        figures += [f"test {epoch.test_accuracy:.3f}"] if not math.isnan(epoch.test_accuracy) else []
        return f"epoch {epoch.number}/{self.epochs}  {'  '.join(figures)}  {clock(self._left)} left"

    def _say(self, line: str) -> None:
        if self._bar is not None:
            self._bar.tell(line)
        elif not self._quiet:
            print(line, file=sys.stderr, flush=True)


def in_words(summary: Mapping[str, Any]) -> str:
    """Return the summary as a person reads it."""
    lines = {"wrote": shown(Path(summary["out"]))}
    if not math.isnan(summary["test_accuracy"]):
        lines["test"] = (
            f"{100 * summary['test_accuracy']:.1f} % after the last epoch "
            f"(best {100 * summary['best_test_accuracy']:.1f} %, epoch {summary['best_epoch']})"
        )
    if summary.get("wrong_labels"):
        lines["list"] = f"AUROC {summary['auroc']:.3f}, average precision {summary['average_precision']:.3f}"
    if summary.get("looks_wrong") is not None:
        lines["wrong"] = _wrong(summary)
    out = Path(summary["out"])
    lines["suspects"] = f"{shown(out / run_folder.SUSPECTS)}, the most suspect label first"
    lines["to review"] = f"{shown(out / review.PAGE)}, in a browser"
    return aligned(lines)


def _wrong(summary: Mapping[str, Any]) -> str:
    """How many labels look wrong, with the error where there is one."""
    count, of = round(summary["looks_wrong"]), f"{summary['labels']:,}"
    if summary["looks_wrong_error"] is None:
        return f"{count:,} of {of} labels look wrong"
    return f"about {count:,} ± {math.ceil(summary['looks_wrong_error']):,} of {of} labels look wrong"
