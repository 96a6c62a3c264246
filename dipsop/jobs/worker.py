"""A process that restores one picture: it reads the job from stdin, and says what comes of it on stdout, a line of JSON
each. It ends when the process that started it does: stdin is held open by that one alone. (`curve` is another such.)
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from dipsop.compute import tune_process
from dipsop.errors import DipsopError
from dipsop.files import as_json
from dipsop.jobs import restore
from dipsop.jobs.events import Begun, Done, Finishing, Preview, ShortOfMemory, Stopped, Written
from dipsop.jobs.job import from_dict

SECONDS_BETWEEN_LINES = 1.0


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
                case Begun() | Preview() | ShortOfMemory() | Finishing() | Written() | Stopped():
                    pass
                case step:
                    kept = True
                    if time.monotonic() - last > SECONDS_BETWEEN_LINES:
                        last = time.monotonic()
                        say({"done": step.done, "left": step.seconds_left})
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
        [sys.executable, "-m", module],
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
            last = json.loads(line)
            if "done" in last:
                hear(last)
        reader.join()
    if "out" in last or "error" in last:
        return last
    if process.returncode == -9:  # SIGKILL, which not every system has
        return {"error": "its process was killed, most likely for lack of memory: say --memory or --jobs 1."}
    why = complaints[-1].strip() if complaints else f"exit status {process.returncode}"
    return {"error": f"its process ended unexpectedly ({why})."}


if __name__ == "__main__":
    main()
