"""CIFAR-10 and CIFAR-100 from a folder, in the official python and binary layouts.

The python layout is made of pickles, and pickles are code: they are read by an unpickler that makes numpy arrays, text
and numbers, and nothing else.
"""

import codecs
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy._core.multiarray
from numpy.typing import NDArray

from dipsop.classification.dataset import Dataset, Images, Labels
from dipsop.errors import DataError
from dipsop.files import reason, shown

PIXELS = 3 * 32 * 32
ANEW = "delete the folder and fetch the data anew"  # the remedy for whatever is wrong with a file


@dataclass(frozen=True)
class Layout:
    """Names of one data set in its two layouts, and where the python one lies, packed."""

    name: str
    classes: int
    python_folder: str
    python_train: tuple[str, ...]
    python_test: str
    python_labels: str
    python_names: tuple[str, str]
    binary_folder: str
    binary_train: tuple[str, ...]
    binary_test: str
    binary_names: str
    url: str
    md5: str  # of the packed file, as the makers give it
    label_bytes: int  # before the pixels of each image in the binary layout; the last is the label


CIFAR10 = Layout(
    name="CIFAR-10",
    classes=10,
    python_folder="cifar-10-batches-py",
    python_train=tuple(f"data_batch_{k}" for k in range(1, 6)),
    python_test="test_batch",
    python_labels="labels",
    python_names=("batches.meta", "label_names"),
    binary_folder="cifar-10-batches-bin",
    binary_train=tuple(f"data_batch_{k}.bin" for k in range(1, 6)),
    binary_test="test_batch.bin",
    binary_names="batches.meta.txt",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    md5="c58f30108f718f92721af3b95e74349a",
    label_bytes=1,
)
CIFAR100 = Layout(
    name="CIFAR-100",
    classes=100,
    python_folder="cifar-100-python",
    python_train=("train",),
    python_test="test",
    python_labels="fine_labels",
    python_names=("meta", "fine_label_names"),
    binary_folder="cifar-100-binary",
    binary_train=("train.bin",),
    binary_test="test.bin",
    binary_names="fine_label_names.txt",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    md5="eb9058c3a382ffc7106e4002c42a8d85",
    label_bytes=2,
)


def find(folder: Path, layout: Layout) -> Path | None:
    """Return the folder with the files, which may be the given one or lie in it; None where there is none.

    A person's own images may have a file `train` beside them, but hardly one with the names of the classes, too.
    """
    of_both = ((layout.python_train[0], layout.python_names[0]), (layout.binary_train[0], layout.binary_names))
    for candidate in (folder, folder / layout.python_folder, folder / layout.binary_folder):
        if any(all((candidate / name).is_file() for name in names) for names in of_both):
            return candidate
    return None


def load(folder: Path, layout: Layout) -> Dataset:
    """Read the whole data set.

    Parameters
    ----------
    folder : Path
        As `find` gives it.
    layout : CIFAR10 or CIFAR100

    Raises
    ------
    DataError
        A file is missing, of another format, or holds labels out of range.
    """
    if (folder / layout.python_train[0]).is_file():
        meta, key = layout.python_names
        train = [_python_batch(folder / name, layout) for name in layout.python_train]
        test = _python_batch(folder / layout.python_test, layout)
        names = [_text(name) for name in _unpickled(folder / meta).get(key, [])]
    else:
        train = [_binary_batch(folder / name, layout) for name in layout.binary_train]
        test = _binary_batch(folder / layout.binary_test, layout)
        names = [line for line in _read(folder / layout.binary_names).decode("utf-8", "replace").split("\n") if line]
    if len(names) != layout.classes:
        raise DataError(f"{shown(folder)} names {len(names)} classes, not the {layout.classes} of {layout.name}.")
    images, labels = (np.concatenate(parts) for parts in zip(*train, strict=True))
    return Dataset(images, labels, labels, tuple(names), *test)


def _python_batch(path: Path, layout: Layout) -> tuple[Images, Labels]:
    batch = _unpickled(path)
    try:
        pixels, labels = np.asarray(batch["data"]), np.asarray(batch[layout.python_labels])
    except (KeyError, ValueError):
        raise _not(path, layout) from None
    return _checked(path, layout, pixels, labels)


def _binary_batch(path: Path, layout: Layout) -> tuple[Images, Labels]:
    data, record = np.frombuffer(_read(path), np.uint8), layout.label_bytes + PIXELS
    if len(data) == 0 or len(data) % record:
        raise _not(path, layout)
    rows = data.reshape(-1, record)
    return _checked(path, layout, rows[:, layout.label_bytes :], rows[:, layout.label_bytes - 1])


def _checked(path: Path, layout: Layout, pixels: NDArray[Any], labels: NDArray[Any]) -> tuple[Images, Labels]:
    fits = pixels.dtype == np.uint8 and pixels.ndim == 2 and pixels.shape[1] == PIXELS
    if not fits or labels.shape != (len(pixels),) or labels.dtype.kind not in "iu" or not len(labels):
        raise _not(path, layout)
    if labels.min() < 0 or labels.max() >= layout.classes:
        raise DataError(f"{shown(path)} holds labels outside 0 to {layout.classes - 1}: {ANEW}.")
    return np.ascontiguousarray(pixels).reshape(-1, 3, 32, 32), labels.astype(np.int64)


def _unpickled(path: Path) -> dict[str, Any]:
    try:
        content = _ArraysOnly(path).load_checked()
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read ({reason(error)}): {ANEW}.") from None
    except Exception as error:  # a broken pickle may raise anything
        raise DataError(f"{shown(path)} is no CIFAR file ({type(error).__name__}): {ANEW}.") from None
    if not isinstance(content, dict):
        raise DataError(f"{shown(path)} is no CIFAR file: {ANEW}.")
    return {_text(key): value for key, value in content.items()}


def _text(value: object) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _latin1(text: str, encoding: str) -> bytes:
    """What pickles of Python 2 text need of `codecs.encode`."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(encoding)
    return codecs.encode(text, "latin1")


class _ArraysOnly(pickle.Unpickler):
    """Makes arrays, text, numbers, lists and dicts; refuses every other name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb")
        super().__init__(self._file, encoding="bytes")

    def load_checked(self) -> object:
        with self._file:
            return self.load()

    def find_class(self, module: str, name: str) -> Any:
        admitted = {
            "_reconstruct": numpy._core.multiarray._reconstruct,
            "ndarray": np.ndarray,
            "dtype": np.dtype,
        }
        if module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray") and name in admitted:
            return admitted[name]
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        self._refuse(f"{module}.{name}")

    def _refuse(self, name: str) -> NoReturn:
        raise DataError(f"{shown(self._path)} asks to run {name!r}, which no CIFAR file does: do not use it.")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read ({reason(error)}): {ANEW}.") from None


def _not(path: Path, layout: Layout) -> DataError:
    return DataError(f"{shown(path)} is no file of {layout.name}: {ANEW}.")
