"""How well wrong labels are found by features of an ImageNet network, and how well their number is known.

    python examples/benchmark_labels.py CIFAR --human-labels CIFAR-10_human.pt --out classification

On three sets: images of CIFAR-10 (the folder CIFAR), scikit-learn's digits, and 600 pieces of the ten pictures in
colour that scikit-image and scikit-learn ship. All judge the same features: "posterior" is the score of `dipsop
classify --network pretrained`; "held out" is 1 − p of the given label by the models that have not seen it, on which
that rests; "seen" the same by the model of all; "s" is ‖u∘u − v∘v‖₁; "cleanlab" ranks by held-out probabilities of
cross-entropy models, and flags by find_label_issues (needs the package cleanlab). Sets and noises that the record in
--out already has are not run again.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmark_restoration import machine
from numpy.typing import NDArray

from dipsop.classification import cifar, features, held_out, label_noise, report
from dipsop.classification.config import RECIPES, TrainConfig, by_data
from dipsop.classification.dataset import Dataset
from dipsop.classification.posterior import of_given, posterior
from dipsop.classification.trainer import Trainer
from dipsop.compute import tune_process
from dipsop.files import save_json, write_atomically

NOISES = ["none", "symmetric:0.2", "symmetric:0.4", "human:aggregate", "human:random1", "human:worse"]
CPU = torch.device("cpu")
PICTURES = ("astronaut", "cat", "coffee", "colorwheel", "hubble_deep_field", "immunohistochemistry", "retina", "rocket")


@dataclass(frozen=True)
class Flags:
    """Labels said to be wrong.

    Attributes
    ----------
    number : float
        The estimate of how many are.
    flagged : int
    precision, recall : float or None where there is nothing to divide by
    """

    number: float
    flagged: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class Result:
    """One set with one noise. AUROCs by what ranks are empty where no label is wrong."""

    data: str
    noise: str
    labels: int
    wrong: int
    auroc: dict[str, float]
    error: float
    ours: Flags
    cleanlab: Flags
    seconds: float
    seconds_cleanlab: float


def judged(name: str, noise: str, data: Dataset, seed: int) -> Result:
    """Judge the labels of features in every way."""
    wrong = data.given != data.true
    config = replace(RECIPES["pretrained"], seed=seed, **by_data("pretrained", len(data.classes), noise, len(wrong)))
    start = time.perf_counter()
    trainer = Trainer(data, config, CPU)
    for _ in trainer.epochs():
        pass
    probabilities = held_out.probabilities(data, config, CPU)
    known = posterior(probabilities, data.given)
    seconds = time.perf_counter() - start
    scores = {
        "posterior": 1 - of_given(known.true, data.given),
        "held out": 1 - of_given(probabilities, data.given),
        "seen": 1 - of_given(trainer.network.probabilities(torch.from_numpy(data.images)).numpy(), data.given),
        "s": np.abs(trainer.explained()).sum(1),
    }
    start = time.perf_counter()
    scores["cleanlab"], issues, number = _by_cleanlab(data, config)
    return Result(
        data=name,
        noise=noise,
        labels=len(wrong),
        wrong=int(wrong.sum()),
        auroc={by: report.auroc(score, wrong) for by, score in scores.items()} if wrong.any() else {},
        error=known.error,
        ours=_flags(known.wrong, known.true.argmax(1) != data.given, wrong),
        cleanlab=_flags(number, issues, wrong),
        seconds=seconds,
        seconds_cleanlab=time.perf_counter() - start,
    )


def _by_cleanlab(data: Dataset, config: TrainConfig) -> tuple[NDArray[np.floating], NDArray[np.bool_], float]:
    """Scores, flags and number of cleanlab, on held-out probabilities of cross-entropy."""
    from cleanlab.count import num_label_issues
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    probabilities = held_out.probabilities(data, replace(config, method="ce"), CPU)
    issues = find_label_issues(data.given, probabilities, n_jobs=1)
    quality = get_label_quality_scores(data.given, probabilities)
    return 1 - quality, issues, float(num_label_issues(data.given, probabilities))


def _flags(number: float, flagged: NDArray[np.bool_], wrong: NDArray[np.bool_]) -> Flags:
    hits = float((flagged & wrong).sum())
    precision = hits / flagged.sum() if flagged.any() else None
    return Flags(number, int(flagged.sum()), precision, hits / wrong.sum() if wrong.any() else None)


def cifar10(folder: Path) -> Dataset:
    """All training images of CIFAR-10, without those for testing."""
    found = cifar.find(folder, cifar.CIFAR10)
    if found is None:
        raise SystemExit(f"{folder} holds no CIFAR-10")
    data = cifar.load(found, cifar.CIFAR10)
    return replace(data, test_images=data.test_images[:0], test_labels=data.test_labels[:0])


def digits() -> Dataset:
    """The 1,797 digits of scikit-learn, 8×8 pixels of 17 greys."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = np.repeat((found.images * 15.9375).astype(np.uint8)[:, None], 3, 1)
    return _labelled(images, found.target.astype(np.int64), tuple("0123456789"))


def pieces(count: int = 60, side: int = 128) -> Dataset:
    """So many square pieces of each of ten pictures, each picture a class."""
    from skimage import data as skimage_data
    from sklearn.datasets import load_sample_images

    pictures = [getattr(skimage_data, name)()[..., :3] for name in PICTURES] + load_sample_images().images
    # Not the numbers that label noise of seed 0 is made of, or pieces of one corner would be the wrong ones.
    random, images = np.random.default_rng(1010), []
    for pixels in pictures:
        for _ in range(count):
            row, column = (int(random.integers(0, size - side + 1)) for size in pixels.shape[:2])
            images.append(pixels[row : row + side, column : column + side].transpose(2, 0, 1))
    labels = np.repeat(np.arange(len(pictures)), count)
    return _labelled(np.stack(images), labels, (*PICTURES, "china", "flower"))


def _labelled(images: NDArray[np.uint8], labels: NDArray[np.int64], classes: tuple[str, ...]) -> Dataset:
    return Dataset(images, labels, labels, classes, images[:0], labels[:0])


def seen(data: Dataset, side: int, path: Path) -> tuple[Dataset, float]:
    """Return features in place of images, and how long they took: 0 where the file has them all."""
    kept, start = features.Kept(side), time.perf_counter()
    if path.exists():
        kept.add(path)
    images = features.pictures_of(data)
    keys = features.fingerprints(images)
    made = list(kept.make(keys, images, CPU, path))
    return features.in_place_of_images(data, kept, keys), time.perf_counter() - start if made else 0.0


def table(results: Sequence[Result]) -> str:
    """Results as Markdown."""
    ways = ["posterior", "held out", "seen", "s", "cleanlab"]
    lines = [
        f"| set | noise | {' | '.join(f'AUROC, {way}' for way in ways)} | wrong | looks wrong | cleanlab's number "
        "| flags: precision, recall | cleanlab's flags | seconds | cleanlab's |",
        "|" + "---|" * (len(ways) + 9),
    ]
    for r in results:
        cells = [r.data, r.noise, *(f"{r.auroc[way]:.3f}" if r.auroc else "" for way in ways)]
        cells += [f"{r.wrong:,} of {r.labels:,}", f"{r.ours.number:,.0f} ± {r.error:,.0f}", f"{r.cleanlab.number:,.0f}"]
        cells += [_shares(r.ours), _shares(r.cleanlab), f"{r.seconds:.0f}", f"{r.seconds_cleanlab:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _shares(flags: Flags) -> str:
    if flags.recall is None:
        return f"{flags.flagged:,} flagged"
    return f"{flags.precision or 0:.2f}, {flags.recall:.2f}"


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return machine("cleanlab", *(pretrained.package for pretrained in features.NETWORKS)) | {
            "features_seconds": {},
            "results": [],
        }
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def _results(content: dict[str, Any]) -> list[Result]:
    flags = ("ours", "cleanlab")
    return [Result(**r | {name: Flags(**r[name]) for name in flags}) for r in content["results"]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge all sets, and write DIR/labels.json and DIR/labels.md after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", type=Path, nargs="?", help="folder with CIFAR-10, python or binary version")
    parser.add_argument("--human-labels", type=Path, help="CIFAR-10_human.pt")
    parser.add_argument("--first", type=int, default=0, help="of the images of CIFAR-10, from 0")
    parser.add_argument("--images", type=int, default=10_000, help="of CIFAR-10")
    parser.add_argument("--side", type=int, default=features.SMALL_SIDE, help="pixels that images are enlarged to")
    parser.add_argument("--noises", nargs="+", default=NOISES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("classification"))
    a = parser.parse_args(arguments)
    if a.cifar is not None and a.human_labels is None and any(noise.startswith("human") for noise in a.noises):
        parser.error("human labels need --human-labels; without them name other --noises")
    if find_spec("cleanlab") is None:
        parser.error("cleanlab is judged beside: pip install -e '.[benchmark]'")
    settings = {"seed": a.seed, "side": a.side}
    if (there := _read(a.out / "labels.json"))["results"] and {key: there.get(key) for key in settings} != settings:
        parser.error(f"{a.out} holds a record of other settings; choose another --out")
    tune_process()
    a.out.mkdir(parents=True, exist_ok=True)
    sets: dict[str, Callable[[], Dataset]] = {"pieces": pieces, "digits": digits}
    if a.cifar is not None:
        sets[f"CIFAR-10, {a.images:,} from {a.first:,}"] = lambda: cifar10(a.cifar)
    for name, load in sets.items():
        of_cifar = name.startswith("CIFAR")
        content = _read(a.out / "labels.json") | settings
        made = {(r.data, r.noise) for r in _results(content)}
        wanted = [noise for noise in a.noises if of_cifar or not noise.startswith("human")]
        if {(name, noise) for noise in wanted} <= made:
            continue
        whole = load()
        part = np.arange(a.first, a.first + a.images) if of_cifar else np.arange(len(whole.given))
        looked, seconds = seen(whole.at(part), a.side, a.out / f"features-{name}.npz")
        if seconds:
            content["features_seconds"][name] = seconds
        for noise in wanted:
            if (name, noise) in made:
                continue
            given = label_noise.apply(whole, noise, a.seed, a.human_labels).given[part]
            result = judged(name, noise, replace(looked, given=given), a.seed)
            content["results"].append(asdict(result))
            save_json(a.out / "labels.json", content)
            write_atomically(a.out / "labels.md", f"{table(_results(content))}\n".encode())
    print(table(_results(_read(a.out / "labels.json"))))


if __name__ == "__main__":
    main()
