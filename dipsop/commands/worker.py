"""A process that does one job: it reads the job from stdin, tells progress and outcome on stdout, a JSON line each.

It ends when the process that started it does: stdin is held open by that one alone.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from dipsop.commands.tuning import tune_process

SECONDS_BETWEEN_LINES = 1.0


def main() -> None:
    """Do the job."""
    tune_process()
    said = json.loads(sys.stdin.readline())
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    from dipsop.commands.job import from_dict
    from dipsop.commands.restore_job import run
    from dipsop.errors import DipsopError
    from dipsop.restoration.fit import Step

    last = 0.0

    def tell(step: Step) -> None:
        nonlocal last
        if time.monotonic() - last > SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            print(json.dumps({"done": step.done, "left": step.seconds_left}), flush=True)

    try:
        sys.exit(run(from_dict(said), tell=tell))
    except DipsopError as error:
        print(json.dumps({"error": str(error)}))
        sys.exit(1)


def _leave_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def start(job: dict[str, Any], environment: dict[str, str]) -> "subprocess.Popen[str]":
    """Start such a process, out of reach of the terminal's Ctrl-C: who starts it decides."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dipsop.commands.worker"],
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
    if process.returncode < 0 and -process.returncode == 9:
        return {"error": "its process was killed, most likely for lack of memory: say --memory or --jobs 1."}
    why = complaints[-1].strip() if complaints else f"exit status {process.returncode}"
    return {"error": f"its process ended unexpectedly ({why})."}


if __name__ == "__main__":
    main()
