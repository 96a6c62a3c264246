"""What a training run left behind, as other tools read it: the list of suspect labels, or the model."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dipsop import __version__
from dipsop.classification import issues, run_folder
from dipsop.classification.config import ExportFormat
from dipsop.errors import DataError
from dipsop.files import as_json, check_apart, check_suffix, exists, make_folder, save_json, shown, write_atomically
from dipsop.jobs.events import Done, Written

SUFFIXES: dict[ExportFormat, tuple[str, ...]] = {
    "cleanlab": (".csv", ".parquet"),
    "label-studio": (".json",),
    "safetensors": (".safetensors",),
    "onnx": (".onnx",),
}


@dataclass(frozen=True, kw_only=True)
class ExportJob:
    """The folder of a training run, and what it is turned into.

    Parameters
    ----------
    run : Path
    to : str
        "cleanlab", "label-studio" or "fiftyone": the list, as classification.issues says; "safetensors" or "onnx": the
        model, as classification.model_file says.
    out : Path
        The file, by its suffix; for fiftyone a folder.
    """

    run: Path
    to: ExportFormat
    out: Path


def run(job: ExportJob) -> Iterator[Written | Done]:
    """Write the file or the folder.

    Yields
    ------
    Written
        For every file.
    Done
        Its report has `out`, for label-studio the labelling interface and what shows the images, and for fiftyone the
        call that loads it.

    Raises
    ------
    DipsopError
        The folder holds no finished run, the images are gone, a package is missing, or `out` cannot be written.
    """
    if job.to in SUFFIXES:
        check_suffix(job.out, SUFFIXES[job.to])
        check_apart([job.run / name for name in run_folder.FILES], [job.out])
    report = {"out": str(job.out)}
    match job.to:
        case "cleanlab":
            rows = run_folder.load_suspects(job.run)
            columns = issues.cleanlab(rows, run_folder.load_samples(job.run, _classes(job)))
            packed = issues.as_csv(columns) if job.out.suffix.lower() == ".csv" else issues.as_parquet(columns)
            yield from _written(job.out, packed)
        case "label-studio":
            rows = _of_files(job)
            tasks = issues.label_studio(rows, f"dipsop {__version__}")
            report["labelling_interface"] = issues.labelling_interface(_classes(job))
            report["serving"] = issues.serving_label_studio(rows)
            yield from _written(job.out, as_json(tasks, indent=1).encode() + b"\n")
        case "fiftyone":
            contents = issues.fiftyone(_of_files(job), _classes(job))
            make_folder(job.out)
            _check_free(job.out, contents)
            for name, content in contents.items():
                save_json(job.out / name, content)
                yield Written(job.out / name)
            report["loading"] = issues.loading_fiftyone(job.out)
        case model_format:
            from dipsop.classification import model_file
            from dipsop.jobs import trained

            pack = model_file.as_safetensors if model_format == "safetensors" else model_file.as_onnx
            model = trained.load(job.run, "cpu", "float32")
            yield from _written(job.out, pack(model.whole(), model.network, model.classes, model.side))
    yield Done(report)


def _written(path: Path, content: bytes) -> Iterator[Written]:
    write_atomically(path, content)
    yield Written(path)


def _check_free(folder: Path, names: Iterable[str]) -> None:
    """Refuse to replace files of these names that no earlier export has left: other data sets call theirs so, too."""
    there, ours = [path for name in names if exists(path := folder / name)], False
    with suppress(OSError):  # what cannot be read is not ours
        ours = issues.MARK.encode() in (folder / issues.LABELS).read_bytes()
    if there and not ours:
        raise DataError(f"{shown(there[0])} is there already, and not of dipsop: name another folder as --out.")


def _classes(job: ExportJob) -> list[str]:
    classes = run_folder.load_config(job.run).get("classes")
    if not isinstance(classes, list):
        raise DataError(f"{shown(job.run / run_folder.CONFIG)} names no classes: name the folder of a training run.")
    return classes


def _of_files(job: ExportJob) -> list[issues.Row]:
    """The list, which must be one of files."""
    rows = run_folder.load_suspects(job.run)
    if [row["sample"] for row in rows if row["sample"].isdigit()]:
        raise DataError(f"The images of {shown(job.run)} are no files, which {job.to} needs: use --to cleanlab.")
    return rows
