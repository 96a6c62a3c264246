"""Methods × label noise × seeds on CIFAR-10: accuracy, how good the list of suspects is, seconds.

    python examples/benchmark_classification.py CIFAR --human-labels CIFAR-10_human.pt --out classification

CIFAR is a folder with CIFAR-10. The first 10,000 training images, the fast network, the same epochs, schedule and seeds
for all methods; judged on the 10,000 test images. "Last" is the last epoch, which is the result; "best" is the best
epoch by the test images, which nobody could have picked. "cleanlab" ranks labels by the probability that a model gives
them which has not seen them (cross-entropy, five folds; needs the package cleanlab). Runs that the record in --out
already has are not made again. --jobs 2 makes two runs at a time, each on half of the cores.
"""

import argparse
import itertools
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmark_restoration import machine

from dipsop.classification import cifar, label_noise, report
from dipsop.classification.config import TrainConfig
from dipsop.classification.dataset import Dataset, Labels
from dipsop.classification.trainer import Trainer
from dipsop.compute import tune_process
from dipsop.files import save_json, write_atomically

NOISES = ["symmetric:0.4", "none", "human:worse"]
METHODS = ["ce", "elr", "sop", "sop+", "cleanlab"]
FOLDS = 5


@dataclass(frozen=True)
class Task:
    """A run to make."""

    method: str
    noise: str
    seed: int


@dataclass(frozen=True)
class Run(Task):
    """A run made.

    Attributes
    ----------
    given_accuracy, test_accuracy : list of float in [0, 1], one for each epoch
        Empty without a model of all samples.
    auroc, average_precision : float, or None where no label is wrong
        Of the list.
    seconds : float
    threads : int
        The processor cores it had.
    """

    given_accuracy: list[float]
    test_accuracy: list[float]
    auroc: float | None
    average_precision: float | None
    seconds: float
    threads: int

    @property
    def task(self) -> Task:
        """The run that was to make."""
        return Task(self.method, self.noise, self.seed)


@dataclass(frozen=True)
class Setting:
    """What all runs of a record share. Paths are no part of the record."""

    folder: Path
    images: int
    config: TrainConfig
    human_labels: Path | None = None

    def data(self, noise: str, seed: int) -> Dataset:
        """The first images, with labels of that noise."""
        return label_noise.apply(self.all(), noise, seed, self.human_labels).first(self.images)

    def all(self) -> Dataset:
        """All of CIFAR-10."""
        folder = cifar.find(self.folder, cifar.CIFAR10)
        if folder is None:
            raise SystemExit(f"{self.folder} holds no CIFAR-10")
        return cifar.load(folder, cifar.CIFAR10)


def make(task: Task, setting: Setting) -> Run:
    """Make one run."""
    data = setting.data(task.noise, task.seed)
    config = replace(setting.config, seed=task.seed)
    wrong = data.given != data.true
    given, test = [], []
    start = time.perf_counter()
    if task.method == "cleanlab":
        scores = cleanlab_scores(data, config)
    else:
        trainer = Trainer(data, replace(config, method=task.method), torch.device("cpu"))  # type: ignore[arg-type]
        epochs = list(trainer.epochs())
        given, test = [epoch.given_accuracy for epoch in epochs], [epoch.test_accuracy for epoch in epochs]
        s, p = trainer.explained(), trainer.network.probabilities(torch.from_numpy(data.images)).numpy()
        scores = report.doubt(s, p, data.given)
    seconds = time.perf_counter() - start
    quality = (report.auroc(scores, wrong), report.average_precision(scores, wrong)) if wrong.any() else (None, None)
    return Run(**asdict(task), given_accuracy=given, test_accuracy=test, auroc=quality[0], average_precision=quality[1],
               seconds=seconds, threads=torch.get_num_threads())  # fmt: skip


def cleanlab_scores(data: Dataset, config: TrainConfig) -> Any:
    """Rank labels by cleanlab from the out-of-fold probabilities of cross-entropy models."""
    from cleanlab.rank import get_label_quality_scores

    fold: Labels = np.random.default_rng(config.seed).permutation(len(data.given)) % FOLDS
    probabilities = np.zeros((len(data.given), len(data.classes)), np.float32)
    for k in range(FOLDS):
        seen = replace(
            data, images=data.images[fold != k], given=data.given[fold != k], true=None,
            test_images=data.test_images[:0], test_labels=data.test_labels[:0],
        )  # fmt: skip
        trainer = Trainer(seen, replace(config, method="ce"), torch.device("cpu"))
        for _ in trainer.epochs():
            pass
        probabilities[fold == k] = trainer.network.probabilities(torch.from_numpy(data.images[fold == k])).cpu().numpy()
    return 1 - get_label_quality_scores(data.given, probabilities)


def make_all(tasks: Sequence[Task], setting: Setting, jobs: int) -> Iterator[Run]:
    """Make runs, so many at a time, each in a process with its part of the cores. One that fails stops no other."""
    threads = max(1, torch.get_num_threads() // jobs)
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=fresh, initializer=_start_worker, initargs=(threads,)) as pool:
        failure: BaseException | None = None
        try:
            futures = {pool.submit(make, task, setting): task for task in tasks}
            for made in as_completed(futures):
                if (error := made.exception()) is None:
                    yield made.result()
                else:
                    print(futures[made], "failed:", error, file=sys.stderr, flush=True)
                    failure = failure or error
        except BaseException:
            pool.shutdown(cancel_futures=True)  # else all the others would be made, for nobody
            raise
        if failure is not None:
            raise failure


def _start_worker(threads: int) -> None:
    tune_process()
    torch.set_num_threads(threads)


class Record:
    """Runs in DIR/classification.json, and their table in DIR/classification.md, whole after each run.

    What others have added in the meantime stays.

    Parameters
    ----------
    out : Path
        DIR.
    setting : Setting
        A record of another one is refused.
    """

    def __init__(self, out: Path, setting: Setting) -> None:
        self._out, self._setting = out, setting
        self._path = out / "classification.json"
        self._shared = {"images": setting.images, "config": asdict(setting.config)}
        self._content: dict[str, Any] = {}
        self._read()
        if not self._content:
            share = convolution_share(setting.all(), setting.config)
            self._content = {**self._shared, **machine("cleanlab"), "convolution_share": share, "runs": []}

    @property
    def convolution_share(self) -> float:
        """See there."""
        share: float = self._content["convolution_share"]
        return share

    @property
    def runs(self) -> list[Run]:
        """Those made so far."""
        return [Run(**made) for made in self._content["runs"]]

    def complete(self, tasks: Sequence[Task], jobs: int) -> None:
        """Make the runs that there are not yet."""
        self._out.mkdir(parents=True, exist_ok=True)
        self._write_table()  # it may be missing where no run is
        for made in make_all([task for task in tasks if task not in self._made()], self._setting, jobs):
            print(made.noise, made.method, "seed", made.seed, f"{made.seconds:.0f} s", file=sys.stderr, flush=True)
            self._read()
            if made.task not in self._made():
                self._content["runs"].append(asdict(made))
                save_json(self._path, self._content)
            self._write_table()

    def _made(self) -> set[Task]:
        return {run.task for run in self.runs}

    def _read(self) -> None:
        if not self._path.exists():
            return
        self._content = json.loads(self._path.read_text())
        if {key: self._content[key] for key in self._shared} != self._shared:
            raise SystemExit(f"{self._out} holds a record of other settings; choose another --out")

    def _write_table(self) -> None:
        write_atomically(self._out / "classification.md", f"{table(self.runs)}\n".encode())


def convolution_share(data: Dataset, config: TrainConfig) -> float:
    """Share of the time of an epoch of SOP that is spent in convolutions, on 20 batches."""
    part = replace(data, test_images=data.test_images[:0], test_labels=data.test_labels[:0]).first(20 * config.batch)
    epochs = Trainer(part, replace(config, method="sop", epochs=2), torch.device("cpu")).epochs()
    next(epochs)  # does not count
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        next(epochs)
    seconds = {event.key: event.self_cpu_time_total for event in profile.key_averages()}
    return float(sum(t for key, t in seconds.items() if "conv" in key) / sum(seconds.values()))


def table(runs: Sequence[Run]) -> str:
    """Mean ± standard deviation over the seeds, and median seconds, as Markdown."""
    lines = ["| noise | method | last epoch, % | best epoch, % | AUROC | average precision | seconds | seeds |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    noises = list(dict.fromkeys(made.noise for made in runs))
    for noise, method in itertools.product(noises, METHODS):
        row = [made for made in runs if (made.noise, made.method) == (noise, method)]
        if not row:
            continue
        cells = [
            spread([100 * made.test_accuracy[-1] for made in row if made.test_accuracy], 1),
            spread([100 * max(made.test_accuracy) for made in row if made.test_accuracy], 1),
            spread([made.auroc for made in row if made.auroc is not None], 3),
            spread([made.average_precision for made in row if made.average_precision is not None], 3),
            f"{np.median([made.seconds for made in row]):.0f}",
            str(len(row)),
        ]
        lines.append(f"| {noise} | {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def spread(values: Sequence[float], digits: int) -> str:
    """Mean ± standard deviation."""
    if not values:
        return ""
    deviation = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{deviation}"


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """Options of what makes runs."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", type=Path, help="folder with CIFAR-10, python or binary version")
    parser.add_argument("--images", type=int, default=10_000, help="train on the first so many")
    parser.add_argument("--epochs", type=int, default=TrainConfig.epochs)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--out", type=Path, default=Path("classification"))
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and write DIR/classification.md and DIR/classification.json."""
    parser = parser_of(__doc__)
    parser.add_argument("--human-labels", type=Path, help="CIFAR-10_human.pt")
    parser.add_argument("--noises", nargs="+", default=NOISES)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    a = parser.parse_args(arguments)
    if a.human_labels is None and any(noise.startswith("human") for noise in a.noises):
        parser.error("--noises human needs --human-labels")
    if "cleanlab" in a.methods and find_spec("cleanlab") is None:
        parser.error("--methods cleanlab needs the package cleanlab: install '.[benchmark]', or name other methods")
    record = Record(a.out, Setting(a.cifar, a.images, TrainConfig(epochs=a.epochs), a.human_labels))
    tasks = [
        Task(method, noise, seed)
        for seed, noise, method in itertools.product(a.seeds, a.noises, a.methods)
        if (method, noise) != ("cleanlab", "none")
    ]
    record.complete(tasks, a.jobs)
    print(table(record.runs))
    print(f"\nOf a step's time {record.convolution_share:.0%} is convolution.")


if __name__ == "__main__":
    main()
