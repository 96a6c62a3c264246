"""The preset paper beside the published code, step by step, from the same weights, z, u, v and noise draws.

    git clone https://github.com/ChongYou/robust-image-recovery checkout
    python examples/published_code.py checkout --out examples/benchmark      # published_code.json, and a summary

Their denoising.py runs as it stands: network, optimizers, loss, closure and loop are theirs. What is replaced:

- torch.cuda.FloatTensor by the processor's type, of float32 or of float64;
- the seed of the salt-and-pepper noise, which is fixed;
- torchvision, which only arranges the pictures that are plotted, by something that hands the first of them back;
- the working folder, by one whose F16.png is the middle of theirs, --side pixels wide and high.

Steps, width and share of noise are options of theirs. Hooks of PyTorch listen to network, loss and optimizer.

Rounding alone makes two runs part: where batch norm sees four values per channel, its gradient is huge, and the rate is
1. How far is told by their own code in float32 against itself in float64, from the same start and with the same draws
("rounding"). dipsop runs in float32 and in float64, each against theirs: once in their memory layout, so that even the
sums are taken in the same order, and once with channels last, which dipsop uses because it is faster.
"""

import argparse
import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import numpy as np
import torch
from benchmark_restoration import machine
from PIL import Image
from torch import Tensor, nn

import dipsop
from dipsop.compute import tune_process
from dipsop.files import save_json
from dipsop.restoration.whole_image import WholeImageFit
from dipsop.sop import SparseCorruption

REPOSITORY = "https://github.com/ChongYou/robust-image-recovery"
PAPER = cast(dipsop.WholeImage, dipsop.PRESETS["paper"])
LOOP = "\nfor iterator in range("  # where the loop of denoising.py begins
PARTS = ("f", "s", "weights")
# Of dipsop, each against the published code in that precision.
RUNS = ("float32", "float32, channels last", "float64", "float64, channels last")


@dataclass(frozen=True)
class State:
    """The loss and f that a step saw, s and the weights that it left."""

    loss: float
    f: Tensor
    s: Tensor
    weights: Tensor


@dataclass
class Course:
    """Where a run of the published code began, what it drew, and the state after each step."""

    y: Tensor
    z: Tensor
    u: Tensor
    v: Tensor
    weights: list[Tensor]
    inputs: list[Tensor] = field(default_factory=list)  # z with the noise of each step
    states: list[State] = field(default_factory=list)


def weights_as_they_run(network: nn.Module, z: Tensor) -> list[nn.Parameter]:
    """All weights and biases, in the order in which a pass through the network reaches their layers."""
    reached: list[nn.Parameter] = []
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]
    hooks = [
        layer.register_forward_hook(lambda layer, *_: reached.extend([layer.weight, layer.bias])) for layer in layers
    ]
    with torch.no_grad():
        network(z)
    for hook in hooks:
        hook.remove()
    if sorted(map(id, reached)) != sorted(map(id, network.parameters())):
        raise ValueError("a pass must reach every weight of the network once")
    return reached


def copy_all(to: Sequence[Tensor], start: Sequence[Tensor]) -> None:
    """Copy tensors one by one, each into one of its own shape."""
    with torch.no_grad():
        for target, source in zip(to, start, strict=True):
            if target.shape != source.shape:
                raise ValueError(f"expected {tuple(target.shape)}, got {tuple(source.shape)}")
            target.copy_(source)


def flat(weights: Sequence[Tensor]) -> Tensor:
    """One vector of all weights, a copy."""
    return torch.cat([w.detach().flatten() for w in weights])


@contextlib.contextmanager
def their_surroundings(checkout: Path, side: int, arguments: list[str]) -> Iterator[None]:
    """What denoising.py expects around it: modules, options, pictures, a folder to write to; quiet."""
    arrange = SimpleNamespace(utils=SimpleNamespace(make_grid=lambda pictures, rows: pictures[0]))
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (work / "checkpoint").mkdir()
        (work / "data/denoising").mkdir(parents=True)
        picture = Image.open(checkout / "data/denoising/F16.png")
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        picture.crop((left, top, left + side, top + side)).save(work / "data/denoising/F16.png")
        stack.enter_context(mock.patch.dict(os.environ, MPLBACKEND="Agg"))
        sys.modules["torchvision"] = cast(Any, arrange)
        stack.callback(sys.modules.pop, "torchvision")
        stack.enter_context(mock.patch.object(sys, "path", [str(checkout), *sys.path]))
        stack.enter_context(mock.patch.object(sys, "argv", ["denoising.py", *arguments]))
        stack.enter_context(mock.patch.object(sys, "dont_write_bytecode", True))
        stack.enter_context(contextlib.chdir(work))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        yield


def published(checkout: Path, side: int, width: int, steps: int, seed: int, like: Course | None = None) -> Course:
    """Run the published code in float32, or in float64 from the start and with the draws of another run."""
    substitutions = {
        "torch.cuda.FloatTensor": "torch.DoubleTensor" if like else "torch.FloatTensor",
        "amount=args.nlevel)": f"amount=args.nlevel, rng={seed})",
    }
    source = (checkout / "denoising.py").read_text(encoding="utf-8")
    for theirs, ours in substitutions.items():
        if source.count(theirs) != 1:
            raise SystemExit(f"{theirs} must be in denoising.py once; is it that of {REPOSITORY}?")
        source = source.replace(theirs, ours)
    preparation, begin_of_loop, rest_of_loop = source.partition(LOOP)
    code: dict[str, Any] = {"__name__": "__main__"}
    with their_surroundings(checkout.resolve(), side, ["--num_iter", str(steps), "--width", str(width)]):
        torch.manual_seed(seed)
        exec(compile(preparation, "denoising.py", "exec"), code)
        course = listen(code, like)
        exec(compile(begin_of_loop + rest_of_loop, "denoising.py", "exec"), code)
    return course


def listen(code: dict[str, Any], like: Course | None) -> Course:
    """Have the prepared code write down its course; from the start of another run, and with its draws, if given."""
    network, u, v = code["net"], code["r_img_cor_p_torch"], code["r_img_cor_n_torch"]
    weights = weights_as_they_run(network, code["net_input"])
    start = [code["img_noisy_torch"], code["net_input"], u, v]
    if like:
        copy_all([*start, *weights], [like.y, like.z, like.u, like.v, *like.weights])
    y, z, first_u, first_v = (tensor.detach().clone() for tensor in start)
    course = Course(y, z, first_u, first_v, [w.detach().clone() for w in weights])
    seen: dict[str, Tensor] = {}

    def before_network(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        drawn = like.inputs[len(course.states)].to(inputs[0].dtype) if like else inputs[0].clone()
        course.inputs.append(drawn)
        return (drawn,)

    def after_step(*_: object) -> None:
        s = (u**2 - v**2).detach()
        course.states.append(State(float(seen["loss"]), seen["f"].detach().clone(), s, flat(weights)))

    network.register_forward_pre_hook(before_network)
    network.register_forward_hook(lambda _, inputs, f: seen.update(f=f))
    code["criterion"].register_forward_hook(lambda _, inputs, loss: seen.update(loss=loss))
    code["optimizer_c"].register_step_post_hook(after_step)  # the last thing in a step of theirs
    return course


class Replayed(WholeImageFit):
    """A fit of dipsop from the start of a published run, and with its draws."""

    def __init__(self, course: Course, config: dipsop.WholeImage, layout: torch.memory_format) -> None:
        super().__init__(course.y, config)
        self.network.to(dtype=course.y.dtype, memory_format=layout)
        self.z, self.corruption = course.z.clone(), SparseCorruption(course.u.clone(), course.v.clone())
        self.weights = weights_as_they_run(self.network, self.z)
        copy_all(self.weights, course.weights)
        self._inputs = (z.contiguous(memory_format=layout) for z in course.inputs)

    def _perturbed_input(self) -> Tensor:
        return next(self._inputs)

    def states(self, steps: int) -> Iterator[State]:
        """Take the steps, and say after each where it left."""
        for _ in range(steps):
            loss = float(self.step(0.0))
            yield State(loss, self.network_output(), self.corruption.value, flat(self.weights))


def paper_at(side: int, width: int) -> dipsop.WholeImage:
    """The preset for a picture of side × side.

    The published rate of (u, v), 500 on the mean over 3·side² values, is 500·2 / (3·side²) per entry; the preset has
    that of side 512.
    """
    return replace(PAPER, width=width, alpha=500 * 2 / (3 * side * side))


def apart(a: State, b: State) -> dict[str, float]:
    """The largest absolute difference of every part of two states."""
    return {part: float((getattr(a, part).double() - getattr(b, part)).abs().max()) for part in PARTS}


def compare(checkout: Path, side: int, width: int, steps: int, seed: int) -> list[dict[str, Any]]:
    """Run both codes in float32 and in float64; for every step, the losses and how far the runs are apart."""
    single = published(checkout, side, width, steps, seed)
    double = published(checkout, side, width, steps, seed, like=single)
    config = paper_at(side, width)
    layouts = torch.contiguous_format, torch.channels_last
    fits = [Replayed(course, config, layout).states(steps) for course in (single, double) for layout in layouts]
    rows: list[dict[str, Any]] = []
    for theirs, exact, *ours in zip(single.states, double.states, *fits, strict=True):
        differences = map(apart, ours, (theirs, theirs, exact, exact))
        rows.append(
            {
                "step": len(rows) + 1,
                "loss_published": theirs.loss,
                "loss_dipsop": ours[0].loss,
                "largest_s": float(theirs.s.abs().max()),
                "difference": dict(zip(RUNS, differences, strict=True)),
                "rounding": apart(theirs, exact),
            }
        )
    return rows


def step_seconds(config: dipsop.WholeImage, side: int, steps: int, threads: int) -> list[float]:
    """Seconds of each of a few steps on a picture of side × side, in a process that does nothing else."""
    tune_process()
    torch.set_num_threads(threads)
    y = torch.from_numpy(np.random.default_rng(0).random((1, 3, side, side), dtype=np.float32))
    fit, seconds = WholeImageFit(y, config), []
    for _ in range(steps):
        start = time.perf_counter()
        fit.step(0.0)
        seconds.append(time.perf_counter() - start)
    return seconds


def summary(record: dict[str, Any]) -> str:
    """The largest differences of f, s and the weights after some of the steps, and the time that a fit would take."""
    rows = record["rows"]
    names = [*RUNS, "rounding"]
    lines = [f"| step | loss, published | loss, dipsop | {' | '.join(names)} |", f"|{'---|' * (3 + len(names))}"]
    for row in rows:
        if row["step"] in (1, 2, 5, 10, 20, 30, 40, len(rows)):
            measured = [*(row["difference"][run] for run in RUNS), row["rounding"]]
            cells = [" ".join(f"{m[part]:.0e}" if m[part] else "0" for part in PARTS) for m in measured]
            losses = f"{row['loss_published']:.7f} | {row['loss_dipsop']:.7f}"
            lines.append(f"| {row['step']} | {losses} | {' | '.join(cells)} |")
    if timing := record.get("time"):
        lines.append(
            f"\nA step at {timing['side']}×{timing['side']}, fastest of {len(timing['seconds'])}: "
            f"{min(timing['seconds']):.1f} s with {timing['threads']} threads; {PAPER.steps:,} would take "
            f"{timing['days_extrapolated']:.0f} days (extrapolated, not run)"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, time, write the record and print its summary."""
    parser = argparse.ArgumentParser(description="The preset paper beside the published code, step by step.")
    parser.add_argument("checkout", type=Path, help=f"of {REPOSITORY}")
    parser.add_argument("--side", type=int, default=64, help="of the picture, 64 or a larger multiple of 32")
    parser.add_argument("--width", type=int, default=PAPER.width, help="of the network (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=50, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default: %(default)s)")
    parser.add_argument("--time-side", type=int, default=512, help="of the picture timed (default: %(default)s)")
    parser.add_argument("--time-steps", type=int, default=3, help="steps timed, 0 for none (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of the steps timed (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("published_code"), help="folder (default: %(default)s)")
    options = parser.parse_args(arguments)
    head = subprocess.run(["git", "-C", options.checkout, "rev-parse", "HEAD"], capture_output=True, text=True)
    settings = {name: getattr(options, name) for name in ("side", "width", "steps", "seed")}
    torch.set_num_threads(1)  # so that the sums are taken in one order
    rows = compare(options.checkout, **settings)
    alpha = paper_at(options.side, options.width).alpha
    record = {**machine(), "repository": REPOSITORY, "commit": head.stdout.strip(), **settings, "alpha": alpha}
    if options.time_steps:
        tune_process()  # for the process that it starts
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            timed = options.time_side, options.time_steps, options.threads
            seconds = pool.submit(step_seconds, PAPER, *timed).result()
        days = min(seconds) * PAPER.steps / 86_400
        timing = {"side": options.time_side, "threads": options.threads, "seconds": seconds}
        record["time"] = {**timing, "days_extrapolated": days}
    record["rows"] = rows
    options.out.mkdir(parents=True, exist_ok=True)
    save_json(options.out / "published_code.json", record)
    print(summary(record))


if __name__ == "__main__":
    main()
