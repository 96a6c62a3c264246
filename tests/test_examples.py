"""Every example, small."""

import json
import sys

import before_after
import benchmark_restoration
import numpy as np
import pytest

from dipsop.restoration import images


@pytest.fixture
def sample(tmp_path):
    rows, columns = np.mgrid[:40, :48]
    path = tmp_path / "scene.png"
    images.save_values(path, np.stack([rows / 40, columns / 48, (rows + columns) / 90], -1).astype(np.float32))
    return path


def test_before_after_shows_three_parts_side_by_side(sample, tmp_path):
    out = tmp_path / "row.png"
    before_after.main([str(sample), "--out", str(out), "--steps", "2"])
    picture = images.load(out).values
    assert picture.shape == (40, 3 * 48 + 2 * before_after.GAP, 3)
    assert (picture[:, :48] == images.load(sample).values).all()


def test_benchmark_measures_methods_on_corrupted_pictures(sample, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["benchmark_restoration.py", "--images", str(sample), "--steps", "3", "--out", str(tmp_path)]
    )
    benchmark_restoration.main()
    record = json.loads((tmp_path / "benchmark.json").read_text())
    runs = {(run["corruption"], run["method"]): run for run in record["runs"]}
    assert len(runs) == len(benchmark_restoration.METHODS) * len(benchmark_restoration.CORRUPTIONS)
    assert runs["salt-and-pepper:0.5", "extremes filled"]["psnr"] > runs["salt-and-pepper:0.5", "best median"]["psnr"]
    assert runs["random-valued:0.3", "best median"]["psnr"] > runs["random-valued:0.3", "input"]["psnr"] + 5
    assert all(run["peak_memory"] > 1e7 for run in runs.values())
    assert runs["random-valued:0.3", "input"]["clean_changed"] == 0
    assert capsys.readouterr().out.strip() == (tmp_path / "benchmark.md").read_text().strip()
