"""Methods × label noise × seeds on CIFAR-10: accuracy, how good the list of suspects is, seconds.

    python examples/benchmark_classification.py CIFAR --human-labels CIFAR-10_human.pt --out classification
    python examples/benchmark_classification.py CIFAR --human-labels CIFAR-10_human.pt --out big --images 50000 --papers

CIFAR is a folder with CIFAR-10. The first training images, the fast network, the same epochs, schedule and seeds for
all methods; judged on the 10,000 test images. classification_runs.py says what the figures are. "co-teaching+",
"dividemix" and "elr+" are those of rivals_classification/, two networks each; "cleanlab" ranks labels by the
probability that a model gives them which has not seen them (cross-entropy, five folds; needs the package cleanlab).
"symmetric:0.5" takes half of the labels to another class, "symmetric-all:0.5" draws half of them anew among all
classes, as the papers' code does: 45 % are wrong then. --papers makes the table of the papers, what matters most first.
A run is in the record of --out when it is done, and is not made again: whatever ends the benchmark, the same command
goes on with it. --jobs 2 makes two runs at a time, each on half of the cores; with --device cuda
they share the GPU, most of which one run leaves idle.
"""

import argparse
import itertools
import json
import multiprocessing
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar, get_args

import torch
from benchmark_restoration import described, machine
from classification_runs import METHODS, Run, Task, of_the_papers, table
from neural_collapse import scatter
from rivals_classification.coteaching_plus import CoTeachingPlus
from rivals_classification.dividemix import DivideMix
from rivals_classification.elr_plus import ELRPlus
from rivals_classification.two_networks import TwoNetworks

from dipsop.classification import cifar, held_out, label_noise, report
from dipsop.classification.config import TrainConfig, by_data
from dipsop.classification.dataset import Dataset
from dipsop.classification.trainer import Trainer
from dipsop.compute import DeviceName, pick_device, tune_process
from dipsop.files import save_json, write_atomically

NOISES = ["symmetric:0.4", "none", "human:worse"]
OWN = ["ce", "elr", "sop", "sop+", "cleanlab"]
RIVALS: dict[str, type[TwoNetworks]] = {"co-teaching+": CoTeachingPlus, "dividemix": DivideMix, "elr+": ELRPlus}
T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """What all runs of a record share. Paths are no part of the record."""

    folder: Path
    images: int
    config: TrainConfig
    human_labels: Path | None = None
    name: str | None = None  # of the images, where it is to be another than in the record
    device_name: DeviceName = "cpu"

    @property
    def device(self) -> torch.device:
        """What the runs are made on."""
        return pick_device(self.device_name)

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
    config, device = replace(setting.config, seed=task.seed), setting.device
    wrong = data.given != data.true
    given, test = list[float](), list[float]()
    collapse: list[tuple[float, float]] | None = None
    start, aside = time.perf_counter(), 0.0
    if task.method == "cleanlab":
        scores = cleanlab_scores(data, config, device)
    elif task.method in RIVALS:
        rival = RIVALS[task.method](data, config, device)
        test = list(told(task, config.epochs, rival.epochs()))
        scores = report.doubt(rival.probabilities(torch.from_numpy(data.images), flip=True).cpu().numpy(), data.given)
    else:
        trainer = Trainer(data, replace(config, method=task.method), device)  # type: ignore[arg-type]
        collapse = []
        for epoch in told(task, config.epochs, trainer.epochs()):
            given.append(epoch.given_accuracy)
            test.append(epoch.test_accuracy)
            begin = time.perf_counter()
            collapse.append(scatter(trainer))
            aside += time.perf_counter() - begin
        p = trainer.network.probabilities(torch.from_numpy(data.images)).cpu().numpy()
        scores = report.doubt(p, data.given)
    seconds = time.perf_counter() - start - aside
    quality = (report.auroc(scores, wrong), report.average_precision(scores, wrong)) if wrong.any() else (None, None)
    return Run(**asdict(task), given_accuracy=given, test_accuracy=test, auroc=quality[0], average_precision=quality[1],
               seconds=seconds, threads=torch.get_num_threads(), scatter=collapse)  # fmt: skip


def told(task: Task, epochs: int, figures: Iterable[T]) -> Iterator[T]:
    """Pass the figures of epochs on, and say about once in ten minutes how far a run is."""
    said = time.monotonic()
    for number, figure in enumerate(figures, 1):
        if time.monotonic() - said > 600:
            said = time.monotonic()
            run = f"{task.noise} {task.method} seed {task.seed}"
            print(f"{run}: epoch {number} of {epochs}", file=sys.stderr, flush=True)
        yield figure


def cleanlab_scores(data: Dataset, config: TrainConfig, device: torch.device) -> Any:
    """Rank labels by cleanlab from the out-of-fold probabilities of cross-entropy models."""
    from cleanlab.rank import get_label_quality_scores

    probabilities = held_out.probabilities(data, replace(config, method="ce"), device)
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
        self._shared = {
            "images": setting.images,
            "config": asdict(setting.config),
            "device": described(setting.device),
        }
        self._content: dict[str, Any] = {}
        self._read()
        if not self._content:
            share = convolution_share(setting.all(), setting.config, setting.device)
            self._content = {**self._shared, **machine("cleanlab", "scikit-learn")}
            self._content |= {"convolution_share": share, "runs": []}

    @property
    def convolution_share(self) -> float:
        """See there."""
        share: float = self._content["convolution_share"]
        return share

    @property
    def runs(self) -> list[Run]:
        """Those made so far."""
        return [Run(**made) for made in self._content["runs"]]

    def __str__(self) -> str:
        """What it is of, and the table, as Markdown."""
        data, config = self._content.get("data", cifar.CIFAR10.name), self._setting.config
        budget = f"{config.epochs} epochs of the network {config.network}"
        if (device := self._content["device"]) != "cpu":
            budget += f", {device}"
        return f"{data}, the first {self._setting.images:,} images, {budget}.\n\n{table(self.runs)}"

    def complete(self, tasks: Sequence[Task], jobs: int) -> None:
        """Make the runs that there are not yet."""
        self._out.mkdir(parents=True, exist_ok=True)
        self._read()
        self._write()  # also where no run is to make
        for made in make_all([task for task in tasks if task not in self._made()], self._setting, jobs):
            print(made.noise, made.method, "seed", made.seed, f"{made.seconds:.0f} s", file=sys.stderr, flush=True)
            self._read()
            if made.task not in self._made():
                self._content["runs"].append(asdict(made))
            self._write()

    def _made(self) -> set[Task]:
        return {run.task for run in self.runs}

    def _read(self) -> None:
        if not self._path.exists():
            return
        self._content = {"device": "cpu"} | json.loads(self._path.read_text())  # older records do not say it
        if {key: self._content[key] for key in self._shared} != self._shared:
            raise SystemExit(f"{self._out} holds a record of other settings; choose another --out")

    def _write(self) -> None:
        if self._setting.name is not None:
            self._content["data"] = self._setting.name
        save_json(self._path, self._content)
        write_atomically(self._out / "classification.md", f"{self}\n".encode())


def convolution_share(data: Dataset, config: TrainConfig, device: torch.device) -> float:
    """Share of the time of an epoch of SOP that is spent in convolutions, on 20 batches; of a GPU's, while it works."""
    part = replace(data, test_images=data.test_images[:0], test_labels=data.test_labels[:0]).first(20 * config.batch)
    epochs = Trainer(part, replace(config, method="sop", epochs=2), device).epochs()
    next(epochs)  # does not count
    on_gpu = device.type == "cuda"
    activities = [torch.profiler.ProfilerActivity.CPU, *([torch.profiler.ProfilerActivity.CUDA] if on_gpu else [])]
    with torch.profiler.profile(activities=activities) as profile:
        next(epochs)
    # A kernel's time is that of the operation which called it, too; here it counts once, with this.
    called = (event for event in profile.key_averages() if event.device_type.name == "CPU")
    seconds = {event.key: event.self_device_time_total if on_gpu else event.self_cpu_time_total for event in called}
    return float(sum(t for key, t in seconds.items() if "conv" in key) / sum(seconds.values()))


def of_images(images: int, epochs: int, batch: int | None = None) -> TrainConfig:
    """Return the product's own settings for so many images, and its batch where none is given."""
    return replace(TrainConfig(), epochs=epochs, **by_data("fast", 10, "none", images, batch))


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
    parser.add_argument("--noises", nargs="+", help=f"by default {' '.join(NOISES)}")
    parser.add_argument("--methods", nargs="+", choices=METHODS, help=f"by default {' '.join(OWN)}")
    parser.add_argument("--papers", action="store_true", help="all of the papers' table, instead")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--device", choices=get_args(DeviceName), default="cpu")
    usual = TrainConfig()
    parser.add_argument("--batch", type=int, help="by default as the product's, by how many images there are")
    for name in ("lr", "rate_u", "rate_v"):
        default = "as goes with the batch" if name == "lr" else getattr(usual, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, help=f"by default {default}")
    parser.add_argument("--name", help="what the record calls the images: CIFAR-10 (JPEG), if they went through JPEG")
    a = parser.parse_args(arguments)
    if a.papers and (a.noises or a.methods):
        parser.error("--papers names its noises and methods: leave --noises and --methods out")
    tasks = of_the_papers(a.seeds) if a.papers else product(a.methods or OWN, a.noises or NOISES, a.seeds)
    if a.human_labels is None and any(task.noise.startswith("human") for task in tasks):
        parser.error("noise of people needs --human-labels")
    for method, package in {"cleanlab": "cleanlab", "dividemix": "sklearn"}.items():
        if any(task.method == method for task in tasks) and find_spec(package) is None:
            parser.error(
                f"the method {method} needs the package {package}: install '.[benchmark]', or name other methods"
            )
    asked = {name: value for name in ("lr", "rate_u", "rate_v") if (value := getattr(a, name)) is not None}
    config = replace(of_images(a.images, a.epochs, a.batch), **asked)
    record = Record(a.out, Setting(a.cifar, a.images, config, a.human_labels, a.name, a.device))
    record.complete(tasks, a.jobs)
    print(record)
    print(f"\nOf a step's time {record.convolution_share:.0%} is convolution.")


def product(methods: Sequence[str], noises: Sequence[str], seeds: Sequence[int]) -> list[Task]:
    """Return all runs of these methods, but that cleanlab has no labels to rank where all are right."""
    tasks = [Task(method, noise, seed) for seed, noise, method in itertools.product(seeds, noises, methods)]
    return [task for task in tasks if (task.method, task.noise) != ("cleanlab", "none")]


if __name__ == "__main__":
    main()
