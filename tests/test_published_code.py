"""The preset paper against the published equations, written anew in published_stand_in.py; the record of the code."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import published_code
import pytest
import torch
from torch import nn

from dipsop import PRESETS
from dipsop.pictures import images

TESTS = Path(__file__).parent
RECORD = TESTS.parent / "examples/benchmark/published_code.json"


def stand_in(folder, *changes):
    """A checkout whose denoising.py is the stand-in, with changes (old, new)."""
    source = (TESTS / "published_stand_in.py").read_text(encoding="utf-8")
    for old, new in changes:
        assert source.count(old) == 1
        source = source.replace(old, new)
    (folder / "data/denoising").mkdir(parents=True)
    (folder / "denoising.py").write_text(source, encoding="utf-8")
    picture = np.random.default_rng(0).random((80, 96, 3), dtype=np.float32)
    images.save_values(folder / "data/denoising/F16.png", picture)
    return folder


def largest(rows, run, part):
    return max(row["difference"][run][part] for row in rows)


def test_paper_preset_takes_the_steps_of_the_published_equations(tmp_path):
    """In float32 after one step; rounding then grows a thousandfold from step to step, so after five in float64."""
    rows = published_code.compare(stand_in(tmp_path), side=64, width=8, steps=5, seed=0)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    assert rows[0]["loss_dipsop"] == pytest.approx(rows[0]["loss_published"], rel=1e-6)
    first = rows[0]["difference"]["float32"]
    assert first["f"] < 1e-4
    assert first["s"] < 1e-3 * rows[0]["largest_s"]
    for run in ("float64", "float64, channels last"):
        assert largest(rows, run, "f") < 1e-7
        assert largest(rows, run, "weights") < 1e-7
        assert largest(rows, run, "s") < 1e-6 * rows[0]["largest_s"]


@pytest.mark.parametrize(
    "change",
    [
        ("lr=1)", "lr=1.001)"),
        ("lr=500)", "lr=500.5)"),
        ("lr=1)", "lr=1, momentum=0.01)"),
        ("LeakyReLU(0.2)", "LeakyReLU(0.2002)"),
        ("scale_factor=2", "scale_factor=2, align_corners=True"),
        ("nn.MSELoss()", "nn.L1Loss()"),
    ],
    ids=lambda change: change[1],
)
def test_the_comparison_sees_where_the_published_code_is_another(tmp_path, change):
    rows = published_code.compare(stand_in(tmp_path, change), side=64, width=8, steps=2, seed=0)
    assert max(largest(rows, "float64", "weights"), largest(rows, "float64", "s") / rows[0]["largest_s"]) > 1e-5


def test_a_network_with_a_weight_that_nothing_reaches_is_refused():
    network = nn.Sequential(nn.Conv2d(2, 2, 1))
    assert len(published_code.weights_as_they_run(network, torch.zeros(1, 2, 4, 4))) == 2
    network.register_parameter("idle", nn.Parameter(torch.zeros(1)))
    with pytest.raises(ValueError, match="every weight"):
        published_code.weights_as_they_run(network, torch.zeros(1, 2, 4, 4))


def test_the_record_is_written_with_a_time_that_is_extrapolated(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(published_code, "PAPER", dataclasses.replace(PRESETS["paper"], width=8))
    timed = ["--time-side", "64", "--time-steps", "2", "--threads", "1", "--out", str(tmp_path / "out")]
    published_code.main([str(stand_in(tmp_path)), "--steps", "2", "--width", "8", *timed])
    record = json.loads((tmp_path / "out/published_code.json").read_text())
    assert record["time"]["days_extrapolated"] == pytest.approx(min(record["time"]["seconds"]) * 150_000 / 86_400)
    assert len(record["rows"]) == record["steps"] == 2
    assert "extrapolated, not run" in capsys.readouterr().out


def test_the_record_says_that_the_first_50_steps_are_the_published_ones():
    """To the bit in their memory layout, in float64 throughout; in dipsop's own, apart by rounding."""
    record = json.loads(RECORD.read_text())
    rows = record["rows"]
    assert (record["side"], record["width"], record["steps"], len(rows)) == (64, 128, 50, 50)
    assert record["alpha"] == 1000 / (3 * 64 * 64)
    for run, steps in (("float32", 40), ("float64", 50)):
        assert largest(rows[:steps], run, "f") == largest(rows[:steps], run, "weights") == 0
        bit = torch.finfo(getattr(torch, run)).eps
        assert all(row["difference"][run]["s"] < 16 * bit * row["largest_s"] for row in rows[:steps])
    half_a_bit = torch.finfo(torch.float32).eps / 2
    assert largest(rows, "float64, channels last", "f") < half_a_bit
    assert largest(rows, "float64, channels last", "weights") < half_a_bit
    for row in rows:
        assert row["difference"]["float32, channels last"]["f"] < 4 * row["rounding"]["f"]
