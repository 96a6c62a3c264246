"""Lets tests import the examples by name, keeps the tiny fits of the tests on one thread, gives pictures."""

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import red_and_blue, status

from dipsop.pictures import images
from dipsop.pictures.picture import Picture

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
# On pictures this small two threads mostly wait for each other, ten times as long where the cores are busy. So in the
# processes that a test starts.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What a command prints is compared as text: where CI or a person asks for colours, and in any width of the terminal.
os.environ |= {"_TYPER_FORCE_DISABLE_TERMINAL": "1", "TERMINAL_WIDTH": "80"}
os.environ.pop("FORCE_COLOR", None)
# Who runs the tests in the background, or under nohup, lets signals be ignored that commands are to hear.
for _name in ("SIGINT", "SIGHUP"):
    if (_number := getattr(signal, _name, None)) and signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _name == "SIGINT" else signal.SIG_DFL)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with clean.png and noisy.png, 32×24 RGB."""
    monkeypatch.chdir(tmp_path)
    rows, columns = np.mgrid[:24, :32]
    clean = np.stack([5 * rows + 60, 4 * columns + 60, 2 * (rows + columns) + 60], -1).astype(np.uint8)
    images.save(Path("clean.png"), Picture.from_array(clean))
    assert status("corrupt", "clean.png", "--out", "noisy.png", "--quiet") == 0
    return tmp_path


@pytest.fixture
def dirty(tmp_path: Path) -> Path:
    """A folder of red and of blue images, three of each in the other's folder."""
    return red_and_blue(tmp_path / "data", each=40, wrong=3)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="drives a browser: pip install playwright")
    if (chromium := shutil.which("chromium")) is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()
