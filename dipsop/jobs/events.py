"""What a job says while it runs. Beside these, the steps of a fit (restoration.fit.Step) and the epochs of a training
(classification.trainer.Epoch) are events themselves.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Stop = Callable[[], bool]
"""Asked between steps: true ends the job early, with what there is by then."""


def never() -> bool:
    """Do not stop."""
    return False


@dataclass(frozen=True)
class Begun:
    """What was asked for has been read and checked; from now on there are steps."""

    steps: int  # of all the work: optimizer steps, epochs or pictures
    title: str = ""  # of this part of the work, where it has several


@dataclass(frozen=True)
class Noted:
    """Something about what was read that a person should know; the work goes on."""

    sentence: str


@dataclass(frozen=True)
class Preview:
    """The picture so far was written."""

    path: Path


@dataclass(frozen=True)
class ShortOfMemory:
    """There was not enough memory: the work begins anew in smaller pieces."""

    most_pixels: int  # of a piece


@dataclass(frozen=True)
class Finishing:
    """The last step is done; what is left is the last prediction and the writing."""

    stopped: bool  # by `stop()`


@dataclass(frozen=True)
class Advice:
    """What would serve better than what was asked for; the work goes on."""

    sentence: str


@dataclass(frozen=True)
class Looking:
    """Features of images are being made."""

    done: int  # images
    of: int
    seconds_left: float


@dataclass(frozen=True)
class Fetching:
    """A download goes on."""

    there: int  # bytes
    total: int  # bytes; 0 where unknown


@dataclass(frozen=True)
class Saving:
    """A state is about to be written: not a moment to be interrupted at. It is written when the next event comes."""


@dataclass(frozen=True)
class Written:
    """A file of the result is there."""

    path: Path


@dataclass(frozen=True)
class Progress:
    """One picture of many is under way."""

    source: Path
    done: float  # share of its budget, [0, 1]
    seconds_left: float


@dataclass(frozen=True)
class Underway:
    """How far the parts of the work are that go side by side, or one after the other."""

    done: float  # share of all, [0, 1]
    seconds_left: float
    parts: str  # in words, those under way


@dataclass(frozen=True)
class DeadPixels:
    """What is dead in all pictures of a series is known; from now on each of them is restored."""

    path: Path  # the map
    fraction: float  # of the values
    frames: int  # that were looked at; 0 where the map was there already


@dataclass(frozen=True)
class Restored:
    """One picture of many is done."""

    source: Path
    out: Path
    report: Mapping[str, Any]


@dataclass(frozen=True)
class Skipped:
    """The result of one picture of many was there."""

    source: Path
    out: Path


@dataclass(frozen=True)
class Failed:
    """One picture of many could not be restored; the others are."""

    source: Path
    out: Path
    why: str  # a sentence with the remedy


@dataclass(frozen=True)
class Done:
    """The job is at its end; `report` says what came out, in what JSON has (floats may be infinite or NaN)."""

    report: Mapping[str, Any]


@dataclass(frozen=True)
class Stopped:
    """`stop()` ended the job before there was a result; where the job has a checkpoint, it can be gone on with."""

    completed: int  # steps, epochs or methods
    of: int
