"""A file of a picture, open to be decoded: in silence, and every damage in a sentence."""

import hashlib
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dipsop.errors import ImageError
from dipsop.files import reason, shown
from dipsop.pictures.decode import DECODING_ERRORS

_SILENCE = threading.Lock()


@dataclass(frozen=True)
class Source:
    """An open file of a picture.

    Attributes
    ----------
    file : binary file
    path : Path
    stamp : (int, int)
        Size and time of its last change, when it was opened.
    digest : str or None
        SHA-256 of its bytes.
    """

    file: BinaryIO
    path: Path
    stamp: tuple[int, int]
    digest: str | None

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """Within, decoders are silent, and what they raise becomes an ImageError."""
        with _silence():
            try:
                yield
            except DECODING_ERRORS as error:
                if _stamp(self.file) == self.stamp:
                    raise ImageError(f"{shown(self.path)} {_problem(error)}.") from error
        if _stamp(self.file) != self.stamp:
            raise ImageError(f"{shown(self.path)} changed while it was read: try again when it is complete.")


@contextmanager
def opened(path: Path, hashed: bool = True) -> Iterator[Source]:
    """Open a file, and read it once for its SHA-256 if that is wanted.

    Raises
    ------
    ImageError
        It is missing, empty, a folder, no regular file, or closed to us.
    """
    path = Path(path)
    _check_readable(path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise ImageError(f"{shown(path)} cannot be opened ({reason(error)}): check its permissions.") from None
    with file:
        stamp = _stamp(file)
        try:
            digest = hashlib.file_digest(file, "sha256").hexdigest() if hashed else None
            file.seek(0)
        except OSError as error:
            raise ImageError(f"{shown(path)} cannot be read ({reason(error)}): copy it again.") from None
        yield Source(file, path, stamp, digest)


def _problem(error: BaseException) -> str:
    """What the error of a decoder means, and what to do; damage, too, can ask for more memory than there is."""
    if isinstance(error, MemoryError):
        return "takes more memory than there is, unless it is damaged: end other programs, or scale it down"
    return "is damaged or cut short: copy or export it again"


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what the libraries think of odd files to themselves; libtiff and libpng write it straight to stderr.

    stderr is shared by all threads, hence the lock: two that swapped it at once could leave it swapped.
    """
    with _SILENCE, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            kept = os.dup(2)
        except OSError:  # closed, so nothing can be heard
            yield
            return
        try:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _stamp(file: BinaryIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _check_readable(path: Path) -> None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError(f"{shown(path)} does not exist: check the name.") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise ImageError(f"{shown(path)} cannot be opened ({reason(error)}): check its name and permissions.") from None
    if stat.S_ISDIR(found.st_mode):
        raise ImageError(f"{shown(path)} is a folder: name one picture in it.")
    if not stat.S_ISREG(found.st_mode):
        raise ImageError(f"{shown(path)} is not a regular file: save the picture to one first.")
    if found.st_size == 0:
        raise ImageError(f"{shown(path)} is empty: copy or export it again.")
