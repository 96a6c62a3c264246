"""The record of a fit, its curves, and how they are written."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dipsop import WholeImage, iter_restore
from dipsop.files import as_json, save_figure, save_json
from dipsop.jobs.trace import Point, Trace, curves, record
from dipsop.pictures.noise import random_valued
from dipsop.pictures.quality import psnr, ssim

SMALL = {"width": 4, "input_channels": 2, "dtype": "float32"}


def picture(seed: int = 0, side: int = 32) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] / side
    return np.stack([rows, columns, (rows + columns) / 2], -1).astype(np.float32) * 0.8 + 0.1 * rng.random(
        3, np.float32
    )


def traced(steps: int, truth: NDArray[np.float32] | None = None, stop_after: int | None = None) -> Trace:
    trace = Trace(truth)
    for step in iter_restore(random_valued(picture(), 0.3, 0)[0], WholeImage(steps=steps, **SMALL)):
        trace.add(step)
        if step.iteration == stop_after:
            break
    trace.finish(step)
    return trace


def test_a_short_fit_is_recorded_step_by_step() -> None:
    points = traced(12).points
    assert [point.step for point in points] == list(range(1, 13))
    assert all(point.psnr is None and point.ssim is None for point in points)
    assert all(math.isfinite(point.loss) and 0 <= point.fraction_corrupted <= 1 for point in points)
    assert [point.seconds for point in points] == sorted(point.seconds for point in points)


def test_a_long_fit_gives_about_a_hundred_points_of_which_twenty_are_compared_with_the_truth() -> None:
    points = traced(250, picture()).points
    assert 95 <= len(points) <= 101
    assert 18 <= sum(point.psnr is not None for point in points) <= 21
    assert points[-1].step == 250


def test_the_last_step_is_recorded_once_and_compared_however_the_fit_ended() -> None:
    for stop_after in (None, 7, 8):
        points = traced(30, picture(), stop_after).points
        assert points[-1].step == (stop_after or 30)
        assert points[-1].psnr is not None
        assert len({point.step for point in points}) == len(points)


def test_the_truth_changes_nothing_but_what_is_recorded() -> None:
    with_truth, without = traced(20, picture()).points, traced(20).points
    assert [(p.step, p.loss, p.fraction_corrupted) for p in with_truth] == [
        (p.step, p.loss, p.fraction_corrupted) for p in without
    ]


def test_psnr_and_ssim_agree_with_scikit_image() -> None:
    clean = picture()
    noisy = random_valued(clean, 0.2, 1)[0]
    assert psnr(noisy, clean) == pytest.approx(peak_signal_noise_ratio(clean, noisy, data_range=1), abs=1e-4)
    assert ssim(noisy, clean) == pytest.approx(structural_similarity(clean, noisy, data_range=1, channel_axis=-1))


def test_equal_pictures_have_infinite_psnr_and_tiny_ones_no_ssim() -> None:
    clean = picture()
    assert psnr(clean, clean) == math.inf
    assert ssim(clean, clean) == pytest.approx(1)
    assert ssim(clean[:4, :5], clean[:4, :5]) == pytest.approx(1)
    assert math.isnan(ssim(clean[:2], clean[:2]))


def test_a_record_is_valid_json_with_null_for_what_json_has_no_number_for(tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    save_json(file, record([Point(1, 0.5, math.nan, 0.25, math.inf, 0.5)], {"preset": "quick"}))
    point = {"step": 1, "seconds": 0.5, "loss": None, "fraction_corrupted": 0.25, "psnr": None, "ssim": 0.5}
    assert json.loads(file.read_text()) == {"preset": "quick", "points": [point]}
    assert json.loads(as_json((1, -math.inf))) == [1, None]


def test_curves_have_a_panel_for_psnr_only_where_it_was_measured() -> None:
    plain = [Point(1, 0.1, 0.2, 0.0), Point(2, 0.2, 0.1, 0.3)]
    assert [axes.get_ylabel() for axes in curves(plain).axes] == ["loss", "found corrupted, %"]
    measured = [*plain, Point(3, 0.3, 0.1, 0.3, 25.0, 0.9)]
    panel = curves(measured).axes[2]
    assert panel.get_ylabel() == "PSNR, dB"
    assert panel.lines[0].get_xydata().tolist() == [[3, 25.0]]


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".SVG", b"<?xml")])
def test_figures_are_written_in_the_format_of_the_suffix(tmp_path: Path, suffix: str, start: bytes) -> None:
    file = tmp_path / f"curves{suffix}"
    save_figure(file, curves([]))
    assert file.read_bytes().startswith(start)
