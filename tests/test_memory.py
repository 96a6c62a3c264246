"""Large pictures: pieces within a budget, no seams, and smaller pieces where memory turns out to be short."""

import gc
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from command_line import QUICK, status

import dipsop
from dipsop.errors import DipsopError
from dipsop.jobs import fitting, memory, restore
from dipsop.jobs.canvas import Canvas
from dipsop.jobs.events import Noted, Stopped
from dipsop.jobs.job import RestoreJob
from dipsop.pictures import images, noise
from dipsop.pictures.picture import Picture
from dipsop.restoration.fit import Step
from dipsop.restoration.held_out import HeldOutFit

CPU = torch.device("cpu")
SMALL = dipsop.HeldOut(steps=6, rounds=2, crop=16, widths=(8, 8), flips=1)


def test_what_the_command_line_allows_decides_on_the_pieces(here, capsys):
    images.save_values(Path("large.png"), np.random.default_rng(0).random((300, 400, 3), dtype=np.float32))
    command = ("restore", "large.png", "--out", "out.png", "--preset", "quick", "--steps", 1, "--device", "cpu")
    assert status(*command, "--memory", "812M") == 0
    assert " in 4 pieces in " in capsys.readouterr().out
    assert status(*command, "--memory", "800M") == 1
    assert "allow more by --memory, or scale it down." in capsys.readouterr().err
    assert status(*command, "--memory", "much") == 2
    assert "say 4G or 1.5G" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["4G", "4GiB", "4 gb", "4096M", "4194304k", "4294967296"])
def test_amounts_of_memory_are_read_as_people_write_them(text):
    assert memory.parsed(text) == 4 << 30


@pytest.mark.parametrize("text", ["", "much", "0", "-1G", "1X", "G"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(ValueError, match="is not an amount of memory"):
        memory.parsed(text)


@pytest.mark.parametrize("most_pixels", [None, 10**6, 100, 57])
@pytest.mark.parametrize("size", [(31, 50), (7, 200), (64, 64)])
def test_pieces_cover_every_value_once_and_are_of_about_one_size(size, most_pixels):
    picture = Picture(samples=np.zeros((*size, 3), np.uint8))
    canvas = Canvas(picture, most_pixels)
    count = np.zeros(size, int)
    for piece in canvas.pieces:
        count[piece.inner] += 1
        rows, columns = piece.inner
        assert most_pixels is None or (rows.stop - rows.start) * (columns.stop - columns.start) <= most_pixels
        inner = np.zeros(size)[piece.outer][piece.inner_of_outer]
        assert inner.shape == (rows.stop - rows.start, columns.stop - columns.start)
    assert (count == 1).all()


def test_files_that_a_container_only_keeps_in_memory_count_as_free(tmp_path, monkeypatch):
    (tmp_path / "limit").write_text(f"{2 << 30}\n")
    (tmp_path / "used").write_text(f"{1700 << 20}\n")
    (tmp_path / "memory.stat").write_text(f"anon {500 << 20}\ninactive_file {1200 << 20}\nactive_file 5\n")
    monkeypatch.setattr(memory, "_CONTAINERS", [(tmp_path, "limit", "used", "inactive_file")])
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=8 << 30))
    assert memory.free() == (2048 - 500) << 20
    (tmp_path / "limit").write_text("max\n")
    assert memory.free() == 8 << 30


def test_a_budget_makes_pieces_and_one_that_is_too_small_a_sentence():
    picture = Picture(samples=np.zeros((2000, 3000, 3), np.uint8))
    quick, dip = dipsop.PRESETS["quick"], dipsop.PRESETS["dip"]
    assert memory.most_pixels(picture, quick, 8 << 30, CPU, Path("a.png")) is None
    pixels = memory.most_pixels(picture, quick, 1 << 30, CPU, Path("a.png"))
    assert memory.SMALLEST <= pixels < 6_000_000
    # A whole-image fit keeps what all of its layers say.
    assert memory.SMALLEST <= memory.most_pixels(picture, dip, 2 << 30, CPU, Path("a.png")) < pixels
    with pytest.raises(DipsopError, match=r"a\.png needs .* GiB of memory and 0\.5 GiB can be taken: .*\.$"):
        memory.most_pixels(picture, quick, 500 << 20, CPU, Path("a.png"))
    with pytest.raises(
        DipsopError, match=r"allow more by --memory, take fewer at a time by --jobs, or scale it down\.$"
    ):
        memory.most_pixels(picture, quick, 500 << 20, CPU, Path("a.png"), of_many=True)


@pytest.fixture
def large(here):
    rows, columns = np.mgrid[:300, :420]
    clean = np.stack([rows / 400, columns / 500, (rows + columns) / 900], -1).astype(np.float32)
    images.save_values(Path("flat.png"), clean)
    images.save_values(Path("large.png"), noise.random_valued(clean, 0.1, 0)[0])
    return clean


def test_a_picture_in_pieces_is_restored_as_well_and_without_seams(large, monkeypatch, capsys):
    monkeypatch.setitem(dipsop.PRESETS, "quick", replace(dipsop.PRESETS["quick"], flips=1, rounds=2))
    monkeypatch.setattr(memory, "most_pixels", lambda *_: 150 * 150)
    command = ["restore", "large.png", "--out", "out.png", "--truth", "flat.png", "--steps", 6, "--device", "cpu"]
    assert status(*command, "--json", "--quiet") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["pieces"] == 6
    assert report["steps"] == 36
    assert report["psnr"] > 40
    # A seam would be a jump across the border of two pieces that the clean picture does not have.
    jumps = np.abs(np.diff(images.load(Path("out.png")).values - large, axis=1)).mean((0, 2))
    for border in (140, 280):  # three pieces of 420 columns; the jump across a border lies in front of its first column
        assert jumps[border - 1] < 2 * jumps.mean() + 1e-4


def test_no_piece_is_fitted_beside_the_fit_of_the_one_before(large, monkeypatch):
    fits, alive = fitting.iter_restore, []

    def count():
        gc.collect()
        return sum(type(thing) is HeldOutFit for thing in gc.get_objects())

    def watched(*arguments, **options):
        alive.append(count())
        return fits(*arguments, **options)

    monkeypatch.setattr(fitting, "iter_restore", watched)
    monkeypatch.setattr(memory, "most_pixels", lambda *_: 150 * 150)
    monkeypatch.setitem(dipsop.PRESETS, "quick", SMALL)
    before = count()
    assert status("restore", "large.png", "--out", "out.png", *QUICK) == 0
    assert alive == [before] * 6


def test_pieces_that_a_time_limit_ends_count_the_steps_that_they_took(large, monkeypatch):
    monkeypatch.setattr(memory, "most_pixels", lambda *_: 220 * 220)
    config = replace(SMALL, steps=100_000, time_limit=2.0)
    job = RestoreJob(source=Path("large.png"), out=Path("out.png"), preset="quick", config=config, device="cpu")
    events = list(restore.run(job))
    steps = [event.iteration for event in events if isinstance(event, Step)]
    assert events[-1].report["pieces"] == 4
    assert steps == list(range(1, len(steps) + 1))
    assert events[-1].report["steps"] == len(steps)


def test_short_of_memory_it_goes_on_in_smaller_pieces_and_says_so(large, monkeypatch, capsys):
    monkeypatch.setitem(dipsop.PRESETS, "quick", SMALL)
    fits, largest = fitting.iter_restore, []

    def short(values, *arguments, **options):
        largest.append(values.shape[0] * values.shape[1])
        if values.shape[0] * values.shape[1] > 300 * 300:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: not enough memory")
        return fits(values, *arguments, **options)

    monkeypatch.setattr(fitting, "iter_restore", short)
    monkeypatch.setattr(memory, "SMALLEST", 1000)
    assert status("restore", "large.png", "--out", "out.png", *QUICK) == 0
    out, err = capsys.readouterr()
    assert re.search(r"not enough memory: going on in pieces of 0\.\d megapixels", err)
    assert re.search(r"steps +\d+ in \d+ pieces", out)
    assert largest[0] == 300 * 420

    monkeypatch.setattr(memory, "SMALLEST", 10**9)
    assert status("restore", "large.png", "--out", "other.png", *QUICK) == 1
    assert "needs more memory than there is: close other programs." in capsys.readouterr().err
    assert not Path("other.png").exists()


@pytest.mark.parametrize("truth", [None, "clean.png"])
def test_of_the_work_that_was_given_up_nothing_is_left_in_the_trace(here, monkeypatch, truth):
    """It failed after three steps over the whole; then it went on in pieces, of which every step counts once."""
    fits, tries = fitting.iter_restore, []

    def short(values, *arguments, **options):
        tries.append(values.shape)
        for step in fits(values, *arguments, **options):
            if len(tries) == 1 and step.iteration > 3:
                raise RuntimeError("DefaultCPUAllocator: not enough memory")
            yield step

    monkeypatch.setattr(fitting, "iter_restore", short)
    monkeypatch.setattr(memory, "SMALLEST", 100)
    files = {"out": Path("out.png"), "trace": Path("trace.json"), "truth": truth and Path(truth)}
    job = RestoreJob(source=Path("noisy.png"), preset="quick", config=SMALL, device="cpu", **files)
    *_, done = restore.run(job)
    steps = [point["step"] for point in json.loads(Path("trace.json").read_text())["points"]]
    assert steps == list(range(1, done.report["pieces"] * SMALL.steps + 1))
    assert done.report["pieces"] > 1


def test_a_resumed_run_heeds_less_memory_and_begins_anew_where_it_has_to(here, monkeypatch):
    job = RestoreJob(source=Path("noisy.png"), out=Path("out.png"), preset="quick", config=SMALL, device="cpu")
    of_one = {"checkpoint": Path("state"), "resume": True, "of_many": True}
    *_, stopped = restore.run(replace(job, **of_one), lambda: True)
    assert isinstance(stopped, Stopped)
    state = Path("state").read_bytes()
    monkeypatch.setattr(memory, "most_pixels", lambda *_: 20 * 20)
    *_, gone_on = restore.run(replace(job, **of_one))  # nothing was said of memory: it goes on as it was
    assert (gone_on.report["pieces"], "notes" in gone_on.report) == (1, False)
    Path("state").write_bytes(state)
    events = list(restore.run(replace(job, **of_one, memory=1 << 30)))
    assert [event for event in events if isinstance(event, Noted)] == [Noted(events[-1].report["notes"][0])]
    assert "more than --memory allows" in events[-1].report["notes"][0]
    assert events[-1].report["pieces"] == 4
    assert events[-1].report["steps"] == 4 * SMALL.steps


def test_other_errors_are_not_taken_for_a_lack_of_memory(large, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(fitting, "iter_restore", broken)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        dipsop.cli.main(["restore", "large.png", "--out", "out.png", *QUICK])
