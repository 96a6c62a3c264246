"""How long a training still takes: the steps left at their mean, the tests, and the list at the end."""

import time

from dipsop.classification.held_out import FOLDS
from dipsop.classification.trainer import Epoch, Step, Trainer

WARM_UP = 2  # steps that are slower than those that follow
FORWARD = 0.4  # of the time of a step on the same images, as measured: the way back costs more


class TimeLeft:
    """An estimate from what has been seen.

    Parameters
    ----------
    trainer : Trainer
        Before it goes on.
    listing : float
        Seconds that the list takes, apart from looking at every image once more.

    Attributes
    ----------
    done : float in [0, 1]
        Share of the steps.
    """

    def __init__(self, trainer: Trainer, listing: float) -> None:
        self._all = trainer.config.epochs * trainer.steps_per_epoch
        if trainer.config.network == "pretrained":  # then as many models judge, each trained on the other folds
            self._all *= FOLDS
        self._tests_left = trainer.config.epochs - trainer.epochs_done
        views = 2 if trainer.config.method == "sop+" else 1
        self._seen_in_a_step = trainer.share_batch * trainer.config.shares * views
        self._tests, self._images = len(trainer.data.test_labels), len(trainer.data.given)
        self._listing = listing
        self._steps = trainer.epochs_done * trainer.steps_per_epoch
        self._last = time.monotonic()
        self._cold: list[float] = []
        self._timed, self._spent = 0, 0.0
        self._test_seconds: float | None = None

    @property
    def done(self) -> float:
        """Share of the steps that are done."""
        return min(1.0, self._steps / self._all)

    def see(self, event: Step | Epoch) -> None:
        """Take the time of what was done since the last one."""
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        if isinstance(event, Epoch):
            self._test_seconds, self._tests_left = seconds, self._tests_left - 1
            return
        self._steps += 1
        if len(self._cold) < WARM_UP:
            self._cold.append(seconds)
        else:
            self._timed, self._spent = self._timed + 1, self._spent + seconds

    @property
    def seconds(self) -> float:
        """Seconds left."""
        step = self._spent / self._timed if self._timed else min(self._cold, default=0.0)
        look = FORWARD * step / self._seen_in_a_step  # at one image
        test = self._tests * look if self._test_seconds is None else self._test_seconds
        steps = max(0, self._all - self._steps)
        return steps * step + self._tests_left * test + 2 * self._images * look + self._listing
