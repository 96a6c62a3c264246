"""The command line, run in this process or in one of its own, and what a folder holds."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from dipsop.cli import main

QUICK = ["--preset", "quick", "--steps", "6", "--device", "cpu"]


def status(*arguments: object) -> int:
    """Run the command line in this process; return its exit status."""
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


def run(arguments: Sequence[object], **options: object) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "dipsop", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload, no-any-return]


@contextmanager
def started(arguments: Sequence[str], cwd: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Start Python in a process of its own, which ends with the block and with all that it started itself.

    It hears Ctrl-C even where the tests do not: a script's background commands ignore it, and so do their children.
    """
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd.resolve(),
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # out of reach of the tests' own signals
        )
    finally:
        signal.signal(signal.SIGINT, former)
    with process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def listing(folder: Path) -> dict[str, bytes]:
    """Everything below a folder, by name."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}
