"""Lets tests import the examples by their file names, and keeps the tiny fits of the tests on one thread."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
# On pictures this small two threads mostly wait for each other, ten times as long where the cores are busy.
torch.set_num_threads(1)
