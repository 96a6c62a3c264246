"""What a training run leaves behind, each file written whole or not at all:

config.json      what was asked for, and with which version and device
labels.npz       names and labels of the samples, the true labels and which a person decided on, where that is known
checkpoint.pt    θ, (u, v), optimizer, batch statistics, epochs so far: tensors and numbers, no code
metrics.csv      a line per epoch
curves.png       the same, drawn
labels.csv       all samples, the most suspect label first
labels.html      the same with pictures, to go through; labels_files/ beside it has those of large sets
features.npz     what the network "pretrained" sees in the images
summary.json     the last epoch, the best, and how good the list is
"""

import csv
import io
import json
import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dipsop.checkpoint import load_state, save_state
from dipsop.classification.dataset import Dataset
from dipsop.classification.report import COLUMNS, Suspect, as_csv
from dipsop.classification.review import BESIDE, PAGE
from dipsop.classification.trainer import Epoch
from dipsop.errors import DataError
from dipsop.files import csv_bytes, exists, make_folder, reason, save_figure, save_json, shown, write_atomically

CONFIG, LABELS, CHECKPOINT, METRICS = "config.json", "labels.npz", "checkpoint.pt", "metrics.csv"
CURVES, SUSPECTS, SUMMARY, FEATURES = "curves.png", "labels.csv", "summary.json", "features.npz"
FILES = (CONFIG, LABELS, CHECKPOINT, METRICS, CURVES, SUSPECTS, SUMMARY, FEATURES, PAGE)


def is_begun(folder: Path) -> bool:
    """Whether there is a run in that folder; DataError where that cannot be said."""
    try:
        return exists(folder / CONFIG)
    except OSError as error:
        raise DataError(f"{shown(folder)} cannot be looked into ({reason(error)}): choose another --out.") from None


def check_free(folder: Path) -> None:
    """Refuse a folder in which a new run would replace what is not its own.

    What a run leaves that ended before it had begun is: features of the same images, and labels.

    Raises
    ------
    DataError
        Names what is there.
    """
    for name in (*FILES, BESIDE):
        if name != FEATURES and exists(folder / name) and not (name == LABELS and _is_labels(folder)):
            raise DataError(f"{shown(folder / name)} is there, and of no run: choose another --out, a new folder.")


def _is_labels(folder: Path) -> bool:
    try:
        return bool(_load_labels(folder))
    except DataError:
        return False


def begin(folder: Path, config: dict[str, Any], data: Dataset) -> None:
    """Make the folder and write what is known before training."""
    make_folder(folder)
    known = {"given": data.given, "names": np.array(data.names), "true": data.true, "trusted": data.trusted}
    packed = io.BytesIO()
    np.savez_compressed(packed, **{name: values for name, values in known.items() if values is not None})  # type: ignore[arg-type]
    write_atomically(folder / LABELS, packed.getvalue())
    save_json(folder / CONFIG, config)


def save_checkpoint(folder: Path, state: dict[str, Any], epochs: list[Epoch]) -> None:
    """Write the state and the epochs so far, and the metrics anew, so that both are of one moment."""
    save_state(folder / CHECKPOINT, state | {"epochs": [asdict(epoch) for epoch in epochs]})
    write_metrics(folder, epochs)


def load_checkpoint(folder: Path) -> tuple[dict[str, Any], list[Epoch]]:
    """Read the state and the epochs so far.

    Raises
    ------
    DipsopError
        There is none, or the file is damaged.
    """
    path = folder / CHECKPOINT
    state = load_state(path, remedy="train again, with another --out")
    try:
        epochs = [Epoch(**epoch) for epoch in state.pop("epochs")]
    except (KeyError, TypeError):
        raise DataError(f"{shown(path)} is no checkpoint of a training run: choose another --out.") from None
    return state, epochs


def epochs_written(folder: Path) -> int:
    """How many epochs metrics.csv has; 0 where there is none."""
    try:
        return len((folder / METRICS).read_bytes().splitlines()) - 1
    except OSError:
        return 0


def load_config(folder: Path) -> dict[str, Any]:
    """Read config.json; DataError where there is none."""
    path = folder / CONFIG
    try:
        content: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read ({reason(error)}): name the folder of a run.") from None
    except (TypeError, ValueError):
        raise DataError(f"{shown(path)} is damaged: delete the folder, or choose another.") from None
    return content


def is_of(folder: Path, data: Dataset) -> bool:
    """Whether the run was trained on these samples and labels; DataError where that cannot be read."""
    labels = _load_labels(folder)
    nobody = np.zeros(len(data.given), bool)
    trusted = nobody if data.trusted is None else data.trusted
    return (
        np.array_equal(labels["given"], data.given)
        and labels["names"].tolist() == data.names
        and np.array_equal(labels.get("trusted", nobody), trusted)
    )


def load_samples(folder: Path, classes: Sequence[str]) -> list[tuple[str, str]]:
    """Read name and given label of the samples, in the order of the data; DataError where that cannot be read."""
    labels = _load_labels(folder)
    return [(name, classes[k]) for name, k in zip(labels["names"].tolist(), labels["given"].tolist(), strict=True)]


def _load_labels(folder: Path) -> dict[str, NDArray[Any]]:
    """Read labels.npz."""
    try:
        with np.load(folder / LABELS) as packed:
            labels = dict(packed)
        if {"given", "names"} <= labels.keys():
            return labels
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        pass
    raise DataError(f"{shown(folder / LABELS)} is missing or damaged: delete the folder, or choose another --out.")


def write_metrics(folder: Path, epochs: list[Epoch]) -> None:
    """Write metrics.csv."""
    heading = [field.name for field in fields(Epoch)]
    lines = ([f"{value:.6g}" for value in asdict(epoch).values()] for epoch in epochs)
    write_atomically(folder / METRICS, csv_bytes([heading, *lines]))


def write_curves(folder: Path, epochs: list[Epoch]) -> None:
    """Draw accuracies by epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    for name, label in (
        ("given_accuracy", "training, given labels"),
        ("true_accuracy", "training, true labels"),
        ("test_accuracy", "test"),
    ):
        values = [getattr(epoch, name) for epoch in epochs]
        if not all(map(math.isnan, values)):
            axes.plot([epoch.number for epoch in epochs], values, label=label)
    axes.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1))
    axes.grid(True, alpha=0.3)
    axes.legend()
    save_figure(folder / CURVES, figure, dpi=110)


def load_suspects(folder: Path) -> list[dict[str, str]]:
    """Read labels.csv: a mapping of columns to what stands there for each line, the most suspect first.

    Raises
    ------
    DataError
        There is no such list, or the file is damaged.
    """
    path = folder / SUSPECTS
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            rows = [dict(row) for row in csv.DictReader(text, strict=True)]
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read ({reason(error)}): name the folder of a finished run.") from None
    except csv.Error:
        rows = []
    if not rows or any(set(COLUMNS) - row.keys() or None in row.values() for row in rows):
        raise DataError(f"{shown(path)} is damaged: train anew.")
    for number, row in enumerate(rows, 1):
        try:
            int(row["rank"]), float(row["score"]), float(row["given_probability"])
        except ValueError:
            raise DataError(f"{shown(path)}, entry {number} has no number where there was one: restore it.") from None
    return rows


def write_suspects(folder: Path, listed: list[Suspect]) -> None:
    """Write labels.csv."""
    write_atomically(folder / SUSPECTS, as_csv(listed))
