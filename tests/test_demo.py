"""The demonstration, small."""

import json
import tempfile
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from command_line import status
from PIL import Image
from scipy.optimize import minimize_scalar

from dipsop import PRESETS, iter_restore
from dipsop.commands.demo import table
from dipsop.jobs import demo, events
from dipsop.jobs.curve import Curve
from dipsop.jobs.demo import DemoJob, corrupted, methods, record, sample
from dipsop.jobs.demo_figure import figure
from dipsop.pictures import images
from dipsop.pictures.quality import psnr
from dipsop.restoration.config import DEMO, PENALTIES
from dipsop.restoration.whole_image import WholeImageFit

NAMES = ["DIP-l2", "DIP-l1", "penalty 0.02", "penalty 0.1", "penalty 0.5", "dip"]


def small_picture(path: Path, side: int) -> Path:
    Image.fromarray((sample()[40 : 40 + side, :side] * 255).astype(np.uint8)).save(path)
    return path


def test_all_methods_start_from_the_same_network_on_the_same_schedule() -> None:
    configs = methods(steps=3, seed=5)
    shared = {
        (c.steps, c.seed, c.lr, c.optimizer, c.decay, c.width, c.skip_width, c.input_channels, c.input_noise, c.dtype)
        for c in configs.values()
    }
    assert len(shared) == 1
    assert [c.alpha for c in configs.values()] == [0, 0, 0, 0, 0, None]
    y = corrupted(sample()[:32, :32])
    first = [next(iter(iter_restore(y, config))).network_output() for config in configs.values()]
    for other in first[1:]:
        np.testing.assert_array_equal(first[0], other)


def test_what_is_shown_is_the_preset_as_it_is() -> None:
    assert DEMO["dip"] == PRESETS["dip"]
    assert methods()["dip"] == PRESETS["dip"]


@pytest.mark.parametrize("weight", PENALTIES)
@pytest.mark.parametrize("error", [-0.9, -0.04, 0.0, 0.01, 0.3])
def test_the_loss_of_a_penalty_is_the_least_over_s_of_the_penalized_square(weight: float, error: float) -> None:
    fit = WholeImageFit(torch.zeros(1, 1, 32, 32), methods()[f"penalty {weight:g}"])
    least = minimize_scalar(lambda s: 0.5 * (error + s) ** 2 + weight * abs(s), bounds=(-2, 2), options={"xatol": 1e-9})
    assert float(fit._loss(torch.tensor([error]))) == pytest.approx(least.fun, abs=1e-6)


def test_the_sample_is_corrupted_on_the_shares_that_are_said() -> None:
    clean = sample()
    assert clean.dtype == np.float32
    assert clean.shape == (256, 256, 3)
    assert (corrupted(clean, "random-valued") != clean).mean() == pytest.approx(0.3, abs=0.01)
    black_or_white = corrupted(clean)
    assert (black_or_white != clean).mean() == pytest.approx(0.5, abs=0.04)  # some were black before
    assert set(np.unique(black_or_white[black_or_white != clean])) == {0, 1}


def test_a_curve_compares_every_fifth_step_and_the_last() -> None:
    clean = sample()[:32, :32]
    config = methods(steps=12)["dip"]
    curve = Curve()
    for step in iter_restore(corrupted(clean), config):
        curve.add(step, clean)
    assert curve.steps == [5, 10, 12]
    *_, last = iter_restore(corrupted(clean), config)
    assert curve.final == psnr(last.network_output(), clean)


def test_peak_and_final_are_those_of_the_curve_and_the_best_penalty_is_drawn() -> None:
    curves = {name: Curve([5, 10, 15], [20.0, 30.0, 25.0 + k], 1.5) for k, name in enumerate(NAMES)}
    curve = curves["DIP-l1"]
    assert (curve.peak, curve.peak_step, curve.final) == (30.0, 10, 26.0)
    entries = record(curves, DEMO)
    assert table(entries).splitlines()[2].split() == ["DIP-l1", "30.00", "10", "26.00", "4.00", "1.5"]
    assert (entries["DIP-l1"]["peak"], entries["DIP-l1"]["final"], entries["DIP-l1"]["seconds"]) == (30.0, 26.0, 1.5)
    left, right = figure(curves).axes
    told = [text.get_text() for text in left.get_legend().get_texts()]
    assert told[1:3] == ["DIP, ℓ1: peak 30.0 dB, final 26.0 dB", "DIP + 0.5·|s|: peak 30.0 dB, final 29.0 dB"]
    assert len(told) == 4
    assert list(right.lines[1].get_ydata()) == [26.0, 27.0, 28.0, 29.0, 25.0]  # ℓ1, the weights, ℓ2


def test_a_demonstration_stops_when_it_is_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    clean, told = small_picture(tmp_path / "clean.png", 64), threading.Event()
    others = set(psutil.Process().children())
    seen = []
    for event in demo.run(DemoJob(out=tmp_path, image=clean, steps=400_000, device="cpu"), told.is_set):
        seen.append(event)
        if isinstance(event, events.Underway) and event.done > 0:
            told.set()
    assert seen[0] == events.Begun(6 * 400_000)
    assert seen[-1] == events.Stopped(0, 6)
    assert set(psutil.Process().children()) <= others
    assert not list((tmp_path / "temporary").iterdir())
    assert not (tmp_path / "psnr_vs_iteration.json").exists()


def test_the_command_writes_plot_and_record_and_prints_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean = small_picture(tmp_path / "clean.png", 32)
    options = ("--noise", "random-valued", "--steps", 6, "--out", tmp_path / "made", "--device", "cpu")
    assert status("demo", "--image", clean, *options) == 0
    record = json.loads((tmp_path / "made" / "psnr_vs_iteration.json").read_text())
    written = record["methods"]
    assert (record["noise"], record["image"], record["seed"]) == ("random-valued", str(clean), 0)
    assert list(written) == NAMES
    for entry in written.values():
        assert entry["curve"]["step"] == [5, 6]
        assert entry["final"] == entry["curve"]["psnr"][-1]
    assert images.load(tmp_path / "made" / "psnr_vs_iteration.png").samples.shape[1] > 500
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()] == [
        "method",
        "DIP-l2",
        "DIP-l1",
        *["penalty"] * 3,
        "dip",
        "wrote",
    ]


def test_with_a_truth_the_image_is_taken_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean, noisy = tmp_path / "clean.png", tmp_path / "noisy.png"
    pixels = (sample()[:24, :24] * 255).astype(np.uint8)
    Image.fromarray(pixels).save(clean)
    Image.fromarray(255 - pixels).save(noisy)
    assert status("demo", "--image", noisy, "--truth", clean, "--steps", 1, "--out", tmp_path, "--quiet") == 0
    assert capsys.readouterr().out == ""
    assert json.loads((tmp_path / "psnr_vs_iteration.json").read_text())["methods"]["DIP-l2"]["curve"]["step"] == [1]


def test_a_picture_that_memory_does_not_hold_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clean = tmp_path / "clean.png"
    Image.fromarray(np.zeros((1000, 1000, 3), np.uint8)).save(clean)
    monkeypatch.setattr("dipsop.jobs.memory.free", lambda: 3 << 30)
    assert status("demo", "--image", clean, "--out", tmp_path / "made", "--device", "cpu") == 1
    assert "needs 3.3 GiB of memory and 3.0 GiB can be taken: close other programs" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_bad_input_is_named_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("demo", "--truth", "clean.png") == 2
    assert "--truth" in capsys.readouterr().err
    assert status("demo", "--image", "y.png", "--truth", "x.png", "--noise", "random-valued") == 2
    assert "--noise" in capsys.readouterr().err
    assert status("demo", "--image", tmp_path / "no.png", "--out", tmp_path / "made") == 1
    assert "no.png does not exist" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert status("demo", "--steps", 1, "--out", tmp_path / "file" / "made") == 1
    assert "cannot be made a folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
