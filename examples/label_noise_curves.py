"""Train and test accuracy by epoch, with cross-entropy and with SOP, at several shares of wrong labels.

    python examples/label_noise_curves.py CIFAR --out curves          # CIFAR: a folder with CIFAR-10

Cross-entropy learns the right labels first and then the wrong ones, and its test accuracy falls; with (u, v) it does
not.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from dipsop.classification import cifar
from dipsop.classification.config import TrainConfig
from dipsop.classification.dataset import Dataset
from dipsop.classification.label_noise import symmetric
from dipsop.classification.trainer import Epoch, Trainer
from dipsop.commands.tuning import tune_process

METHODS = {"ce": "cross-entropy", "sop": "SOP"}
Curves = Mapping[tuple[float, str], Sequence[Epoch]]


def curves(data: Dataset, fractions: Sequence[float], config: TrainConfig) -> dict[tuple[float, str], list[Epoch]]:
    """Train with every method at every fraction; the same seed, schedule and epochs for all."""
    assert data.true is not None
    out: dict[tuple[float, str], list[Epoch]] = {}
    for fraction in fractions:
        noisy = replace(data, given=symmetric(data.true, len(data.classes), fraction, config.seed))
        for method in METHODS:
            trainer = Trainer(noisy, replace(config, method=method), torch.device("cpu"))  # type: ignore[arg-type]
            out[fraction, method] = []
            for epoch in trainer.epochs():
                out[fraction, method].append(epoch)
                print(f"{fraction:.0%} {method} epoch {epoch.number}: test {epoch.test_accuracy:.3f}", flush=True)
    return out


def plot(made: Curves, path: Path) -> None:
    """A column for each fraction: accuracy on the given labels above, on the test images below."""
    from matplotlib.figure import Figure

    fractions = sorted({fraction for fraction, _ in made})
    figure = Figure(figsize=(3.2 * len(fractions), 5.4), layout="constrained")
    axes = figure.subplots(2, len(fractions), sharex=True, sharey=True, squeeze=False)
    for column, fraction in zip(axes.T, fractions, strict=True):
        for method, label in METHODS.items():
            epochs = made[fraction, method]
            numbers = [epoch.number for epoch in epochs]
            column[0].plot(numbers, [epoch.given_accuracy for epoch in epochs], label=label)
            column[1].plot(numbers, [epoch.test_accuracy for epoch in epochs], label=label)
        column[0].set_title(f"{fraction:.0%} wrong labels")
        column[1].set_xlabel("epoch")
        for ax in column:
            ax.grid(True, alpha=0.3)
    axes[0, 0].set_ylabel("accuracy on the given labels")
    axes[1, 0].set(ylabel="test accuracy", ylim=(0, 1))
    axes[0, 0].legend()
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, draw and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", type=Path, help="folder with CIFAR-10, python or binary version")
    parser.add_argument("--fractions", nargs="+", type=float, default=[0.0, 0.2, 0.4])
    parser.add_argument("--images", type=int, default=10_000, help="train on the first so many")
    parser.add_argument("--epochs", type=int, default=TrainConfig.epochs)
    parser.add_argument("--out", type=Path, default=Path("label_noise_curves"))
    a = parser.parse_args(arguments)
    tune_process()
    folder = cifar.find(a.cifar, cifar.CIFAR10)
    if folder is None:
        parser.error(f"{a.cifar} holds no CIFAR-10")
    data = cifar.load(folder, cifar.CIFAR10).first(a.images)
    made = curves(data, a.fractions, TrainConfig(epochs=a.epochs))
    a.out.mkdir(parents=True, exist_ok=True)
    record = [
        {"fraction": fraction, "method": method, **asdict(epoch)}
        for (fraction, method), epochs in made.items()
        for epoch in epochs
    ]
    (a.out / "label_noise_curves.json").write_text(json.dumps(record, indent=1))
    plot(made, a.out / "label_noise_curves.png")


if __name__ == "__main__":
    main()
