"""What a person sees of a training run: progress on stderr, the summary on stdout."""

import sys
import time
from pathlib import Path
from typing import Any

from dipsop.classification import run_folder
from dipsop.classification.trainer import Epoch
from dipsop.commands.display import clock
from dipsop.files import shown


class Lines:
    """A line per epoch, on stderr."""

    def __init__(self, epochs: int, quiet: bool) -> None:
        self._epochs, self._quiet, self._start, self._first = epochs, quiet, time.monotonic(), 0

    def epoch(self, epoch: Epoch) -> None:
        """Show an epoch."""
        if self._quiet:
            return
        self._first = self._first or epoch.number
        here = epoch.number - self._first + 1
        left = (time.monotonic() - self._start) / here * (self._epochs - epoch.number)
        figures = [f"loss {epoch.loss:.3f}", f"given {epoch.given_accuracy:.3f}"]
        figures += [f"true {epoch.true_accuracy:.3f}"] if epoch.true_accuracy == epoch.true_accuracy else []
        figures += [f"test {epoch.test_accuracy:.3f}"] if epoch.test_accuracy == epoch.test_accuracy else []
        print(
            f"epoch {epoch.number}/{self._epochs}  {'  '.join(figures)}  {clock(left)} left",
            file=sys.stderr,
            flush=True,
        )


class Bytes:
    """Progress of a download, on stderr."""

    def __init__(self, quiet: bool) -> None:
        self._quiet, self._shown = quiet, 0.0

    def __call__(self, there: int, total: int) -> None:
        """Show how much is there."""
        if not self._quiet and (time.monotonic() > self._shown + 2 or there == total):
            self._shown = time.monotonic()
            of = f" of {total / 1e6:.0f}" if total else ""
            print(f"fetching  {there / 1e6:.0f}{of} MB", file=sys.stderr, flush=True)


def in_words(summary: dict[str, Any]) -> str:
    """Return the summary as a person reads it."""
    lines = {"wrote": shown(Path(summary["out"]))}
    if summary["test_accuracy"] == summary["test_accuracy"]:
        lines["test"] = (
            f"{100 * summary['test_accuracy']:.1f} % after the last epoch "
            f"(best {100 * summary['best_test_accuracy']:.1f} %, epoch {summary['best_epoch']})"
        )
    if summary.get("wrong_labels"):
        lines["list"] = f"AUROC {summary['auroc']:.3f}, average precision {summary['average_precision']:.3f}"
    lines["suspects"] = f"{shown(Path(summary['out']) / run_folder.SUSPECTS)}, the most suspect label first"
    return "\n".join(f"{name:<10} {value}" for name, value in lines.items())
