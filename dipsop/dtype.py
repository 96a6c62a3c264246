"""What a network computes in, by name. Free of torch, so that `dipsop --help` is quick; precision.py uses it."""

from typing import Literal

Dtype = Literal["auto", "bfloat16", "float32"]
