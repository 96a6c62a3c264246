"""Methods × label noise × seeds on CIFAR-10: accuracy, how good the list of suspects is, seconds.

    python examples/benchmark_classification.py CIFAR --human-labels CIFAR-10_human.pt --out classification

CIFAR is a folder with CIFAR-10. The first 10,000 training images, the fast network, the same epochs, schedule and seeds
for all methods; judged on the 10,000 test images. "Last" is the last epoch, which is the result; "best" is the best
epoch by the test images, which nobody could have picked. "cleanlab" ranks labels by the probability that a model gives
them which has not seen them (cross-entropy, five folds; needs the package cleanlab). Runs that the record in --out
already has are not made again.
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmark_restoration import machine

from dipsop.classification import cifar, label_noise, report
from dipsop.classification.config import Method, TrainConfig
from dipsop.classification.dataset import Dataset, Labels
from dipsop.classification.trainer import Trainer
from dipsop.commands.tuning import tune_process
from dipsop.files import save_json

NOISES = ["symmetric:0.4", "none", "human:worse"]
METHODS = ["ce", "elr", "sop", "sop+", "cleanlab"]
FOLDS = 5


@dataclass(frozen=True)
class Run:
    """One run. Accuracies in [0, 1], None without a model; the figures of the list are None where no label is wrong."""

    method: str
    noise: str
    seed: int
    last: float | None
    best: float | None
    auroc: float | None
    average_precision: float | None
    seconds: float


def noisy(data: Dataset, noise: str, seed: int, human: Path | None) -> Dataset:
    """The data with labels of that noise."""
    kind, _, detail = noise.partition(":")
    true = data.given
    if kind == "symmetric":
        true_and_given = true, label_noise.symmetric(true, len(data.classes), float(detail), seed)
    elif kind == "human":
        if human is None:
            raise SystemExit("--noise human needs --human-labels")
        true_and_given = true, label_noise.human(human, detail, true)
    else:
        true_and_given = true, true
    return replace(data, true=true_and_given[0], given=true_and_given[1], noise=noise)


def run(data: Dataset, method: Method, config: TrainConfig) -> Run:
    """Train once."""
    start = time.perf_counter()
    trainer = Trainer(data, replace(config, method=method), torch.device("cpu"))
    tests = [epoch.test_accuracy for epoch in trainer.epochs()]
    seconds = time.perf_counter() - start
    if method in ("sop", "sop+"):
        scores: Any = report.score(trainer.explained())
    else:
        believed = trainer.network.probabilities(torch.from_numpy(data.images)).cpu().numpy()
        scores = 1 - believed[np.arange(len(data.given)), data.given]
    return Run(method, data.noise, config.seed, tests[-1], max(tests), *quality(scores, data), seconds)


def cleanlab_run(data: Dataset, config: TrainConfig) -> Run:
    """Rank labels by cleanlab from the out-of-fold probabilities of cross-entropy models."""
    from cleanlab.rank import get_label_quality_scores

    start = time.perf_counter()
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
    scores = 1 - get_label_quality_scores(data.given, probabilities)
    seconds = time.perf_counter() - start
    return Run("cleanlab", data.noise, config.seed, None, None, *quality(scores, data), seconds)


def quality(scores: Any, data: Dataset) -> tuple[float | None, float | None]:
    """AUROC and average precision of a ranking."""
    wrong = data.given != data.true
    if not wrong.any():
        return None, None
    return report.auroc(scores, wrong), report.average_precision(scores, wrong)


def benchmark(
    data: Dataset,
    noises: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    config: TrainConfig,
    images: int,
    human: Path | None,
    known: Sequence[Run],
) -> Iterator[Run]:
    """Make every run that is not known yet."""
    done = {(made.method, made.noise, made.seed) for made in known}
    for seed in seeds:
        for noise in noises:
            part = noisy(data, noise, seed, human).first(images)
            for method in methods:
                if (method, noise, seed) in done or (method == "cleanlab" and noise == "none"):
                    continue
                settings = replace(config, seed=seed)
                yield cleanlab_run(part, settings) if method == "cleanlab" else run(part, method, settings)  # type: ignore[arg-type]


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

        def cell(name: str, factor: float, digits: int, row: Sequence[Run] = row) -> str:
            values = [factor * v for made in row if (v := getattr(made, name)) is not None]
            spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
            return f"{np.mean(values):.{digits}f}{spread}" if values else ""

        cells = [cell("last", 100, 1), cell("best", 100, 1), cell("auroc", 1, 3), cell("average_precision", 1, 3)]
        seconds = f"{np.median([made.seconds for made in row]):.0f}"
        lines.append(f"| {noise} | {method} | " + " | ".join([*cells, seconds, str(len(row))]) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and write DIR/classification.md and DIR/classification.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", type=Path, help="folder with CIFAR-10, python or binary version")
    parser.add_argument("--human-labels", type=Path, help="CIFAR-10_human.pt")
    parser.add_argument("--noises", nargs="+", default=NOISES)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=TrainConfig.epochs)
    parser.add_argument("--out", type=Path, default=Path("classification"))
    a = parser.parse_args(arguments)
    tune_process()
    folder = cifar.find(a.cifar, cifar.CIFAR10)
    if folder is None:
        parser.error(f"{a.cifar} holds no CIFAR-10")
    a.out.mkdir(parents=True, exist_ok=True)
    path = a.out / "classification.json"
    config = TrainConfig(epochs=a.epochs)
    settings = {"images": a.images, "config": asdict(config)}
    runs: list[Run] = []
    if path.exists():
        record = json.loads(path.read_text())
        if {key: record[key] for key in settings} != settings:
            parser.error(f"{a.out} holds a record of other settings; choose another --out")
        runs = [Run(**made) for made in record["runs"]]
    data = cifar.load(folder, cifar.CIFAR10)
    share = convolution_share(data, config)
    for made in benchmark(data, a.noises, a.methods, a.seeds, config, a.images, a.human_labels, runs):
        runs.append(made)
        print(made, file=sys.stderr, flush=True)
        record = {**settings, **machine(), "convolution_share": share, "runs": [asdict(r) for r in runs]}
        save_json(path, record)
        (a.out / "classification.md").write_text(table(runs) + "\n")
    print(table(runs))
    print(f"\nOf a step's time {share:.0%} is convolution.")


if __name__ == "__main__":
    main()
