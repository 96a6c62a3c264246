"""A training under way: what is written after every epoch, and the list at its end."""

import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from dipsop.classification import review, run_folder, suspects
from dipsop.classification.dataset import Dataset
from dipsop.classification.distributed import Process
from dipsop.classification.trainer import Epoch, Step, Trainer
from dipsop.files import save_json
from dipsop.jobs import next_round
from dipsop.jobs.events import Done, Saving, Stop, Underway, Written
from dipsop.jobs.time_left import TimeLeft

if TYPE_CHECKING:
    from dipsop.jobs.classify import ClassifyJob

SECONDS_BETWEEN_CURVES = 10
Said = TypeVar("Said")
Result = TypeVar("Result")
Told = TypeVar("Told")
Event = Underway | Saving | Epoch | Written | Done


@dataclass
class Training:
    """A run under way, in this process among others: what is trained, and on what.

    Attributes
    ----------
    data : Dataset
        What is trained on: images, or features of them.
    pictures : Dataset
        The images themselves.
    epochs : list of Epoch
        Those done.
    """

    job: "ClassifyJob"
    me: Process
    trainer: Trainer
    data: Dataset
    pictures: Dataset
    left: TimeLeft
    epochs: list[Epoch]

    def train(self, stop: Stop) -> Generator[Event, None, bool]:
        """Go through the epochs left, writing each to the folder; returns whether `stop()` ended it."""
        drawn = -math.inf
        for epoch in self.trainer.steps(stop):
            self.left.see(epoch)
            if isinstance(epoch, Step):
                yield self._underway(f"epoch {epoch.epoch}/{self.trainer.config.epochs}")
                continue
            yield Saving()
            self.epochs.append(epoch)
            state = self.trainer.state()
            if self.me.rank == 0:
                run_folder.save_checkpoint(self.job.out, state, self.epochs)
                if time.monotonic() > drawn + SECONDS_BETWEEN_CURVES:
                    run_folder.write_curves(self.job.out, self.epochs)
                    drawn = time.monotonic()
            yield epoch
            if self.me.any(stop()):
                return True
        return len(self.epochs) < self.trainer.config.epochs

    def finish(self, stop: Stop) -> Generator[Event, None, bool]:
        """Write the list and the summary; returns whether `stop()` came before."""

        def seen(step: Step) -> Underway:
            self.left.see(step)
            return self._underway("the list")

        found = yield from telling(suspects.find(self.trainer, self.data, stop), seen)
        if self.me.any(stop() or found is None) or found is None:
            return True
        yield Saving()
        if self.me.rank == 0:
            out, summary = self.job.out, self._summary() | found.figures
            run_folder.write_metrics(out, self.epochs)
            run_folder.write_curves(out, self.epochs)
            run_folder.write_suspects(out, found.listed)
            then = next_round.commands(self.job, self.pictures)
            review.write(out, found.listed, self.pictures, self.job.data, then, next_round.saved_as(self.job))
            save_json(out / run_folder.SUMMARY, summary)
            yield Written(out / run_folder.SUSPECTS)
            yield Written(out / review.PAGE)
            yield Done(summary)
        return False

    def _underway(self, what: str) -> Underway:
        return Underway(self.left.done, self.left.seconds, what)

    def _summary(self) -> dict[str, Any]:
        """What came out, the quality of the list apart; the headline is the last epoch."""
        last, best = self.epochs[-1], max(self.epochs, key=lambda epoch: epoch.test_accuracy)
        return {
            "out": str(self.job.out),
            "method": self.trainer.config.method,
            "noise": self.data.noise,
            "epochs": last.number,
            "test_accuracy": last.test_accuracy,
            "best_test_accuracy": best.test_accuracy,
            "best_epoch": None if math.isnan(last.test_accuracy) else best.number,
            "seconds": sum(epoch.seconds for epoch in self.epochs),
            "device": str(self.me.device),
        }


def telling(work: Generator[Said, None, Result], event: Callable[[Said], Told]) -> Generator[Told, None, Result]:
    """Return what the work comes to; meanwhile, yield an event for all that it says."""
    while True:
        try:
            said = next(work)
        except StopIteration as end:
            result: Result = end.value
            return result
        yield event(said)
