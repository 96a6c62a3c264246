"""The preset dip beside DIP-ℓ1, whose peak is picked by the truth: f alone, over the whole picture.

    python examples/deep_image_prior.py F16.png kodim03.png --crop 100 356 --out examples/benchmark

Both start from the same network and the same z, and have the same schedule. DIP-ℓ1 is credited with the best step of
its course, which only one who knows the truth can stop at; dip with the state in which it ends. Every fit has a process
and a thread of its own, two side by side. Fits that the record in --out already has are not made again: take another
--out after a change of the preset.
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from benchmark_restoration import corrupted, described, machine, problems

import dipsop
from dipsop.compute import DeviceName, tune_process
from dipsop.pictures import images
from dipsop.pictures.quality import psnr
from dipsop.restoration.config import DEMO

EVERY = 5  # steps between comparisons with the truth
PLAIN_TO_SEE = 0.1  # a corrupted value that is off by less is not looked for in the share found
CORRUPTIONS = [
    *("salt-and-pepper:0.3", "salt-and-pepper:0.5", "salt-and-pepper:0.7"),
    *("random-valued:0.1", "random-valued:0.3", "random-valued:0.5"),
]
METHODS = {name: DEMO[name] for name in ("dip", "DIP-l1")}


@dataclass(frozen=True)
class Run:
    """One fit: the task, then PSNR of f in dB at its peak and end, and what (u, v) held at the end.

    found: share of all corrupted values; found_plain: of those that are off by more than 0.1; false_alarms: share of
    the clean values that were found with them; release: the step from which on (u, v) moved; seconds: of the processor
    (of a GPU's as well, while it waits); device: a GPU by its name.
    """

    picture: str
    crop: Sequence[int] | None
    corruption: str
    seed: int
    method: str
    steps: int
    peak: float
    peak_step: int
    final: float
    found: float
    found_plain: float
    false_alarms: float
    release: int | None
    seconds: float
    device: str = "cpu"


TASK = ("picture", "crop", "corruption", "seed", "method", "steps")


def run(
    path: Path, crop: Sequence[int] | None, corruption: str, seed: int, method: str, steps: int, device: str = "cpu"
) -> Run:
    """Fit once, in this process, by one thread or on a GPU."""
    tune_process()
    torch.set_num_threads(1)
    where = slice(*crop) if crop else slice(None)
    clean, y, mask = corrupted(images.load(path).values[where, where], corruption, seed)
    start, course = time.process_time(), []
    for step in dipsop.iter_restore(y, replace(METHODS[method], steps=steps, seed=seed), device):
        if step.iteration % EVERY == 0 or step.iteration == steps:
            course.append((psnr(step.network_output(), clean), step.iteration))
    seconds = time.process_time() - start
    found, plain = step.restoration().corrupted, np.abs(y - clean) > PLAIN_TO_SEE
    peak, peak_step = max(course)
    released = step.state()["fit"]["release"]
    return Run(
        picture=path.stem,
        crop=crop,
        corruption=corruption,
        seed=seed,
        method=method,
        steps=steps,
        peak=peak,
        peak_step=peak_step,
        final=course[-1][0],
        found=float(found[mask].mean()),
        found_plain=float(found[mask & plain].mean()),
        false_alarms=float(found[~mask].mean()),
        release=released["step"] if released else None,
        seconds=seconds,
        device=described(torch.device(device)),
    )


def table(runs: Sequence[Run]) -> str:
    """Return a row for every picture, corruption and budget: means over the seeds that both methods have."""
    rows = ["| picture | corruption | steps | DIP-ℓ1, peak | dip, end | lead | below its peak | found | false alarms |"]
    rows.append("|---|---|---|---|---|---|---|---|---|")
    leads = []
    groups: dict[tuple[Any, ...], dict[str, dict[int, Run]]] = {}
    for r in runs:
        key = (r.picture, tuple(r.crop or ()), r.corruption, r.steps)
        groups.setdefault(key, {name: {} for name in METHODS})[r.method][r.seed] = r
    for (picture, crop, corruption, steps), both in groups.items():
        seeds = sorted(set(both["dip"]) & set(both["DIP-l1"]))
        if not seeds:
            continue
        ours, rival = ([both[name][seed] for seed in seeds] for name in METHODS)
        lead = [o.final - r.peak for o, r in zip(ours, rival, strict=True)]
        leads.append(float(np.mean(lead)))
        size = f"{picture} {crop[0]}:{crop[1]}" if crop else f"{picture}, whole"
        rows.append(
            f"| {size} | {corruption.replace(':', ' ')} | {steps} | {np.mean([r.peak for r in rival]):.2f} "
            f"| {np.mean([o.final for o in ours]):.2f} | {np.mean(lead):+.2f} ({min(lead):+.2f}) "
            f"| {max(o.peak - o.final for o in ours):.2f} | {np.mean([o.found_plain for o in ours]):.2%} "
            f"| {np.mean([o.false_alarms for o in ours]):.2%} |"
        )
    if leads:
        rows.append(f"| mean | | | | | {np.mean(leads):+.2f} | | | |")
    return "\n".join(rows)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--crop", nargs=2, type=int, metavar=("FROM", "TO"), help="rows and columns")
    parser.add_argument("--corruptions", nargs="+", default=CORRUPTIONS, metavar="KIND:FRACTION")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--steps", type=int, default=DEMO["dip"].steps)
    parser.add_argument("--jobs", type=int, default=2, help="fits side by side")
    parser.add_argument("--device", choices=get_args(DeviceName), default="cpu")
    parser.add_argument("--out", type=Path, default=Path("."), help="folder of deep_image_prior.json")
    a = parser.parse_args(arguments)
    for problem in problems(a.corruptions, ()):
        parser.error(problem)
    return a


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the fits that the record does not have, and print the table of all that it has."""
    a = parsed(arguments)
    record = a.out / "deep_image_prior.json"
    runs = [Run(**entry) for entry in json.loads(record.read_text())["runs"]] if record.exists() else []
    made = [[asdict(r)[name] for name in TASK] for r in runs]
    tasks = [
        (path, a.crop, corruption, seed, method, a.steps)
        for seed, path, corruption, method in itertools.product(a.seeds, a.images, a.corruptions, a.methods)
        if [path.stem, a.crop, corruption, seed, method, a.steps] not in made
    ]
    a.out.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(a.jobs, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for one in pool.map(partial(run, device=a.device), *zip(*tasks, strict=True)) if tasks else ():
            runs.append(one)
            header = {"command": sys.argv, **machine(), "config": asdict(DEMO["dip"])}
            record.write_text(json.dumps(header | {"runs": [asdict(r) for r in runs]}, indent=1) + "\n")
            said = f"{one.picture} {one.corruption} seed {one.seed} {one.method}"
            print(f"{said}: peak {one.peak:.2f}, final {one.final:.2f}", flush=True)
    print(table(runs))


if __name__ == "__main__":
    main()
