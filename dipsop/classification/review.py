"""labels.html: the list of suspect labels with pictures, for a person to go through in a browser.

One file that needs no server and takes nothing from outside. It holds the pictures of the most suspect labels; those
of all others lie beside it in labels_files/, as scripts, since a page that was opened as a file may load nothing else.
What is decided there stays in the browser until it is saved as a CSV of corrections.
"""

import base64
import hashlib
import io
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from dipsop.classification import image_folder
from dipsop.classification.dataset import Dataset
from dipsop.classification.report import Suspect
from dipsop.errors import DataError
from dipsop.files import as_json, make_folder, write_atomically

PAGE, BESIDE = "labels.html", "labels_files"
PARTS = ("page.html", "page.css", "state.js", "list.js", "decide.js", "pairs.js", "page.js")
IN_PAGE = 1000  # pictures within the page: some megabytes
CHUNK = 500  # pictures in each file beside it
FROM_FILES = 2000  # whole pictures, read once more; of all others there is what the network saw
PACKING, READING = 4e-4, 4e-3  # seconds for a small picture, and to read it from a photograph of a megapixel
SIDE, SMALL = 192, 64  # pixels of a picture that is read once more, and of another, at most


def write(
    folder: Path,
    listed: Sequence[Suspect],
    data: Dataset,
    source: str,
    commands: Sequence[str] = (),
    saved_as: str = "corrections.csv",
) -> None:
    """Write the page, and what lies beside it.

    Parameters
    ----------
    folder : Path
        Of the run.
    listed : sequence of Suspect
        All samples, the most suspect first.
    data : Dataset
        Their images; those that have not been read come from their files.
    source : str
        What the data was asked for by.
    commands : sequence of str
        What goes on from the corrections, as it is shown at the page's end.
    saved_as : str
        Name of the file that the page saves the decisions in.

    Raises
    ------
    DipsopError
        As write_atomically.
    """
    place = {name: k for k, name in enumerate(data.names)}
    pictures = (_picture(data, place[one.sample], rank) for rank, one in enumerate(listed))
    inside = [next(pictures) for _ in listed[:IN_PAGE]]
    beside = folder / BESIDE
    shutil.rmtree(beside, ignore_errors=True)  # of the list before
    for number, chunk in enumerate(_chunks(pictures)):
        make_folder(beside)
        write_atomically(beside / f"{number}.js", f"pictures({number},{_as_script(chunk)})\n".encode())
    content = _content(folder, listed, data, source, commands, saved_as)
    write_atomically(folder / PAGE, _page(content, inside).encode())


def seconds(data: Dataset, loading: float) -> float:
    """Roughly how long writing the page takes, where reading all images took `loading` seconds."""
    count = len(data.given)
    if data.paths is None:
        return PACKING * count
    if not data.images.size:  # not read so far
        return (PACKING + READING) * count
    return min(1.0, FROM_FILES / count) * loading + PACKING * count


def _content(
    folder: Path, listed: Sequence[Suspect], data: Dataset, source: str, commands: Sequence[str], saved_as: str
) -> dict[str, Any]:
    """All but the pictures, as columns."""
    number = {name: k for k, name in enumerate(data.classes)}
    content = {
        "version": 1,
        "data": source,
        "commands": list(commands),
        "saved_as": saved_as,
        "home": None if data.paths is None else _way_home(folder),
        "in_page": IN_PAGE,
        "chunk": CHUNK,
        "beside": BESIDE,
        "classes": list(data.classes),
        "samples": [one.sample for one in listed],
        "given": [number[one.given] for one in listed],
        "suggested": [number[one.suggested] for one in listed],
        "score": [round(one.score, 4) for one in listed],
        "probability": [round(one.probability, 4) for one in listed],
    }
    # What was decided is kept under the name of this very list, wherever it lies and whatever else the page says.
    of_list = {key: content[key] for key in ("data", "classes", "samples", "given")}
    return content | {"run": hashlib.sha256(as_json(of_list).encode()).hexdigest()[:16]}


def _way_home(folder: Path) -> str | None:
    """From the page to the folder that the paths of the samples start at, as a URL; None where there is no such way."""
    try:
        return quote(os.fsencode(os.path.relpath(Path.cwd(), os.path.realpath(folder)).replace(os.sep, "/"))) + "/"
    except ValueError:  # another drive
        return None


def _page(content: dict[str, Any], inside: list[str]) -> str:
    parts = files("dipsop.classification") / "labels_page"
    page, style, *scripts = ((parts / name).read_text(encoding="utf-8") for name in PARTS)
    fillings = {"STYLE": style, "SCRIPT": "\n".join(scripts), "RUN": _as_script(content), "INSIDE": _as_script(inside)}
    return re.sub(r"/\*([A-Z]+)\*/", lambda hole: fillings[hole[1]], page)


def _as_script(value: Any) -> str:
    """JSON that may stand in a script: no name of a file can end it."""
    return as_json(value).replace("<", "\\u003c")


def _chunks(pictures: Iterator[str]) -> Iterator[list[str]]:
    while chunk := list(islice(pictures, CHUNK)):
        yield chunk


def _picture(data: Dataset, k: int, rank: int) -> str:
    """A picture as base64 of WebP: whole from its file, or, for what is less suspect or gone, as the network saw it."""
    side = SIDE if rank < FROM_FILES else SMALL
    seen = data.images[k]
    picture = Image.fromarray(seen.transpose(1, 2, 0)) if seen.size else Image.new("RGB", (SMALL, SMALL), "grey")
    if data.paths is not None and (rank < FROM_FILES or not seen.size):
        with suppress(DataError):
            picture = image_folder.thumbnail(data.paths[k], side)
    picture.thumbnail((side, side))
    packed = io.BytesIO()
    picture.save(packed, "WEBP", quality=80 if max(picture.size) > SMALL else 92, method=2)
    return base64.b64encode(packed.getvalue()).decode()
