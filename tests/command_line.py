"""The command line, run in this process or in one of its own, and folders: filled, and what they hold."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dipsop.cli import main

CLASSIFY = ("--size", 16, "--batch", 16, "--lr", 0.05, "--dtype", "float32")
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


def until(true: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something holds; fail where it takes too long."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def red_and_blue(folder: Path, each: int, wrong: int, between: str = "") -> Path:
    """Fill a folder with red and with blue images, a folder for either, the first of each in the other's."""
    random = np.random.default_rng(0)
    for k in range(each):
        for name, other, channel in (("red", "blue", 0), ("blue", "red", 2)):
            pixels = random.integers(0, 120, (18, 20, 3)).astype(np.uint8)
            pixels[..., channel] += 100
            path = folder / (other if k < wrong else name) / f"{name}{between}{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return folder


def listing(folder: Path) -> dict[str, bytes]:
    """Everything below a folder, by name."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}
