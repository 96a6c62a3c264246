"""The command line, run in this process or in one of its own, and what a folder holds."""

import subprocess
import sys
from collections.abc import Sequence
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


def listing(folder: Path) -> dict[str, bytes]:
    """Everything below a folder, by name."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}
