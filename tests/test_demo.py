"""The demonstration and its example, small."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import status
from PIL import Image

from dipsop import iter_restore
from dipsop.commands.demo import table
from dipsop.jobs import demo, events
from dipsop.jobs.demo import Curve, DemoJob, corrupted, figure, methods, record, sample
from dipsop.pictures import images
from dipsop.pictures.quality import psnr
from dipsop.restoration.config import DEMO


def test_all_methods_start_from_the_same_network_on_the_same_schedule() -> None:
    configs = methods(steps=3, seed=5)
    shared = {
        (c.steps, c.seed, c.lr, c.optimizer, c.decay, c.width, c.skip_width, c.input_channels, c.input_noise, c.dtype)
        for c in configs.values()
    }
    assert len(shared) == 1
    assert [c.alpha > 0 for c in configs.values()] == [False, False, True]
    y = corrupted(sample()[:32, :32])
    first = [next(iter(iter_restore(y, config))).network_output() for config in configs.values()]
    np.testing.assert_array_equal(first[0], first[1])
    np.testing.assert_array_equal(first[0], first[2])


def test_the_sample_is_corrupted_on_three_tenths_of_its_values() -> None:
    clean = sample()
    assert clean.dtype == np.float32
    assert (corrupted(clean) != clean).mean() == pytest.approx(0.3, abs=0.01)


def test_a_curve_compares_every_fifth_step_and_the_last() -> None:
    clean = sample()[:32, :32]
    config = methods(steps=12)["DIP-SOP"]
    curve = Curve()
    for step in iter_restore(corrupted(clean), config):
        curve.add(step, clean)
    assert curve.steps == [5, 10, 12]
    *_, last = iter_restore(corrupted(clean), config)
    assert curve.final == psnr(last.network_output(), clean)


def test_peak_and_final_are_those_of_the_curve() -> None:
    curve = Curve([5, 10, 15], [20.0, 30.0, 25.0], 1.5)
    assert (curve.peak, curve.peak_step, curve.final) == (30.0, 10, 25.0)
    entries = record({"DIP-l1": curve}, DEMO)
    assert table(entries).splitlines()[1].split() == ["DIP-l1", "30.00", "10", "25.00", "5.00", "1.5"]
    entry = entries["DIP-l1"]
    assert (entry["peak"], entry["final"], entry["seconds"]) == (30.0, 25.0, 1.5)
    assert "peak 30.0 dB, final 25.0 dB" in figure({"DIP-l1": curve}).axes[0].get_legend().get_texts()[0].get_text()


def test_a_demonstration_stops_when_it_is_told_to(tmp_path: Path) -> None:
    clean = tmp_path / "clean.png"
    Image.fromarray((sample()[:24, :24] * 255).astype(np.uint8)).save(clean)
    seen: list[object] = []
    for event in demo.run(DemoJob(out=tmp_path, image=clean, steps=9), lambda: len(seen) >= 3):
        seen.append(event)
    assert seen[0] == events.Begun(9, "DIP-l2")
    assert seen[-1] == events.Stopped(0, 3)
    assert len(seen) < 6
    assert not (tmp_path / "psnr_vs_iteration.json").exists()


def test_the_command_writes_plot_and_record_and_prints_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean = tmp_path / "clean.png"
    Image.fromarray((sample()[:32, :32] * 255).astype(np.uint8)).save(clean)
    assert status("demo", "--image", clean, "--steps", 6, "--out", tmp_path / "made", "--device", "cpu") == 0
    written = json.loads((tmp_path / "made" / "psnr_vs_iteration.json").read_text())
    assert list(written) == ["DIP-l2", "DIP-l1", "DIP-SOP"]
    for entry in written.values():
        assert entry["curve"]["step"] == [5, 6]
        assert entry["final"] == entry["curve"]["psnr"][-1]
    assert images.load(tmp_path / "made" / "psnr_vs_iteration.png").samples.shape[1] > 500
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()] == ["method", "DIP-l2", "DIP-l1", "DIP-SOP", "wrote"]


def test_with_a_truth_the_image_is_taken_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean, noisy = tmp_path / "clean.png", tmp_path / "noisy.png"
    pixels = (sample()[:24, :24] * 255).astype(np.uint8)
    Image.fromarray(pixels).save(clean)
    Image.fromarray(255 - pixels).save(noisy)
    assert status("demo", "--image", noisy, "--truth", clean, "--steps", 1, "--out", tmp_path, "--quiet") == 0
    assert capsys.readouterr().out == ""
    assert json.loads((tmp_path / "psnr_vs_iteration.json").read_text())["DIP-l2"]["curve"]["step"] == [1]


def test_bad_input_is_named_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("demo", "--truth", "clean.png") == 2
    assert "--truth" in capsys.readouterr().err
    assert status("demo", "--image", tmp_path / "no.png", "--out", tmp_path / "made") == 1
    assert "no.png does not exist" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert status("demo", "--steps", 1, "--out", tmp_path / "file" / "made") == 1
    assert "cannot be made a folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
