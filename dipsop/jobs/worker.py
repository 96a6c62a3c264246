"""A process that restores one picture: it reads the job from stdin, and says what comes of it on stdout, a line of JSON
each. It ends when the process that started it does: stdin is held open by that one alone. (`curve` is another such.)
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from dipsop.compute import tune_process
from dipsop.errors import DipsopError
from dipsop.files import as_json, reason
from dipsop.jobs import restore
from dipsop.jobs.events import Begun, Done, Finishing, Noted, Preview, ShortOfMemory, Stop, Stopped, Written
from dipsop.jobs.job import from_dict

SECONDS_BETWEEN_LINES = 1.0
SECONDS_BETWEEN_QUESTIONS = 0.2  # whether to stop
KILLED = "its process was killed, most likely for lack of memory: close other programs, or scale it down."
MEMORY_EACH = 3 << 29  # of a process: room for a photograph of 24 megapixels in pieces
# Not -m, which puts the folder that a person works in first on the path: a queue.py there would be taken for Python's.
BEGIN = (
    "import runpy, sys; module, root = sys.argv[1:]; root in sys.path or sys.path.insert(0, root); "
    "runpy.run_module(module, run_name='__main__')"
)
ROOT = str(Path(__file__).parents[2])  # of this package, which may be a checkout that is not installed

Task = TypeVar("Task")
Slot = tuple[dict[str, str], int | None]
"""Environment and threads of a process, one of those that run at a time; None leaves the threads to PyTorch."""


def main() -> None:
    """Do the job; when told to terminate, save its state and leave."""
    tune_process()
    told = threading.Event()
    kept = False  # whether there is a state to save

    def note(number: int, frame: object) -> None:
        told.set()
        if not kept:
            os._exit(1)

    signal.signal(signal.SIGTERM, note)
    job = from_dict(json.loads(sys.stdin.readline()))
    leave_with_parent()
    last = 0.0
    try:
        for event in restore.run(job, told.is_set):
            match event:
                case Done(report):
                    say(report)
                case Begun() | Noted() | Preview() | ShortOfMemory() | Finishing() | Written() | Stopped():
                    pass
                case _:  # a step, which holds its fit: it gets no name that would outlast it
                    kept = True
                    if time.monotonic() - last > SECONDS_BETWEEN_LINES:
                        last = time.monotonic()
                        say({"done": event.done, "left": event.seconds_left})
    except DipsopError as error:
        say({"error": str(error)})


def say(what: Mapping[str, Any]) -> None:
    """Write a line to the process that started this one."""
    sys.stdout.write(as_json(what) + "\n")
    sys.stdout.flush()


def leave_with_parent() -> None:
    """End this process when stdin is closed."""

    def wait() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def start(
    job: dict[str, Any], environment: dict[str, str], module: str = "dipsop.jobs.worker"
) -> "subprocess.Popen[str]":
    """Start such a process, out of reach of the terminal's Ctrl-C: who starts it decides."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", BEGIN, module, ROOT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(job) + "\n")
    process.stdin.flush()
    return process


def outcome(process: "subprocess.Popen[str]", hear: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Wait for a process to end; returns its summary, or {"error": a sentence}."""
    complaints: list[str] = []
    last: dict[str, Any] = {}
    with process:  # closes its pipes
        reader = threading.Thread(target=lambda: complaints.extend(process.stderr.readlines()[-20:]))  # type: ignore[union-attr]
        reader.start()
        for line in process.stdout:  # type: ignore[union-attr]
            try:
                said = json.loads(line)
            except ValueError:  # a library's
                continue
            last = said if isinstance(said, dict) else last
            if "done" in last:
                hear(last)
        reader.join()
    if "out" in last or "error" in last:
        return last
    if process.returncode == -9:  # SIGKILL, which not every system has
        return {"error": KILLED}
    why = complaints[-1].strip() if complaints else f"exit status {process.returncode}"
    return {"error": f"its process ended unexpectedly ({why})."}


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def slots(tasks: int, memory: int, at_once: int | None = None, each: int = MEMORY_EACH) -> list[Slot]:
    """Return what the processes get that run at a time: a core each, or more where cores are left over.

    A step is short: two processes of one thread do more in sum than one of two.

    Parameters
    ----------
    tasks : int
    memory : int
        Bytes that all of them together may take.
    at_once : int or None
        How many at most; None: as many as there are cores.
    each : int
        Bytes that one is to have.
    """
    count = max(1, min(tasks, at_once or cores(), memory // each))
    return [({}, max(1, cores() // count))] * count


def side_by_side(
    tasks: Sequence[Task],
    slots: Sequence[Slot],
    asked: Callable[[Task, int | None], dict[str, Any]],
    stop: Stop,
    module: str = "dipsop.jobs.worker",
) -> Generator[tuple[Task, dict[str, Any]], None, None]:
    """Share tasks out over processes, one at a time for each slot; close this iterator, or exhaust it, to end them.

    Parameters
    ----------
    tasks : sequence
    slots : sequence of (environment, threads)
        What the processes get that run at a time.
    asked : callable
        The job of a task, given the threads of its slot.
    stop : callable
        Asked a few times a second: true ends what is under way, and leaves the rest.
    module : str
        What is run.

    Yields
    ------
    (task, line)
        What a task's process says while it runs, with "done", and at its end, with "out" or "error". After a stop only
        what was done at that moment: the others are left, and did not fail.
    """
    waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
    said: queue.SimpleQueue[tuple[Task, dict[str, Any]]] = queue.SimpleQueue()
    running: set[subprocess.Popen[str]] = set()
    over = threading.Event()
    for task in tasks:
        waiting.put(task)

    def work(environment: dict[str, str], threads: int | None) -> None:
        while True:
            try:
                task = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                process = start(asked(task, threads), environment, module)
            except OSError as error:
                said.put((task, {"error": f"its process cannot be started ({reason(error)})."}))
                continue
            running.add(process)
            if over.is_set():  # after those under way were told
                process.terminate()

            def hear(line: dict[str, Any], task: Task = task) -> None:
                said.put((task, line))

            said.put((task, outcome(process, hear)))
            running.discard(process)

    workers = [threading.Thread(target=work, args=slot, daemon=True) for slot in slots]
    for thread in workers:
        thread.start()
    left = len(tasks)
    try:
        while left and not stop():
            try:
                task, line = said.get(timeout=SECONDS_BETWEEN_QUESTIONS)
            except queue.Empty:
                continue
            left -= "done" not in line
            yield task, line
    finally:
        over.set()
        with suppress(queue.Empty):
            while True:
                waiting.get_nowait()
        for process in tuple(running):  # each leaves; one that has a state saves it
            process.terminate()
        for thread in workers:
            thread.join()
    while not said.empty():
        task, line = said.get()
        if "out" in line:
            yield task, line


if __name__ == "__main__":
    main()
