"""What can be chosen on the page, in plain words; each choice is a config and a command line. No default is here."""

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePath
from typing import Any

from dipsop.errors import DipsopError
from dipsop.jobs.job import RestoreJob
from dipsop.jobs.targets import RESTORED
from dipsop.pictures.encode import FORMATS, fits
from dipsop.pictures.picture import Picture
from dipsop.restoration.config import PRESETS, Config, HeldOut

DEFAULT = next(iter(PRESETS))  # the command line's default is the first of them too, which a test holds
AGAIN = "quick"
NO_OPTIONS = "the options are not what they must be: reload the page."
AGAIN_STEPS = 50  # to fill a known mask: scratches came out at 37.9 dB, and with 200 steps at 37.2

# In words, and what each changes of the config.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "any": ("Specks and noise, of any kind", {}),
    "bright": ("Bright specks alone", {"polarity": "salt"}),
    "dark": ("Dark specks alone", {"polarity": "pepper"}),
    "pixels": ("Dots that hit all colours of a pixel", {"shared_corruption": True}),
    "strokes": ("Scratches, hairs or lettering over a photograph", {"scratches": True}),
}
WORDS_OF_PRESETS = {
    "quick": "Quick: a minute or so",
    "best": "Patient: about six times as long",
    "dip": "From nothing: without what was learned from other pictures, slow",
}
STRENGTHS = {
    0.01: "Only what is plain",
    0.1: "Rather less",
    1.0: "As usual",
    10.0: "Rather more",
    100.0: "All there is a hint of",
}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a person chose.

    Parameters
    ----------
    kind : a key of KINDS
    preset : a key of WORDS_OF_PRESETS
    strength : float > 0
        Factor on the odds of corruption.
    steps : int >= 1, or None
        None: the preset's.
    seed : int, 0 to 2³² − 1
    again : bool
        Fill what the search found and the brush marked, and nothing else; then `kind`, `preset` and `strength` do not
        matter, because nothing is looked for.
    """

    kind: str = next(iter(KINDS))
    preset: str = DEFAULT
    strength: float = HeldOut.strength
    steps: int | None = None
    seed: int = HeldOut.seed
    again: bool = False

    def __post_init__(self) -> None:
        """Raise a DipsopError where there is no such choice."""
        plain = self.kind == "any" and self.strength == HeldOut.strength
        problem = None
        if self.kind not in KINDS:
            problem = f"the kind of damage must be one of {', '.join(KINDS)}"
        elif self.preset not in WORDS_OF_PRESETS:
            problem = f"the preset must be one of {', '.join(WORDS_OF_PRESETS)}"
        elif not 0 < self.strength < math.inf:
            problem = "the strength must be above 0"
        elif self.steps is not None and not 1 <= self.steps <= 1_000_000:
            problem = "the steps must be a number from 1 to 1000000"
        elif not 0 <= self.seed < 2**32:
            problem = "the seed must be a number from 0 to 4294967295"
        elif not _searches(self.preset) and not (plain or self.again):
            problem = f"{self.preset} looks for any kind at the usual strength: choose that, or another preset"
        if problem:
            raise DipsopError(f"{problem}.")

    def config(self) -> Config:
        """The config of the preset, with what was chosen in the place of its own."""
        config = PRESETS[AGAIN if self.again else self.preset]
        steps = self.steps or (AGAIN_STEPS if self.again else config.steps)
        config = replace(config, steps=steps, seed=self.seed)
        if self.again or not isinstance(config, HeldOut):
            return config
        return replace(config, strength=self.strength, **KINDS[self.kind][1])


def chosen(said: Mapping[str, Any]) -> Choice:
    """Return the choice that a page sent; DipsopError where it is none."""
    kinds: dict[str, Any] = {"kind": str, "preset": str, "strength": float, "steps": int, "seed": int, "again": bool}
    try:
        values = {name: kinds[name](said[name]) for name in kinds if said.get(name) is not None}
    except (TypeError, ValueError, OverflowError):
        raise DipsopError(NO_OPTIONS) from None
    return Choice(**values)


def told() -> dict[str, Any]:
    """What there is to choose from, and the defaults, as JSON has it; `searches` are the presets that heed a kind."""
    default = Choice()
    return {
        "kinds": [{"value": name, "words": words} for name, (words, _) in KINDS.items()],
        "presets": [
            {"value": name, "words": words, "steps": PRESETS[name].steps, "searches": _searches(name)}
            for name, words in WORDS_OF_PRESETS.items()
        ],
        "strengths": [{"value": value, "words": words} for value, words in STRENGTHS.items()],
        "defaults": {name: getattr(default, name) for name in ("kind", "preset", "strength", "seed")},
    }


def _searches(preset: str) -> bool:
    return isinstance(PRESETS[preset], HeldOut)


def job(choice: Choice, source: Path, folder: Path, suffix: str, protect: bool) -> RestoreJob:
    """Lay out a run in a folder of its own, under names that are ours.

    Parameters
    ----------
    choice : Choice
    source : Path
    folder : Path
    suffix : str
        Of the result.
    protect : bool
        Whether the brush marked what is to stay; a preset that does not search does not heed it.
    """
    return RestoreJob(
        source=source,
        out=folder / f"restored{suffix}",
        preset=AGAIN if choice.again else choice.preset,
        config=choice.config(),
        mask=folder / "mask.png" if choice.again else None,
        protect=folder / "stay.png" if protect and not choice.again and _searches(choice.preset) else None,
        corruption_map=folder / "found.png",
        preview=folder / "live.png",
        record=folder / "record.json",
    )


def names(name: str, suffix: str) -> dict[str, str]:
    """What the files of a picture are called where its owner has them, by the parts of a job."""
    stem = PurePath(name).stem
    return {
        "source": name,
        "out": f"{stem}{RESTORED}{suffix}",
        "corruption_map": f"{stem}.found.png",
        "preview": f"{stem}.preview.png",
        "record": f"{stem}.record.json",
        "mask": f"{stem}.mask.png",
        "protect": f"{stem}.stay.png",
    }


def suffix_of(name: str, picture: Picture) -> str:
    """The suffix of a result in the format that a picture came in, the picture's own one where it fits.

    A format that is not written, or does not hold all of the picture, becomes PNG or TIFF.
    """
    own = PurePath(name).suffix
    named = [own] if FORMATS.get(own.lower()) == picture.format else []
    others = [suffix for suffix, format in FORMATS.items() if format == picture.format]
    return next(suffix for suffix in (*named, *others, ".png", ".tif") if fits(picture, FORMATS[suffix.lower()]))


def command_of_record(called: Mapping[str, str]) -> str:
    """Return the `dipsop restore ...` that ends where a run was stopped."""
    return shlex.join(["dipsop", "restore", "--from-record", called["record"]])


def command_line(job: RestoreJob, called: Mapping[str, str]) -> str:
    """Return the `dipsop restore ...` that does the same, with files as `called` by part.

    Options at their defaults are left out.
    """
    words = ["dipsop", "restore", called["source"], "--out", called["out"]]
    if job.preset != DEFAULT:
        words += ["--preset", job.preset]
    usual = PRESETS[job.preset]
    for field in fields(usual):
        value = getattr(job.config, field.name)
        if value != getattr(usual, field.name):
            option = "--" + field.name.replace("_", "-")
            words += [option] if value is True else [option, f"{value:g}" if isinstance(value, float) else str(value)]
    for part in ("mask", "protect", "corruption_map", "record"):
        if getattr(job, part) is not None:
            words += ["--" + part.replace("_", "-"), called[part]]
    return shlex.join(words)
