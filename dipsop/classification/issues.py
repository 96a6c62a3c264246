"""The list of suspect labels as other tools read it. Keys and columns stay as they are within a version.

cleanlab         CSV or Parquet, a line per sample in the order of the data, as Datalab.get_issues("label") has it, with
                 the name of the sample before: sample, is_label_issue, label_score (from 0, the most suspect label, to
                 1, the least: its place among all), given_label, predicted_label
label-studio     tasks, the most suspect first, each with the suggested class as a prediction: data has image (a URL of
                 local files, their document root being /), sample, given_label, rank, score; meta has the version
fiftyone         labels.json and data.json of a FiftyOneImageClassificationDataset, for from_dir with the data_path
                 data.json, without which it looks for a folder data/: under labels, for each sample, the given label,
                 the probability that the network gives it as confidence, and as attributes rank, score,
                 suggested_label, is_label_issue; beside them the version
"""

import io
import os
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from dipsop.errors import DataError, DipsopError
from dipsop.files import csv_bytes, printable, shown

VERSION = 1
MARK = "dipsop_export_version"  # by which an export is known as ours
LABELS = "labels.json"  # of FiftyOne, beside data.json
COLUMNS = ("sample", "is_label_issue", "label_score", "given_label", "predicted_label")
Row = dict[str, str]  # a line of labels.csv


def is_issue(row: Row) -> bool:
    """Whether a label counts as wrong."""
    return row["wrong"] == "yes"


def label_score(row: Row, of: int) -> float:
    """Place of a label among all, from 0, the most suspect, to 1, the least."""
    return (int(row["rank"]) - 1) / max(1, of - 1)


def cleanlab(rows: Sequence[Row], samples: Sequence[tuple[str, str]]) -> dict[str, list[Any]]:
    """Return the columns in the order of the data.

    Parameters
    ----------
    rows : of labels.csv
    samples : names and given labels, in the order of the data
        One may stand there twice, with the same label or another.
    """
    waiting: dict[tuple[str, str], deque[Row]] = {}
    for row in rows:
        waiting.setdefault((row["sample"], row["given_label"]), deque()).append(row)
    ordered = [waiting[sample].popleft() for sample in samples if waiting.get(sample)]
    ordered += [row for left in waiting.values() for row in left]  # of a list that was edited
    values = [
        (row["sample"], is_issue(row), label_score(row, len(rows)), row["given_label"], row["suggested_label"])
        for row in ordered
    ]
    return dict(zip(COLUMNS, map(list, zip(*values, strict=True)), strict=True))


def as_csv(columns: dict[str, list[Any]]) -> bytes:
    """Those columns as CSV with a heading."""
    return csv_bytes([columns, *zip(*columns.values(), strict=True)])


def as_parquet(columns: dict[str, list[Any]]) -> bytes:
    """Those columns as Parquet; DipsopError where pyarrow is not installed, or a name is no text, as Parquet's are."""
    names = (name for column in columns.values() for name in column if isinstance(name, str))
    _check_text(names, "which names in Parquet have to be: name a .csv instead")
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise DipsopError("Parquet needs the package pyarrow: pip install pyarrow, or name a .csv.") from None
    packed = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), packed)
    return packed.getvalue()


def _check_text(names: Iterable[str], why: str) -> None:
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DipsopError(f"{printable(name)} is not UTF-8, {why}.") from None


def label_studio(rows: Sequence[Row], model: str) -> list[dict[str, Any]]:
    """Return the tasks; `model` is what the predictions are said to come from."""
    return [
        {
            "data": {
                "image": "/data/local-files/?d=" + quote(os.fsencode(_there(row["sample"])).lstrip(b"/")),
                "sample": row["sample"],
                "given_label": row["given_label"],
                "rank": int(row["rank"]),
                "score": float(row["score"]),
            },
            "meta": {MARK: VERSION},
            "predictions": [
                {
                    "model_version": model,
                    "score": label_score(row, len(rows)),  # Label Studio takes the lowest first
                    "result": [
                        {
                            "from_name": "label",
                            "to_name": "image",
                            "type": "choices",
                            "value": {"choices": [row["suggested_label"]]},
                        }
                    ],
                }
            ],
        }
        for row in rows
    ]


def labelling_interface(classes: Sequence[str]) -> str:
    """The labelling interface that those tasks fit, in Label Studio's XML, on one line; DipsopError as as_parquet."""
    _check_text(classes, "which classes in Label Studio have to be: give the class another name, and train anew")
    choices = "".join(f"<Choice value={quoteattr(name)}/>" for name in classes)
    return (
        '<View><Image name="image" value="$image"/><Header value="given: $given_label"/>'
        f'<Choices name="label" toName="image" choice="single">{choices}</Choices></View>'
    )


def serving_label_studio(rows: Sequence[Row]) -> str:
    """What Label Studio needs in order to show those images, in a few words: it serves none that it is not told of."""
    folder = os.path.commonpath([os.path.dirname(os.path.abspath(row["sample"])) for row in rows])
    return (
        "start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and "
        f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=/, and add {shown(Path(folder))} to the project as a local storage"
    )


def fiftyone(rows: Sequence[Row], classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return what is in LABELS and in data.json; DataError where a given label is no class."""
    number = {name: k for k, name in enumerate(classes)}
    if unknown := [row["given_label"] for row in rows if row["given_label"] not in number]:
        raise DataError(f"{printable(unknown[0])} is no class of the run: restore its labels.csv, or train anew.")
    labels = {
        f"{int(row['rank']):06d}": {
            "label": number[row["given_label"]],
            "confidence": float(row["given_probability"]),
            "attributes": {
                "rank": int(row["rank"]),
                "score": float(row["score"]),
                "suggested_label": row["suggested_label"],
                "is_label_issue": is_issue(row),
            },
        }
        for row in rows
    }
    files = {f"{int(row['rank']):06d}": _there(row["sample"]) for row in rows}
    return {
        LABELS: {MARK: VERSION, "classes": list(classes), "labels": labels},
        "data.json": files,
    }


def loading_fiftyone(folder: Path) -> str:
    """The call that loads those files, in Python, on one line."""
    return (
        f"fiftyone.Dataset.from_dir({os.path.abspath(folder)!a}, fiftyone.types.FiftyOneImageClassificationDataset, "
        'data_path="data.json")'
    )


def _there(sample: str) -> str:
    """The path of a sample from the root; DataError where it is gone."""
    if not os.path.isfile(sample):
        raise DataError(
            f"{shown(Path(sample))} is not there any more: go to the folder that the run was started in, or restore it."
        )
    return os.path.abspath(sample)
