"""The fits under way: each a process of its own over jobs.restore.run, one at a time; the others wait."""

import itertools
import json
import threading
import traceback
from collections.abc import Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from dipsop.errors import DipsopError
from dipsop.files import reason, save_json
from dipsop.jobs import worker
from dipsop.jobs.job import RestoreJob
from dipsop.page import looks

if TYPE_CHECKING:
    import subprocess

Stage = Literal["waiting", "running", "done", "failed", "withdrawn"]


@dataclass(eq=False)
class Fit:
    """A restoration that was asked for.

    Attributes
    ----------
    job : RestoreJob
        Its results lie in a folder of their own.
    called : mapping
        What its owner calls the files, by part of the job: so they stand in the record.
    owner : hashable
        Owners take turns.
    stage : str
        "withdrawn" is a fit that was stopped before its turn came.
    done : float in [0, 1]
    seconds_left : float or None
        None until the first step is taken.
    report, problem
        What came out, or the sentence that says why nothing did.
    stopping : bool
        Whether it was told to stop with what there is.
    number : int
        No other has it.
    """

    job: RestoreJob
    called: Mapping[str, str]
    owner: Hashable
    stage: Stage = "waiting"
    done: float = 0.0
    seconds_left: float | None = None
    report: Mapping[str, Any] | None = None
    problem: str | None = None
    stopping: bool = False
    number: int = field(default_factory=itertools.count(1).__next__)
    _killed: bool = field(default=False, repr=False)
    _process: "subprocess.Popen[str] | None" = field(default=None, repr=False)
    _ended: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def live(self) -> int:
        """A number that changes with the picture so far; 0 where there is none.

        The first is a look without a fit. Where the mask is known that says nothing, and steps are waited for.
        """
        preview = self.job.preview
        if preview is None or (self.job.mask is not None and self.seconds_left is None):
            return 0
        with suppress(OSError):
            return preview.stat().st_mtime_ns
        return 0

    def told(self) -> dict[str, Any]:
        """What the page has to know of it, as JSON has it."""
        names = ("done", "seconds_left", "live", "stopping", "problem")
        return {name: getattr(self, name) for name in names}

    def run(self) -> None:
        """Restore; comes back when the process has ended and what is shown of the result is there."""
        try:
            self._process = worker.start(self.job.as_dict(), {})
            if self._killed:  # while it was started
                self._process.kill()
            outcome = worker.outcome(self._process, self._hear)
            if "error" in outcome:
                self._fail(outcome["error"])
            else:
                self._finish(outcome)
        except DipsopError as error:
            self._fail(str(error))
        except MemoryError:
            self._fail("there was not enough memory to show the result: close other programs, and start it again.")
        except (OSError, ValueError) as error:  # its folder is gone, or no process can be started
            self._fail(f"the restoration could not be followed to its end ({reason(error)}): start it again.")
        except Exception as error:  # a fault of ours: whoever waits has a turn all the same
            traceback.print_exc()
            what = f"{type(error).__name__}: {error}"
            self._fail(f"dipsop met a fault of its own ({what}): start it again, and report it if it comes back.")

    def _hear(self, line: Mapping[str, Any]) -> None:
        self.done, self.seconds_left = line["done"], line["left"]
        if self.stopping and self._process is not None:
            self._process.terminate()

    def _fail(self, why: str) -> None:
        self.problem, self.stage = self._in_words_of_its_owner(why), "failed"

    def _finish(self, report: Mapping[str, Any]) -> None:
        record = self.job.record
        notes = [self._in_words_of_its_owner(note) for note in report.get("notes", ())]
        if record is not None:
            called = as_called(json.loads(record.read_text("utf-8")), self.called)
            save_json(record, called | {"result": called["result"] | {"notes": notes}})
        looks.show_result(self.job.out)
        self.report, self.done, self.stage = {**report, "notes": notes}, 1.0, "done"

    def _in_words_of_its_owner(self, sentence: str) -> str:
        """A sentence that names files as they are called where they came from."""
        for part, name in self.called.items():
            if path := getattr(self.job, part):
                sentence = sentence.replace(str(path), name)
        return sentence

    def stop(self) -> None:
        """End it with the result so far, as soon as there is one."""
        self.stopping = True
        if self.seconds_left is not None and self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """End it with nothing."""
        self._killed = True
        if self._process is not None:
            self._process.kill()

    def end(self) -> None:
        """Note that it touches nothing any more."""
        self._ended.set()

    def wait(self, seconds: float) -> None:
        """Wait until it touches nothing any more."""
        self._ended.wait(seconds)


def as_called(record: dict[str, Any], called: Mapping[str, str]) -> dict[str, Any]:
    """The record with its files as their owner calls them: the folder that they lay in is going to be gone."""
    job = record["job"]
    for part, name in called.items():
        if job[part] is not None:
            job[part] = name
    record["result"]["out"] = called["out"]
    return record | {"job": job | {"preview": None}}


class Fits:
    """Fits that wait for their turn, and the one under way."""

    def __init__(self) -> None:
        self._waiting: list[Fit] = []
        self._running: Fit | None = None
        self._turns: dict[Hashable, int] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def put(self, fit: Fit) -> None:
        """Ask for one."""
        with self._changed:
            self._waiting.append(fit)
            self._changed.notify()

    def ahead_of(self, fit: Fit) -> int:
        """How many wait or run that were asked for before."""
        with self._changed:
            place = self._waiting.index(fit) if fit in self._waiting else 0
            return place + (self._running is not None)

    def stop(self, fit: Fit) -> None:
        """Stop one with what there is; one that waits is withdrawn."""
        if not self._withdraw(fit):
            fit.stop()

    def cancel(self, fit: Fit) -> None:
        """End one with nothing, and wait until it touches no file any more."""
        if not self._withdraw(fit):
            fit.kill()
            fit.wait(10)

    def close(self) -> None:
        """End all of them with nothing."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            running = self._running
            self._changed.notify()
        if running is not None:
            running.kill()
        self._thread.join(10)

    def _withdraw(self, fit: Fit) -> bool:
        with self._changed:
            if fit not in self._waiting:
                return False
            self._waiting.remove(fit)
        fit.stage = "withdrawn"
        fit.end()
        return True

    def _work(self) -> None:
        while (fit := self._next()) is not None:
            try:
                fit.run()
            finally:
                fit.end()
                with self._changed:
                    self._running = None

    def _next(self) -> Fit | None:
        """The first that waits of the owner whose last turn is the longest ago; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            fit = min(self._waiting, key=lambda fit: self._turns.get(fit.owner, 0))
            self._waiting.remove(fit)
            self._turns[fit.owner] = max(self._turns.values(), default=0) + 1
            self._running = fit
            fit.stage = "running"
            return fit
