"""A picture on the page: what came in, what the brush made of it, and its runs, each with a folder of its own."""

import re
import secrets
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dipsop.errors import DipsopError, ImageError
from dipsop.page import choices, looks
from dipsop.page.fits import Fit, Fits
from dipsop.pictures.kinds import RAW_SUFFIXES

LAYERS = ("missed", "stay")  # what the brush makes
TAKEN_HOME = ("out", "corruption_map", "record", "mask", "protect")  # parts of a job that its owner can have


def tidy(name: str) -> str:
    """Return a name from outside as a file name that can be shown and offered; it is never used as a path here."""
    last = re.split(r"[/\\]", name)[-1]
    kept = "".join(c for c in last if c.isprintable() and c not in '<>:"|?*').strip().lstrip("-.")
    stem, dot, suffix = kept.rpartition(".")
    return (f"{stem[:100]}{dot}{suffix[:10]}" if stem else kept[:100]) or "picture"


@dataclass(eq=False)
class Item:
    """A picture of a tab.

    Attributes
    ----------
    key : str
        Nobody can guess it.
    folder : Path
        Its files, under names that are ours.
    name : str
        What its owner calls it.
    problem : str or None
        The sentence that says why it cannot be taken.
    about : mapping
        Size, depth and format; empty until it is read.
    suffix : str
        Of its results.
    fit, done : Fit or None
        The last run, and the last that brought a result.
    searched : Path or None
        What the last search found: where a run is told what to fill, that adds to it.
    """

    key: str
    folder: Path
    name: str
    problem: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    suffix: str = ".png"
    fit: Fit | None = None
    done: Fit | None = None
    searched: Path | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _settling: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def source(self) -> Path:
        """The file that came in; a camera's raw file is told from a TIFF by its suffix."""
        suffix = Path(self.name).suffix.lower()
        return self.folder / f"source{suffix if suffix in RAW_SUFFIXES else ''}"

    def layer(self, name: str) -> Path:
        """Where a layer of the brush lies, one of LAYERS; there is no file where nothing was painted."""
        return self.folder / f"{name}.png"

    def read(self) -> None:
        """Take in what came: decode it, and write the first looks."""
        try:
            picture = looks.read(self.source, self.folder)
        except (DipsopError, MemoryError) as error:
            short = isinstance(error, MemoryError)
            self.problem = f"{self.name} takes more memory than there is: scale it down." if short else str(error)
            self.problem = self.problem.replace(str(self.source), self.name).replace(f"{self.folder}/", "")
            self.source.unlink(missing_ok=True)
            return
        height, width, channels = picture.samples.shape
        self.suffix = choices.suffix_of(self.name, picture)
        depth = str(picture.samples.dtype)
        self.about = {"width": width, "height": height, "channels": channels, "depth": depth, "format": picture.format}

    def paint(self, name: str, painted: Path) -> None:
        """Take what the brush made as a layer; an empty file takes the layer away. DipsopError where it is none."""
        if not painted.stat().st_size:
            self.layer(name).unlink(missing_ok=True)
            return
        try:
            looks.check_brush(painted, self.about["height"], self.about["width"])
        except ImageError:
            raise DipsopError(f"what was painted does not fit {self.name}: reload the page.") from None
        painted.replace(self.layer(name))

    def start(self, choice: choices.Choice, owner: str, fits: Fits) -> None:
        """Ask for a run, in the place of one that is under way.

        Raises
        ------
        DipsopError
            The picture cannot be taken, or nothing is left to be filled.
        """
        if not self.about:
            raise DipsopError(self.problem or f"{self.name} is still being read: try again in a moment.")
        with self._lock:
            self._start(choice, owner, fits)

    def _start(self, choice: choices.Choice, owner: str, fits: Fits) -> None:
        self._settle()
        folder = self.folder / secrets.token_hex(8)
        folder.mkdir()
        job = choices.job(choice, self.source, folder, self.suffix, protect=self.layer("stay").exists())
        if job.mask is not None:
            shape = (self.about["height"], self.about["width"], self.about["channels"])
            missed, stay = (self.layer(name) for name in LAYERS)
            looks.save_mask(job.mask, [self.searched, missed], stay, shape)
        if job.protect is not None:
            shutil.copyfile(self.layer("stay"), job.protect)
        self.give_up(fits)
        self._settle()
        with self._settling:
            self.fit = Fit(job, self.called(), owner)
        self._sweep()
        fits.put(self.fit)

    def stop(self, fits: Fits) -> None:
        """Stop with what there is."""
        if self.fit is not None:
            fits.stop(self.fit)

    def give_up(self, fits: Fits) -> None:
        """End what is under way, and keep nothing of it."""
        if self.fit is not None and self.fit.stage in ("waiting", "running"):
            fits.cancel(self.fit)

    def called(self) -> dict[str, str]:
        """What its files are called where its owner has them."""
        return choices.names(self.name, self.suffix)

    def command(self, choice: choices.Choice, stay: bool) -> str:
        """The command line that does what a choice would, and whether the brush marked what is to stay."""
        return choices.command_line(choices.job(choice, self.source, self.folder, self.suffix, stay), self.called())

    def files(self) -> dict[str, tuple[Path, str]]:
        """What can be taken home, by part of the job: where it lies, and what it is called."""
        self._settle()
        paths = {part: getattr(self.done.job, part) if self.done else None for part in TAKEN_HOME}
        return {part: (path, self.called()[part]) for part, path in paths.items() if path is not None}

    def look(self, name: str) -> Path:
        """Where something lies that is shown of it; there may be no such file (any more)."""
        self._settle()
        if name in ("after", "found") and self.done is not None:
            return self.done.job.out.parent / f"{name}.png"
        if name == "live" and self.fit is not None:
            return self.fit.job.out.parent / "live.png"
        if name == "thumb" and self.done is not None:
            return self.done.job.out.parent / "thumb.png"
        if name == "before" and self.about:
            looks.show_once(self.source, self.folder / "before.png")
        return self.folder / f"{name}.png"

    def told(self, fits: Fits) -> dict[str, Any]:
        """All that the page has to know of it, as JSON has it."""
        stage = "refused" if self.problem else self._settle()
        said = {"key": self.key, "name": self.name, "stage": stage, "problem": self.problem, **self.about}
        if self.fit is not None:
            said |= self.fit.told() | {"ahead": fits.ahead_of(self.fit)}
            said["command"] = choices.command_line(self.fit.job, self.called())
        if self.done is not None:
            said |= {"result": self.done.report, "version": self.done.number, "files": list(self.files())}
            stopped = self.done.report is not None and self.done.report["reason"] == "interrupted"
            by_options = choices.command_line(self.done.job, self.called())
            said["result_command"] = choices.command_of_record(self.called()) if stopped else by_options
        return said

    def _settle(self) -> str:
        """Note what became of the last run; returns the stage that was noted, as a run goes on meanwhile."""
        with self._settling:
            fit = self.fit
            if fit is None:
                return "ready"
            stage = fit.stage  # asked once: it may end in the meantime
            if stage == "withdrawn":
                self.fit = self.done
                return "done" if self.done else "ready"
            if stage == "done":
                self.done = fit
                if fit.job.mask is None:
                    self.searched = fit.job.corruption_map
            return stage

    def _sweep(self) -> None:
        """Delete the folders of runs that nothing refers to any more."""
        kept = {fit.job.out.parent for fit in (self.fit, self.done) if fit is not None}
        kept |= {self.searched.parent} if self.searched is not None else set()
        for folder in self.folder.iterdir():
            if folder.is_dir() and folder not in kept:
                shutil.rmtree(folder, ignore_errors=True)
