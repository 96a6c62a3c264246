"""What a person decided about suspect labels: a CSV of corrections, as labels.html saves it.

A line for each label that was looked at, sample,given_label,decision,label: `keep` where the given label is right,
`change` where `label` is. Both are trusted from then on.
"""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NoReturn

import numpy as np

from dipsop.classification.dataset import Dataset
from dipsop.errors import DataError
from dipsop.files import printable, reason, shown

COLUMNS = ("sample", "given_label", "decision", "label")


@dataclass(frozen=True)
class Correction:
    """One line of the file, `line` from 1."""

    line: int
    sample: str
    given: str
    label: str


def read(path: Path) -> list[Correction]:
    """Read a CSV of corrections; further columns are passed over.

    Raises
    ------
    DataError
        It cannot be read, or a line is none of a sample, its label, keep or change, and the label that is right.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            reader = csv.DictReader(text, strict=True)
            rows = [(reader.line_num, row) for row in reader]
            heading = reader.fieldnames or ()
    except (OSError, csv.Error) as error:
        why = reason(error) if isinstance(error, OSError) else "no CSV file"
        raise DataError(f"{shown(path)} cannot be read ({why}): give what labels.html saved.") from None
    if not set(COLUMNS) <= set(heading):
        raise DataError(f"{shown(path)} lacks the columns {','.join(COLUMNS)}: give what labels.html saved.")
    return [_correction(path, line, [row[name] or "" for name in COLUMNS]) for line, row in rows]


def _correction(path: Path, line: int, row: Sequence[str]) -> Correction:
    sample, given, decision, label = row
    if (
        not (sample and given and label)
        or decision not in ("keep", "change")
        or (decision == "keep" and label != given)
    ):
        _refuse(path, line, f"is not {','.join(COLUMNS)} with the decision keep or change: mend it")
    return Correction(line, sample, given, label)


def _refuse(path: Path, line: int, what: str) -> NoReturn:
    raise DataError(f"{shown(path)}, line {line} {what}.")


def decisions(path: Path, names: Sequence[str], labels: Sequence[str], classes: Sequence[str]) -> dict[int, str]:
    """Return the labels that the file decides on, by the place of the sample.

    Parameters
    ----------
    path : Path
        The CSV.
    names, labels : N names of the samples, and the labels that they have now
        Paths may be written in another way than in the file, as long as they, or links, lead to the same place.
    classes : names of all classes

    Raises
    ------
    DataError
        The file cannot be read, or a line names a sample, a label or a class that there is none of, or decides twice.
    """
    real = cache(os.path.realpath)  # many lie in one folder

    def place(name: str) -> str:
        return os.path.join(real(os.path.dirname(name)), os.path.basename(name))

    places: dict[str, list[int]] = {}
    for k, name in enumerate(names):
        places.setdefault(place(name), []).append(k)
    found: dict[int, str] = {}
    for one in read(path):
        there = places.get(place(one.sample), [])
        if not there:
            gone = not (one.sample.isdigit() or os.path.lexists(one.sample))
            lost = "not there: put it back, delete the line, or go to the folder that the run was started in"
            why = lost if gone else "not in the data: name the data it is of"
            _refuse(path, one.line, f"names {printable(one.sample)}, which is {why}")
        if one.label not in classes:
            _refuse(path, one.line, f"names the class {printable(one.label)}, which there is none of: mend it")
        now = [k for k in there if labels[k] == one.given]
        if not now:
            _refuse(
                path,
                one.line,
                f"takes {printable(one.sample)} for {printable(one.given)}, here it is {printable(labels[there[0]])}: "
                "give the data and the earlier corrections that it was made with",
            )
        if any(found.get(k, one.label) != one.label for k in now):
            _refuse(path, one.line, f"decides on {printable(one.sample)} once more, in another way: mend it")
        found |= dict.fromkeys(now, one.label)
    return found


def apply(data: Dataset, files: Sequence[Path]) -> Dataset:
    """Return the data with the labels of these files, one after the other, which are trusted.

    Those of images that are set aside for testing are corrected, too: an earlier run may have listed them.

    Raises
    ------
    DataError
        As decisions.
    """
    if not files:
        return data
    count = len(data.given)
    names = data.names + [str(path) for path in data.test_paths or ()]
    labels = np.append(data.given, data.test_labels)
    trusted = np.zeros(len(labels), bool)
    number = {name: k for k, name in enumerate(data.classes)}
    for path in files:
        decided = decisions(path, names, [data.classes[label] for label in labels[: len(names)]], data.classes)
        for k, label in decided.items():
            labels[k], trusted[k] = number[label], True
    return replace(data, given=labels[:count], trusted=trusted[:count], test_labels=labels[count:])
