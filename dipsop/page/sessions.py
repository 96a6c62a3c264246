"""Whose pictures are whose: every tab has a folder of its own, under a name nobody can guess, gone when the tab is."""

import secrets
import shutil
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

from dipsop.errors import DipsopError
from dipsop.page.fits import Fits
from dipsop.page.item import Item, tidy

MOST_BYTES = 200 << 20  # of an upload
MOST_PICTURES = 200  # of a tab
MOST_TABS = 50
SECONDS_WITHOUT_SIGN = 3600.0  # a tab that the browser has frozen, or a telephone that is locked, asks nothing at all

GONE = "this tab was closed, or silent for too long, and its pictures are gone: reload the page."


class NotThere(DipsopError):
    """There is no such tab or picture, or it is another person's."""


class Tab:
    """The pictures of one tab.

    Parameters
    ----------
    visitor : str
        The browser that it belongs to.
    folder : Path
        Its own; made here.
    fits : Fits
    """

    def __init__(self, visitor: str, folder: Path, fits: Fits) -> None:
        folder.mkdir(mode=0o700)
        self.visitor, self.folder, self.items = visitor, folder, dict[str, Item]()
        self.seen = time.monotonic()
        self.fits = fits
        self._lock = threading.Lock()

    def add(self, name: str) -> Item:
        """Make room for a picture; DipsopError where there are too many."""
        with self._lock:
            if len(self.items) >= MOST_PICTURES:
                raise DipsopError(f"a tab holds {MOST_PICTURES} pictures at most: take some away first.")
            key = secrets.token_urlsafe(12)
            item = Item(key, self.folder / secrets.token_hex(8), tidy(name))
            item.folder.mkdir()
            self.items[key] = item
            return item

    def item(self, key: str) -> Item:
        """Return a picture by its key; NotThere where there is none."""
        if key not in self.items:
            raise NotThere("this picture is not there any more: drop it again.")
        return self.items[key]

    def remove(self, item: Item) -> None:
        """Take a picture away, with all its files."""
        self.items.pop(item.key, None)
        item.give_up(self.fits)
        shutil.rmtree(item.folder, ignore_errors=True)

    def is_busy(self) -> bool:
        """Whether something is under way for it."""
        fits = [item.fit for item in list(self.items.values())]
        return any(fit is not None and fit.stage in ("waiting", "running") for fit in fits)

    def told(self) -> list[dict[str, Any]]:
        """What the page shows of all of them; of one that is still being read, whoever sent it is told first."""
        return [item.told(self.fits) for item in list(self.items.values()) if item.about or item.problem]

    def packed(self) -> Path:
        """Write all results into a zip, and return where it is.

        Raises
        ------
        DipsopError
            There are none yet.
        """
        files = [entry for item in list(self.items.values()) for entry in item.files().values()]
        if not files:
            raise DipsopError("there are no results yet: wait for the first one.")
        path = self.folder / f"{secrets.token_hex(8)}.zip"
        taken: set[str] = set()
        with zipfile.ZipFile(path, "w") as packed:  # pictures are packed already
            for source, name in files:
                packed.write(source, free_name(name, taken))
        return path


def free_name(name: str, taken: set[str]) -> str:
    """Return a name that is not taken, numbered where it is, and take it; letters' case makes no difference."""
    stem, dot, suffix = name.rpartition(".")
    number, free = 1, name
    while free.lower() in taken:
        number += 1
        free = f"{stem} ({number}){dot}{suffix}"
    taken.add(free.lower())
    return free


class Tabs:
    """All tabs of a server.

    Parameters
    ----------
    folder : Path
        Where their folders are.
    fits : Fits
    """

    def __init__(self, folder: Path, fits: Fits) -> None:
        self.fits = fits
        self._folder = folder
        self._tabs: dict[str, Tab] = {}

    def open(self, visitor: str) -> str:
        """Make a tab and return its key; DipsopError where there are too many."""
        if len(self._tabs) >= MOST_TABS:
            raise DipsopError(f"{MOST_TABS} tabs are open, and no more are served at once: close one.")
        key = secrets.token_urlsafe(24)
        self._tabs[key] = Tab(visitor, self._folder / secrets.token_hex(8), self.fits)
        return key

    def get(self, key: str, visitor: str | None) -> Tab:
        """Return a visitor's tab, which thereby gave a sign of life; NotThere where it is another's or gone."""
        tab = self._tabs.get(key)
        if tab is None or visitor is None or not secrets.compare_digest(tab.visitor.encode(), visitor.encode()):
            raise NotThere(GONE)
        tab.seen = time.monotonic()
        return tab

    def close(self, key: str) -> None:
        """End what a tab has under way, and delete its pictures."""
        tab = self._tabs.pop(key, None)
        if tab is not None:
            for item in list(tab.items.values()):
                tab.remove(item)
            shutil.rmtree(tab.folder, ignore_errors=True)

    def sweep(self) -> None:
        """Close the tabs that gave no sign of life for long."""
        before = time.monotonic() - SECONDS_WITHOUT_SIGN
        for key, tab in list(self._tabs.items()):
            if tab.is_busy():
                tab.seen = time.monotonic()  # a browser puts tabs to sleep: what is made waits for one as long
            elif tab.seen < before:
                self.close(key)

    def close_all(self) -> None:
        """Close them all."""
        self.fits.close()
        for key in list(self._tabs):
            self.close(key)
