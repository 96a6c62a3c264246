"""CIFAR from its makers' site into the user's cache, on request: with progress, resumed where it broke off, checked."""

import hashlib
import http.client
import os
import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from pathlib import Path

from dipsop.classification.cifar import Layout
from dipsop.errors import DataError
from dipsop.files import shown

CHUNK = 1 << 18  # bytes
TIMEOUT = 30.0  # seconds without a byte
Fetching = Generator[tuple[int, int], None, Path]  # bytes there, bytes in all (0: unknown); in the end the folder


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/dipsop, or ~/.cache/dipsop."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dipsop"


def fetch(layout: Layout, cache: Path) -> Fetching:
    """Fetch and unpack the python layout; a folder that is there already, and not whole, is replaced.

    A file half there is gone on with; one whose checksum is wrong is thrown away. The folder appears when it is whole.

    Parameters
    ----------
    layout : CIFAR10 or CIFAR100
    cache : Path
        Folder of the unpacked one.

    Yields
    ------
    tuple of int
        Bytes that are there, and bytes in all, 0 where that is unknown.

    Returns
    -------
    Path
        The unpacked folder.

    Raises
    ------
    DataError
        No network, no room, or other bytes than the makers'.
    """
    folder = cache / layout.python_folder
    packed = cache / layout.url.rsplit("/", 1)[-1]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        if not (packed.exists() and _md5(packed) == layout.md5):
            yield from _download(layout, packed)
        unpacking = cache / f".{layout.python_folder}.part"
        shutil.rmtree(unpacking, ignore_errors=True)
        with tarfile.open(packed) as tar:
            # Its bytes are the makers', so the filter, which Python has from 3.11.4 on, need not be there.
            tar.extraction_filter = getattr(tarfile, "data_filter", None)
            tar.extractall(unpacking)
        shutil.rmtree(folder, ignore_errors=True)
        (unpacking / layout.python_folder).rename(folder)
        shutil.rmtree(unpacking, ignore_errors=True)
    except urllib.error.URLError as error:
        raise _unreachable(layout, str(error.reason)) from None
    except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise _unreachable(layout, str(error)) from None
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{shown(cache)} cannot hold the data ({error}): make room or set XDG_CACHE_HOME.") from None
    packed.unlink(missing_ok=True)
    return folder


def _download(layout: Layout, packed: Path) -> Iterator[tuple[int, int]]:
    partial = packed.with_name(packed.name + ".part")
    there = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(layout.url, headers={"Range": f"bytes={there}-"} if there else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing beyond what is there: it is whole, or of another file
            raise
        response = None
    if response is not None:
        with response:
            if response.status != 206:
                there = 0
            total = there + int(response.headers.get("Content-Length") or 0)
            with partial.open("ab" if there else "wb") as file:
                while chunk := response.read(CHUNK):
                    file.write(chunk)
                    there += len(chunk)
                    yield there, total
        if total and there < total:
            raise _unreachable(layout, "the connection broke off")
    if _md5(partial) != layout.md5:
        partial.unlink()
        raise DataError(f"{layout.url} sent other bytes than it should: try again, or fetch the file yourself.")
    partial.rename(packed)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _unreachable(layout: Layout, why: str) -> DataError:
    return DataError(
        f"{layout.url} cannot be reached ({why}): try again, which goes on where it broke off, or fetch and unpack it "
        "yourself and name the folder with --data."
    )
