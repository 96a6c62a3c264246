"""Methods × pictures × corruptions: PSNR, seconds and peak memory, as a table and as JSON.

    python examples/benchmark_restoration.py --out benchmark
    python examples/benchmark_restoration.py --images mine/*.png --corruptions random-valued:0.3 --methods ours:best

Every run has a fresh process of its own, one at a time, so that its peak memory is its own. PSNR is in dB over all
channels; "inner" leaves out the outer 8 pixels, where scans often have a frame of wrong values. Pictures are corrupted
with the seed and rounded to 8 bits, as a file holds them. Rivals see what ours sees, and get settings by the truth
(rivals.py); "extremes filled" knows which values to distrust: 0 and 1. Ours is never told anything.

It prints the table of what was asked for; benchmark.md in --out has all that was ever measured there. "Below peak" is
by how much a fit ends below the best of its course, at most.

Methods: the rivals, PD-Denoising where --pd-denoising says where its weights lie; ours:PRESET; ours:random-start, quick
without the pretrained weights; DIP-l1 and DIP-l2, the deep image prior; the fits also as METHOD*K, with K times the
steps, and PSNR measured along the way: what it has at its peak and at its end shows whether it had to be stopped. The
whole table takes a day on two cores: runs that the record in --out already has are not made again, so it can be
interrupted.
"""

import argparse
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from rivals import PACKAGES, PD_WEIGHTS, RIVALS

import dipsop
from dipsop.compute import tune_process
from dipsop.files import save_json
from dipsop.pictures import images, noise
from dipsop.pictures.picture import Array
from dipsop.pictures.quality import psnr
from dipsop.restoration.config import DEMO, RANDOM_START_STEPS, Config

FRAME = 8  # pixels left out on each side for "inner"
MOST_PSNR = 99.0  # a picture that is the truth, bit for bit
LOOKS = 10  # how often a course is looked at
SAMPLES = Path(__file__).parents[1] / "images"
PICTURES = [SAMPLES / f"{name}.png" for name in ("astronaut", "chelsea", "coffee", "camera")]
CORRUPTIONS = [
    *("salt-and-pepper:0.3", "salt-and-pepper:0.5", "salt-and-pepper:0.7"),
    *("random-valued:0.1", "random-valued:0.3", "random-valued:0.5"),
    *("random-valued:0.3:shared", "random-valued:0.3:grey", "scratches", "soft-scratches", "none"),
]
STROKES = {
    "scratches": "scratches and lettering, 5 % of the pixels",
    "soft-scratches": "the same, soft-edged and half-transparent",
}
QUICK = cast(dipsop.HeldOut, dipsop.PRESETS["quick"])
FITS: dict[str, Config] = {
    **{f"ours:{name}": config for name, config in dipsop.PRESETS.items()},
    "ours:random-start": replace(QUICK, pretrained=False, steps=RANDOM_START_STEPS),
    **{name: DEMO[name] for name in ("DIP-l2", "DIP-l1")},
}
METHODS = [
    *(*(name for name in RIVALS if name != "PD-Denoising"), "DIP-l2*1", "DIP-l1*1"),
    *("ours:dip", "ours:random-start", "ours:quick", "ours:best*1"),
]


@dataclass(frozen=True)
class Run:
    """One method on one corrupted picture.

    PSNR in dB, of the result and, where the course was looked at, at its peak (inner); seconds; peak memory in bytes;
    share of the clean values that were changed; the course, (step, PSNR inner) each time it was looked at; the day.
    """

    picture: str
    corruption: str
    method: str
    psnr: float
    psnr_inner: float
    peak_inner: float | None
    seconds: float
    peak_memory: int
    clean_changed: float
    course: Sequence[tuple[int, float]] | None = None
    date: str | None = None


def corrupted(clean: Array, corruption: str, seed: int) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return truth, corrupted picture at 8 bits, and where it was hit.

    `corruption` is kind:fraction[:shared][:grey], scratches, soft-scratches, or none; with "grey" the truth is the
    picture's grey one.
    """
    kind, *details = corruption.split(":")
    if "grey" in details and clean.shape[-1] == 3:
        luma = clean @ np.array([[0.299], [0.587], [0.114]], np.float32)
        clean = (np.rint(255 * luma) / 255).astype(np.float32)
    if kind == "none":
        values, mask = clean, np.zeros(clean.shape, bool)
    elif kind in STROKES:
        values, mask = noise.scratches_and_lettering(clean, seed=seed, soft=kind == "soft-scratches")
    else:
        values, mask = noise.MODELS[kind](clean, float(details[0]), seed, shared="shared" in details)
    return clean, (np.rint(values * 255) / 255).astype(np.float32), np.broadcast_to(mask, clean.shape)


def inner(picture: Array) -> Array:
    """Without the outer pixels."""
    return picture[FRAME:-FRAME, FRAME:-FRAME]


def fitted(image: Array, truth: Array, config: Config, times: int) -> tuple[Array, list[tuple[int, float]] | None]:
    """Return the end of a fit, and its course where `times` is given (0: do not look)."""
    if not times:
        return dipsop.restore(image, config).image, None
    config = replace(config, steps=times * config.steps)
    course = []
    for step in dipsop.iter_restore(image, config):
        if step.iteration % max(1, config.steps // LOOKS) == 0 or step.iteration == config.steps:
            # What ours would write if it were stopped here. The deep image prior has found nothing: its output is all.
            plain = isinstance(config, dipsop.WholeImage) and config.alpha == 0
            picture = step.network_output() if plain else step.restoration().image
            course.append((step.iteration, min(psnr(inner(picture), inner(truth)), MOST_PSNR)))
    return picture, course


def measure(path: Path, corruption: str, name: str, seed: int, steps: int | None, side: int | None) -> Run:
    """Run one method on one picture, in this process."""
    tune_process()
    truth, image, mask = corrupted(images.load(path).values[:side, :side], corruption, seed)
    start = time.perf_counter()
    course = None
    if name in RIVALS:
        picture = RIVALS[name](image, truth)
    else:
        fit, _, times = name.partition("*")
        config = FITS[fit] if steps is None else replace(FITS[fit], steps=steps)
        picture, course = fitted(image, truth, config, int(times or 0))
    seconds = time.perf_counter() - start
    picture = picture.clip(0, 1).astype(np.float32)
    return Run(
        picture=path.stem,
        corruption=corruption,
        method=name,
        psnr=min(psnr(picture, truth), MOST_PSNR),
        psnr_inner=min(psnr(inner(picture), inner(truth)), MOST_PSNR),
        peak_inner=None if course is None else max(value for _, value in course),
        seconds=seconds,
        peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        clean_changed=float(np.mean(picture[~mask] != image[~mask])),
        course=course,
        date=time.strftime("%Y-%m-%d"),
    )


def benchmark(
    pictures: Sequence[Path],
    corruptions: Sequence[str] = CORRUPTIONS,
    methods: Sequence[str] = METHODS,
    seed: int = 0,
    steps: int | None = None,
    side: int | None = None,
    known: Sequence[Run] = (),
) -> Iterator[Run]:
    """Run every method on every corrupted picture, each in a fresh process; quick ones first, methods in their order.

    Parameters
    ----------
    pictures : paths of clean pictures
    corruptions, methods : names as on the command line
    seed : of the corruption
    steps : of our fits, instead of the preset's
    side : crop the pictures to this many pixels, for a try
    known : runs that need not be made again
    """
    done = {(run.picture, run.corruption, run.method) for run in known}
    for name in methods:
        for corruption in corruptions:
            for path in pictures:
                if (path.stem, corruption, name) not in done:
                    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                        yield process.submit(measure, path, corruption, name, seed, steps, side).result()


def in_words(corruption: str) -> str:
    """Name a corruption as a reader would."""
    kind, *details = corruption.split(":")
    extra = {"shared": ", whole pixels", "grey": ", grey pictures"}
    if not details:
        return STROKES.get(kind, kind)
    return f"{kind} {float(details[0]):.0%}".replace("%", " %") + "".join(extra[d] for d in details[1:])


def db(inner_and_whole: Sequence[float]) -> str:
    """Write the two PSNR of a run."""
    if min(inner_and_whole) >= MOST_PSNR:
        return "the same bits"
    return " / ".join(f"{value:.1f}" for value in inner_and_whole)


def table(runs: Sequence[Run]) -> str:
    """Lay out "inner / whole" PSNR as a Markdown table, with means over the pictures and medians of the cost."""
    pictures = list(dict.fromkeys(run.picture for run in runs))
    lines = [
        "| corruption | method | " + " | ".join(pictures) + " | mean | below peak | seconds | memory | clean changed |",
        "|---|---|" + "---|" * (len(pictures) + 5),
    ]
    rows = {(run.corruption, run.method) for run in runs}
    place = {name: k for k, name in enumerate(METHODS)}
    order = sorted(dict.fromkeys(run.method for run in runs), key=lambda name: place.get(name, len(place)))
    for corruption in dict.fromkeys(run.corruption for run in runs):
        label = in_words(corruption)
        for name in (name for name in order if (corruption, name) in rows):
            row = {run.picture: run for run in runs if (run.corruption, run.method) == (corruption, name)}
            got = list(row.values())
            fall = [run.peak_inner - run.psnr_inner for run in got if run.peak_inner is not None]
            same = any(run.psnr_inner >= MOST_PSNR for run in got)
            cells = [db((row[p].psnr_inner, row[p].psnr)) if p in row else "" for p in pictures]
            cells += [
                "" if same or len(got) < len(pictures) else f"{np.mean([run.psnr_inner for run in got]):.1f}",
                f"{max(fall):.2f}" if fall else "",
                f"{np.median([run.seconds for run in got]):.0f}",
                f"{max(run.peak_memory for run in got) / 2**30:.2f} GiB",
                f"{np.mean([run.clean_changed for run in got]):.2%}",
            ]
            shown = f"**{name}**" if name.startswith("ours") else name
            lines.append(f"| {label} | {shown} | " + " | ".join(cells) + " |")
            label = ""
    return "\n".join(lines)


def draw_courses(runs: Sequence[Run], path: Path) -> None:
    """PSNR against steps of all fits whose course was looked at, a panel for every method, the best at the top."""
    from matplotlib.figure import Figure

    courses = sorted((run for run in runs if run.course), key=lambda run: -run.psnr_inner)
    courses = [run for run in courses if run.psnr_inner < MOST_PSNR]
    names = list(dict.fromkeys(run.method for run in courses))
    figure = Figure(figsize=(8.5 * len(names), 5), layout="constrained")
    panels = figure.subplots(1, max(1, len(names)), squeeze=False)[0]
    for panel, name in zip(panels, names, strict=False):
        for run in (run for run in courses if run.method == name):
            steps, values = zip(*run.course or (), strict=True)
            panel.plot(steps, values, label=f"{run.picture}, {in_words(run.corruption)}")
        panel.set(title=name, xlabel="step", ylabel="PSNR without the outer 8 pixels, dB")
        panel.grid(True, alpha=0.3)
        panel.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=90)


def machine(*rivals: str) -> dict[str, Any]:
    """Say what the numbers were measured on, also the versions of these packages."""
    versions = {}
    for name in ("dipsop", "torch", "numpy", "scikit-image", *rivals):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "none"
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
        "date": time.strftime("%Y-%m-%d"),
    }


def described(device: torch.device) -> str:
    """Name a device for the record: a GPU by its model."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def problems(corruptions: Sequence[str], methods: Sequence[str], weights: Path | None = None) -> Iterator[str]:
    """Say of names what is wrong with them, before hours are spent."""
    for corruption in corruptions:
        kind, *details = corruption.split(":")
        share = details.pop(0) if kind in noise.MODELS and details else None
        of_noise = kind in noise.MODELS and _is_share(share) and {*details} <= {"shared", "grey"}
        if not of_noise and not (kind in (*STROKES, "none") and {*details} <= {"grey"}):
            kinds = ", ".join((*noise.MODELS, *STROKES))
            yield f"{corruption} is not kind:fraction[:shared][:grey], the kind among {kinds}"
    for name in methods:
        if name.partition("*")[0] not in (*FITS, *RIVALS):
            yield f"{name} is not among {', '.join(METHODS)}"
        if name in PACKAGES and find_spec(PACKAGES[name]) is None:
            yield f"{name} needs another package: pip install -e '.[benchmark]'"
    if "PD-Denoising" in methods and weights is None:
        yield "PD-Denoising needs --pd-denoising"


def _is_share(text: str | None) -> bool:
    try:
        return text is not None and 0 < float(text) <= 1
    except ValueError:
        return False


def main() -> None:
    """Run the benchmark and write DIR/benchmark.md, DIR/benchmark.json and the courses in DIR/courses.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", nargs="+", type=Path, default=PICTURES, help="clean pictures (default: images/)")
    parser.add_argument("--corruptions", nargs="+", default=CORRUPTIONS, help="kind:fraction[:shared][:grey], ...")
    parser.add_argument("--methods", nargs="+", default=METHODS, help="among: " + ", ".join(METHODS))
    parser.add_argument(
        "--pd-denoising", type=Path, metavar="FOLDER", help="with net.pth and est_net.pth: a rival more"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="of our fits, instead of the preset's")
    parser.add_argument("--side", type=int, help="crop pictures to this many pixels")
    parser.add_argument("--out", type=Path, default=Path("benchmark"), help="folder for the record, gone on with")
    a = parser.parse_args()
    for problem in problems(a.corruptions, a.methods, a.pd_denoising):
        parser.error(problem)
    if a.pd_denoising:
        os.environ[PD_WEIGHTS] = str(a.pd_denoising.resolve())
        a.methods = list(dict.fromkeys([*a.methods, "PD-Denoising"]))
    a.out.mkdir(parents=True, exist_ok=True)
    settings = {"seed": a.seed, "steps": a.steps, "side": a.side}
    runs: list[Run] = []
    if (a.out / "benchmark.json").exists():
        record = json.loads((a.out / "benchmark.json").read_text())
        if {key: record[key] for key in settings} != settings:
            parser.error(f"{a.out} holds a record of other settings; choose another --out")
        runs = [Run(**run) for run in record["runs"]]
    for run in benchmark(a.images, a.corruptions, a.methods, **settings, known=runs):
        runs.append(run)
        print(
            f"{run.picture} {run.corruption} {run.method}: {run.psnr_inner:.2f} dB, {run.seconds:.1f} s",
            file=sys.stderr,
            flush=True,
        )
        record = {"command": sys.argv, **settings, **machine("bm3d"), "runs": [asdict(run) for run in runs]}
        save_json(a.out / "benchmark.json", record)
        (a.out / "benchmark.md").write_text(table(runs) + "\n")
    if any(run.course for run in runs):
        draw_courses(runs, a.out / "courses.png")
    stems = [path.stem for path in a.images]
    asked = [r for r in runs if r.picture in stems and r.corruption in a.corruptions and r.method in a.methods]
    # In the order asked for, not in that of the record, which may have been made in pieces.
    asked.sort(key=lambda r: (stems.index(r.picture), a.corruptions.index(r.corruption)))
    print(table(asked))


if __name__ == "__main__":
    main()
