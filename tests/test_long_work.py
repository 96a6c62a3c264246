"""Fits that are killed, resumed, recorded, previewed and masked."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path

import command_line
import numpy as np
import pytest
import tifffile
import torch
from command_line import QUICK, listing, status, until

import dipsop
from dipsop.checkpoint import _unfinished, load_state, remove_state, save_state
from dipsop.errors import DipsopError
from dipsop.jobs import checkpoints, memory, restore
from dipsop.jobs.events import Preview, Stopped
from dipsop.jobs.job import RestoreJob
from dipsop.jobs.record import recorded
from dipsop.pictures import images, noise
from dipsop.pictures.preview import first_estimate
from dipsop.pictures.quality import psnr
from dipsop.pictures.tiles import TILE
from dipsop.restoration.fit import Step, iter_restore

CONFIGS = [
    dipsop.HeldOut(steps=9, rounds=3, crop=32, widths=(8, 8), flips=2),
    dipsop.WholeImage(steps=9, width=8, input_noise=0.03, decay="cosine"),
    dipsop.WholeImage(steps=9, width=8, alpha=2.0),
    dipsop.WholeImage(
        steps=9, width=8, optimizer="sgd", random_factors=True, corruption_step="gradient", alpha=2.0, bound=None
    ),
]


@pytest.fixture
def noisy():
    rows, columns = np.mgrid[:40, :48]
    clean = np.stack([rows / 50, columns / 60, (rows + columns) / 110], -1).astype(np.float32)
    return noise.salt_and_pepper(clean, 0.2, 0)[0]


# ---- states -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("kept_after", [1, 3, 8])
def test_a_fit_goes_on_from_a_saved_state_as_if_it_had_not_stopped(noisy, config, kept_after, tmp_path):
    for step in iter_restore(noisy, config):
        if step.iteration == kept_after:
            save_state(tmp_path / "state", step.state())
    whole = step.restoration()
    state = load_state(tmp_path / "state")
    for _ in range(2):  # a state that was gone on from is what it was
        *_, last = iter_restore(noisy, config, state=state)
        again = last.restoration()
        for name in ("image", "network_output", "sparse_corruption", "corrupted"):
            np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
        assert last.iteration == 9


def test_a_resumed_fit_knows_at_once_how_long_its_rounds_take(noisy):
    steps = list(iter_restore(noisy, CONFIGS[0]))
    first = next(iter_restore(noisy, CONFIGS[0], state=steps[-2].state()))
    assert first._fit._view_seconds > 0


def test_time_left_counts_down_to_nothing(noisy):
    left = [step.seconds_left for step in iter_restore(noisy, replace(CONFIGS[0], steps=60))]
    assert all(seconds >= 0 for seconds in left)
    assert left[-1] < left[6] < 60


def test_time_left_counts_the_last_prediction_of_what_a_mask_covers(noisy):
    """Of the tiles that it covers: with holes in one of two half as long as with holes in both."""
    wide, everywhere = np.zeros((16, 2 * TILE, 3), np.float32), np.ones((16, 2 * TILE), bool)
    in_one = everywhere & (np.arange(2 * TILE) < TILE)
    of_both, of_one, of_none = (
        list(iter_restore(wide, CONFIGS[0], mask=mask))[-1] for mask in (everywhere, in_one, ~everywhere)
    )
    assert of_none.seconds_left == 0
    for last, views in ((of_both, CONFIGS[0].flips), (of_one, CONFIGS[0].flips / 2)):
        assert last.seconds_left == pytest.approx(views * last._fit._view_seconds)
        assert last._fit._view_seconds > 0


# ---- checkpoints ------------------------------------------------------------------------------------------------

EAGER = (
    "from dipsop.jobs import fitting; fitting.SECONDS_BETWEEN_CHECKPOINTS = 0.01; "
    "fitting.SECONDS_BETWEEN_PREVIEWS = 0.01; import dipsop.__main__"
)


def started(folder: Path, *options: str) -> "AbstractContextManager[subprocess.Popen[str]]":
    command = ["-c", EAGER, "restore", "noisy.png", "--out", "out.png", "--device", "cpu"]
    return command_line.started([*command, *options], folder)


def written_anew(path: Path, process: "subprocess.Popen[str]") -> None:
    """Wait until a file is there, or another in its place."""
    before = path.stat().st_ino if path.exists() else None

    def anew() -> bool:
        assert process.poll() is None
        with suppress(OSError):
            return path.stat().st_ino != before
        return False

    until(anew)


@pytest.mark.parametrize("preset", ["quick", "dip"])
def test_killed_at_any_moment_it_goes_on_and_ends_bit_equal(here, preset):
    options = ["--preset", preset, "--steps", "60", "--checkpoint", "state", "--quiet"]
    assert status("restore", "noisy.png", "--out", "whole.png", "--preset", preset, "--steps", 60, "--quiet") == 0
    random = np.random.default_rng(0)
    for _ in range(3):
        with started(here, *options, "--resume") as process:
            written_anew(Path("state"), process)
            time.sleep(0.05 * random.random())
            assert process.poll() is None
            process.kill()
    with started(here, *options, "--resume") as process:
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (0, "", "")
    assert Path("out.png").read_bytes() == Path("whole.png").read_bytes()
    assert not Path("state").exists()  # done: there is nothing to go on with
    assert not list(here.glob(".dipsop-*"))


def test_what_a_kill_left_of_a_checkpoint_is_written_over_and_goes_with_it(tmp_path):
    state, half = tmp_path / "state", _unfinished(tmp_path / "state")
    half.write_bytes(b"half")  # as a kill in the middle of writing leaves it
    save_state(state, {"steps": 3})
    assert load_state(state) == {"steps": 3}
    assert not half.exists()
    half.write_bytes(b"half")
    remove_state(state)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_that_cannot_be_removed_does_not_end_a_run_that_is_done(tmp_path, monkeypatch):
    def closed(path, missing_ok=False):
        raise PermissionError(13, "Permission denied", str(path))

    save_state(tmp_path / "state", {"steps": 3})
    monkeypatch.setattr(Path, "unlink", closed)
    remove_state(tmp_path / "state")
    assert load_state(tmp_path / "state") == {"steps": 3}


@pytest.mark.parametrize("stop_after", [4, 9, 11])
def test_what_is_told_of_a_resumed_run_is_told_of_all_of_it(here, monkeypatch, stop_after):
    """The course, and λ: the mean over the pieces, of which some were done before the kill."""
    monkeypatch.setattr(memory, "most_pixels", lambda *_: 24 * 24)
    config = dipsop.HeldOut(steps=9, rounds=3, crop=16, widths=(8, 8), flips=1)

    def job(name, **more):
        files = {"out": Path(f"{name}.png"), "trace": Path(f"{name}.json")}
        return RestoreJob(source=Path("noisy.png"), preset="quick", config=config, device="cpu", **files, **more)

    *_, whole = restore.run(job("whole"))
    seen = []
    for event in restore.run(job("again", checkpoint=Path("state"), of_many=True), lambda: len(seen) >= stop_after):
        if isinstance(event, Step):
            seen.append(event)
    assert isinstance(event, Stopped)
    *_, again = restore.run(job("again", checkpoint=Path("state"), resume=True))
    assert whole.report["pieces"] == 2
    assert again.report["effective_lambda"] == whole.report["effective_lambda"]
    courses = [json.loads(Path(f"{name}.json").read_text())["points"] for name in ("whole", "again")]
    assert [p["step"] for p in courses[0]] == [p["step"] for p in courses[1]] == list(range(1, 19))
    assert [p["loss"] for p in courses[0]] == [p["loss"] for p in courses[1]]
    assert [p["seconds"] for p in courses[1]] == sorted(p["seconds"] for p in courses[1])
    assert Path("whole.png").read_bytes() == Path("again.png").read_bytes()


def test_a_time_limit_that_is_over_does_not_end_what_was_long_under_way(here):
    config = dipsop.HeldOut(steps=9, rounds=3, crop=16, widths=(8, 8), flips=1)
    files = {"source": Path("noisy.png"), "out": Path("out.png"), "checkpoint": Path("state")}
    job = RestoreJob(preset="quick", config=config, device="cpu", resume=True, **files)
    assert isinstance(list(restore.run(replace(job, of_many=True), lambda: True))[-1], Stopped)
    before = listing(here)
    with pytest.raises(dipsop.DipsopError, match=r"^the work has taken \d+ s already: say a longer --time-limit"):
        list(restore.run(replace(job, config=replace(config, time_limit=1e-3))))
    assert listing(here) == before
    assert list(restore.run(replace(job, config=replace(config, time_limit=1e6))))[-1].report["steps"] == 9


def test_a_checkpoint_holds_tensors_and_no_code_and_of_other_work_is_refused(here, capsys):
    command = ["restore", "noisy.png", "--out", "out.png", "--checkpoint", "state", "--preset", "dip"]
    with started(here, *command[4:], "--steps", "100000") as process:
        written_anew(Path("state"), process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 143
    assert torch.load("state", weights_only=True)["step"]["iteration"] > 0
    before = listing(here)
    for other in (["--steps", "100000", "--seed", "1"], ["--steps", "7"]):
        assert status(*command, *other, "--device", "cpu", "--resume") == 1
        assert re.fullmatch(r"dipsop: state is of another picture, .*\.\n", capsys.readouterr().err)
    Path("state").write_bytes(before["state"][:100])
    assert status(*command, "--steps", 100000, "--device", "cpu", "--resume") == 1
    assert re.fullmatch(r"dipsop: state is damaged .*: name another checkpoint\.\n", capsys.readouterr().err)
    assert {k: v for k, v in listing(here).items() if k != "state"} == {k: v for k, v in before.items() if k != "state"}


def test_a_checkpoint_of_an_older_format_is_refused_in_a_sentence(here, monkeypatch):
    config = dipsop.HeldOut(steps=9, rounds=3, crop=16, widths=(8, 8), flips=1)
    files = {"source": Path("noisy.png"), "out": Path("out.png"), "checkpoint": Path("state")}
    job = RestoreJob(preset="quick", config=config, device="cpu", **files)
    seen = []
    with monkeypatch.context() as older:
        older.setattr(checkpoints, "FORMAT", checkpoints.FORMAT - 1)
        for event in restore.run(replace(job, of_many=True), lambda: len(seen) > 4):
            seen.append(event)
    assert isinstance(seen[-1], Stopped)
    assert Path("state").exists()
    with pytest.raises(dipsop.DipsopError, match=r"^state is of .* another version: .*\.$"):
        list(restore.run(replace(job, resume=True)))
    assert not Path("out.png").exists()


def test_a_file_that_is_no_checkpoint_is_never_written_over_or_removed(here, capsys):
    Path("thesis.odt").write_bytes(b"years of work")
    before = listing(here)
    command = ["restore", "noisy.png", "--out", "out.png", "--checkpoint", "thesis.odt", *QUICK]
    assert status(*command) == 1
    said = "dipsop: thesis.odt is there already: go on with --resume, or name another.\n"
    assert capsys.readouterr().err == said
    assert status(*command, "--resume") == 1
    assert "thesis.odt is damaged" in capsys.readouterr().err
    assert listing(here) == before


def test_resume_needs_a_checkpoint_and_starts_anew_where_there_is_none_yet(here, capsys):
    assert status("restore", "noisy.png", "--out", "out.png", "--resume", *QUICK) == 2
    assert "--checkpoint" in capsys.readouterr().err
    assert status("restore", "noisy.png", "--out", "out.png", "--resume", "--checkpoint", "state", *QUICK) == 0


# ---- records ----------------------------------------------------------------------------------------------------


def test_a_record_repeats_the_work_bit_for_bit(here, capsys):
    assert status("restore", "noisy.png", "--out", "out.png", "--record", "r.json", "--seed", 3, *QUICK) == 0
    said = json.loads(Path("r.json").read_text())
    assert said["job"]["config"]["seed"] == 3
    assert said["versions"]["dipsop"] == dipsop.__version__
    assert said["result"]["fraction_corrupted"] > 0
    assert said["result"]["effective_lambda"] > 0
    assert all(re.fullmatch(r"[0-9a-f]{64}", said["sha256"][name]) for name in ("source", "out"))
    capsys.readouterr()
    assert status("restore", "--from-record", "r.json", "--out", "again.png", "--json") == 0
    assert json.loads(capsys.readouterr().out)["as_recorded"] is True
    assert Path("again.png").read_bytes() == Path("out.png").read_bytes()


def test_a_result_in_another_format_is_not_held_against_the_recorded_one(here, capsys):
    assert status("restore", "noisy.png", "--out", "out.png", "--record", "r.json", "--quiet", *QUICK) == 0
    assert status("restore", "--from-record", "r.json", "--out", "again.tif", "--json") == 0
    assert "as_recorded" not in json.loads(capsys.readouterr().out)
    np.testing.assert_array_equal(images.load(Path("again.tif")).samples, images.load(Path("out.png")).samples)


def test_a_record_of_another_versions_options_is_refused_with_that_version(here, capsys):
    assert status("restore", "noisy.png", "--out", "out.png", "--record", "r.json", "--quiet", *QUICK) == 0
    said = json.loads(Path("r.json").read_text())
    said["job"]["config"]["patience"], said["versions"]["dipsop"] = 3, "0.0.7"
    Path("r.json").write_text(json.dumps(said))
    assert status("restore", "--from-record", "r.json", "--out", "again.png") == 1
    said = "dipsop: r.json was written by dipsop 0.0.7 with other options: install that version.\n"
    assert capsys.readouterr().err == said


def test_a_record_of_this_version_that_was_damaged_is_said_to_be(here, capsys):
    assert status("restore", "noisy.png", "--out", "out.png", "--record", "r.json", "--quiet", *QUICK) == 0
    said = json.loads(Path("r.json").read_text())
    del said["job"]["config"]
    Path("r.json").write_text(json.dumps(said))
    assert status("restore", "--from-record", "r.json", "--out", "again.png") == 1
    assert capsys.readouterr().err == "dipsop: r.json is damaged: name a record that is as restore --record wrote it.\n"


def test_a_record_repeats_in_the_number_format_that_auto_came_to(here):
    assert status("restore", "noisy.png", "--out", "out.png", "--record", "r.json", "--quiet", *QUICK) == 0
    said = json.loads(Path("r.json").read_text())
    assert said["job"]["config"]["dtype"] == "auto"
    for dtype in ("float32", "bfloat16"):
        said["result"]["dtype"] = dtype
        Path("r.json").write_text(json.dumps(said))
        assert recorded(Path("r.json"))[0].config.dtype == dtype


def test_a_record_of_masks_and_of_an_interrupted_run_repeats_too(here):
    images.save_values(Path("mask.png"), images.load(Path("noisy.png")).values[..., :1] > 0.9)
    options = ["--mask", "mask.png", "--record", "r.json", "--device", "cpu", "--steps", "100000", "--quiet"]
    with started(here, *options, "--preview", "p.png") as process:
        for _ in range(3):  # the classical one, and two of the fit's: it has taken steps
            written_anew(Path("p.png"), process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 143
    assert json.loads(Path("r.json").read_text())["result"]["reason"] == "interrupted"
    assert status("restore", "--from-record", "r.json", "--out", "again.png", "--quiet") == 0
    assert Path("again.png").read_bytes() == Path("out.png").read_bytes()


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read"), (b"{", "is no record"), (b"[1]", "is no record"), (b'{"job": {}}', "is no record")],
)
def test_what_is_no_record_is_said(here, capsys, content, said):
    if content is not None:
        Path("r.json").write_bytes(content)
    assert status("restore", "--from-record", "r.json", "--out", "out.png") == 1
    assert re.fullmatch(rf"dipsop: r\.json {said}.*\.\n", capsys.readouterr().err)


def test_a_record_of_a_picture_that_has_become_a_stack_is_refused(here, capsys):
    samples = images.load(Path("noisy.png")).samples
    tifffile.imwrite("scan.tif", samples)
    assert status("restore", "scan.tif", "--out", "out.tif", "--record", "r.json", "--quiet", *QUICK) == 0
    before = Path("out.tif").read_bytes()
    tifffile.imwrite("scan.tif", np.stack([samples, samples]), photometric="rgb")
    assert status("restore", "--from-record", "r.json") == 1
    assert "scan.tif is not the file of the record: bring that one back." in capsys.readouterr().err
    assert Path("out.tif").read_bytes() == before


def test_a_checkpoint_is_there_until_the_record_is_written(here, monkeypatch, capsys):
    def full(*_):
        raise DipsopError("r.json could not be written (no space left on device): free space.")

    monkeypatch.setattr("dipsop.jobs.fitting.SECONDS_BETWEEN_CHECKPOINTS", 0)
    options = ("--record", "r.json", "--checkpoint", "state", "--quiet")
    with monkeypatch.context() as short:
        short.setattr("dipsop.jobs.restore.save_json", full)
        assert status("restore", "noisy.png", "--out", "out.png", *options, *QUICK) == 1
    assert Path("state").exists()
    assert status("restore", "noisy.png", "--out", "out.png", *options, "--resume", *QUICK) == 0
    assert not Path("state").exists()
    capsys.readouterr()


def test_a_record_names_no_version_of_what_is_not_installed_under_its_name(here, monkeypatch):
    monkeypatch.setattr("dipsop.jobs.record._VERSIONS", ("torch", "no-such-package"))
    assert status("restore", "noisy.png", "--out", "out.png", "--record", "r.json", "--quiet", *QUICK) == 0
    said = json.loads(Path("r.json").read_text())["versions"]
    assert (said["dipsop"], said["no-such-package"]) == (dipsop.__version__, None)


def test_a_record_of_a_picture_that_has_changed_is_refused(here, capsys):
    assert status("restore", "noisy.png", "--out", "out.png", "--record", "r.json", "--quiet", *QUICK) == 0
    before = Path("out.png").read_bytes()
    shutil.copy("clean.png", "noisy.png")
    assert status("restore", "--from-record", "r.json", "--out", "again.png") == 1
    assert "noisy.png is not the file of the record: bring that one back." in capsys.readouterr().err
    assert Path("out.png").read_bytes() == before
    assert not Path("again.png").exists()


# ---- previews ---------------------------------------------------------------------------------------------------


def test_the_first_preview_is_there_before_torch_is_loaded(here):
    quick = dipsop.PRESETS["quick"]
    files = {"source": Path("noisy.png"), "out": Path("o.png"), "preview": Path("p.png")}
    job = RestoreJob(preset="quick", config=quick, **files)
    event = next(restore.run(job))
    assert event == Preview(Path("p.png"))
    assert Path("p.png").exists()
    code = (
        "import sys; from pathlib import Path; from dipsop import PRESETS; from dipsop.jobs import restore, job\n"
        "work = job.RestoreJob(source=Path('noisy.png'), out=Path('o.png'), preset='quick', config=PRESETS['quick'],"
        " preview=Path('q.png')); next(restore.run(work)); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
    assert Path("q.png").read_bytes() == Path("p.png").read_bytes()


def test_later_previews_are_better_than_the_first_and_that_than_the_input(here):
    clean = images.load(Path("clean.png")).values
    with started(here, "--steps", "100000", "--preview", "p.png", "--quiet") as process:
        written_anew(Path("p.png"), process)
        first = images.load(Path("p.png")).values
        written_anew(Path("p.png"), process)
        time.sleep(3)
        later = images.load(Path("p.png")).values  # whole, whenever it is read
    noisy = images.load(Path("noisy.png")).values
    assert psnr(noisy, clean) + 5 < psnr(first, clean) < psnr(later, clean)


@pytest.mark.parametrize("corruption", ["salt-and-pepper", "random-valued"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_first_estimate_is_as_good_as_a_median(corruption, channels):
    clean = images.load(Path(__file__).parents[1] / "images" / "coffee.png").values[:128, :128, :channels]
    model = {"salt-and-pepper": noise.salt_and_pepper, "random-valued": noise.random_valued}[corruption]
    observed = np.rint(255 * model(clean, 0.3, 0)[0]).astype(np.uint8)
    from skimage.filters import median

    plain = np.stack([median(observed[..., c], np.ones((3, 3), bool)) for c in range(channels)], -1)
    estimate = first_estimate(observed)
    assert estimate.shape == observed.shape
    assert psnr(estimate / np.float32(255), clean) > psnr(plain / np.float32(255), clean) - 0.3


# ---- what a person knows ----------------------------------------------------------------------------------------


def test_a_known_mask_is_filled_and_nothing_else_is_touched(noisy):
    clean_part = noisy.copy()
    mask = np.zeros(noisy.shape[:2], bool)
    mask[10:12, 5:30] = True
    result = dipsop.restore(clean_part, replace(CONFIGS[0], steps=3), mask=mask)
    np.testing.assert_array_equal(result.corrupted, np.broadcast_to(mask[..., None], noisy.shape))
    np.testing.assert_array_equal(result.image[~mask], noisy[~mask])
    assert (result.image[mask] != noisy[mask]).mean() > 0.9


def test_protected_values_stay_whatever_they_look_like(noisy):
    protected = np.zeros(noisy.shape, bool)
    protected[:, :20] = True
    result = dipsop.restore(noisy, CONFIGS[0], protected=protected)
    assert not result.corrupted[protected].any()
    assert result.corrupted[~protected].any()


def test_polarity_looks_for_one_side_alone(noisy):
    for polarity, extreme in (("salt", 1.0), ("pepper", 0.0)):
        found = dipsop.restore(noisy, replace(CONFIGS[0], polarity=polarity)).corrupted
        other = noisy == 1 - extreme
        assert found[noisy == extreme].mean() > 0.4
        assert found[other].mean() < 0.02


def test_more_strength_finds_more(noisy):
    shares = [dipsop.restore(noisy, replace(CONFIGS[0], strength=s)).corrupted.mean() for s in (1e-6, 1.0, 1e6)]
    assert shares[0] < shares[1] < shares[2]


def test_masks_of_another_shape_or_kind_are_refused(noisy):
    with pytest.raises(ValueError, match="expected a bool mask of shape"):
        iter_restore(noisy, mask=np.zeros((3, 3), bool))
    with pytest.raises(ValueError, match="expected a bool mask"):
        iter_restore(noisy, mask=np.zeros(noisy.shape[:2], np.uint8))
    with pytest.raises(ValueError, match="HeldOut"):
        iter_restore(noisy, "dip", mask=np.zeros(noisy.shape[:2], bool))


def test_a_map_of_what_was_found_is_taken_back_as_a_mask(here):
    assert status("restore", "noisy.png", "--out", "a.png", "--corruption-map", "map.png", *QUICK) == 0
    command = ["restore", "noisy.png", "--out", "b.png", "--mask", "map.png", "--corruption-map", "again.png", *QUICK]
    assert status(*command) == 0
    assert Path("again.png").read_bytes() == Path("map.png").read_bytes()
    found = images.load(Path("map.png")).samples > 0
    noisy, b = (images.load(Path(name)).samples for name in ("noisy.png", "b.png"))
    np.testing.assert_array_equal(b[~found], noisy[~found])


def test_a_mask_that_does_not_fit_and_a_preset_that_takes_none_are_said(here, capsys):
    images.save_values(Path("mask.png"), np.zeros((5, 5, 1), bool))
    assert status("restore", "noisy.png", "--out", "out.png", "--mask", "mask.png") == 1
    assert "mask.png is 5x5 grey, the picture 32x24 RGB" in capsys.readouterr().err
    assert status("restore", "noisy.png", "--out", "out.png", "--mask", "mask.png", "--preset", "dip") == 2
    assert not Path("out.png").exists()


def test_scratches_and_lettering_are_taken_out_told_nothing():
    clean = images.load(Path(__file__).parents[1] / "images" / "chelsea.png").values[20:148, 90:218]
    scratched, hit = noise.scratches_and_lettering(clean, seed=0, fraction=0.03)
    config = replace(dipsop.PRESETS["quick"], steps=12)
    plain = dipsop.restore(scratched, config)
    assert plain.corrupted[hit].mean() > 0.8
    assert plain.corrupted[~hit].mean() < 0.02
    assert psnr(plain.image, clean) > psnr(scratched, clean) + 8


# ---- no harm ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".bmp", ".jpg"])
def test_a_picture_without_corruption_comes_out_as_the_file_it_was(here, capsys, suffix):
    images.save(Path(f"in{suffix}"), images.load(Path("clean.png")))
    assert status("restore", f"in{suffix}", "--out", f"out{suffix}", *QUICK) == 0
    assert "no sparse corruption found" in capsys.readouterr().out
    assert Path(f"out{suffix}").read_bytes() == Path(f"in{suffix}").read_bytes()


def test_print_is_not_taken_for_damage():
    """Print covers a fifth of this page, and is of one level: all of it looked like corruption at first."""
    import real_damage

    page = real_damage.page()
    result = dipsop.restore(page, replace(dipsop.PRESETS["quick"], steps=30))
    np.testing.assert_array_equal(result.image, page)


def test_print_in_colour_is_content_to_the_look_down_to_its_dots():
    import real_damage

    page = np.rint(255 * real_damage.page()[:160, :200] * np.array([0.98, 0.95, 0.9]))
    result = dipsop.restore(page.astype(np.uint8), replace(dipsop.PRESETS["quick"], steps=30))
    assert not result.corrupted.any()


def test_specks_on_a_page_are_found_and_its_print_is_not():
    import real_damage

    page = real_damage.page()
    specks = real_damage.salt(page, np.random.default_rng(0))
    hit = specks != page
    result = dipsop.restore(specks, replace(dipsop.PRESETS["quick"], steps=30))
    assert result.corrupted[hit].mean() > 0.95
    assert result.corrupted[~hit].mean() < 0.0005
    assert psnr(result.image, page) > 30


def test_a_picture_that_is_replaced_while_it_is_read_is_said(here, monkeypatch):
    from dipsop.pictures import images as module

    decode = module.decode

    def slow(*arguments):
        Path("noisy.png").write_bytes(Path("clean.png").read_bytes() + b"more")
        return decode(*arguments)

    monkeypatch.setattr(module, "decode", slow)
    with pytest.raises(dipsop.ImageError, match=r"changed while it was read: try again when it is complete\.$"):
        images.load(Path("noisy.png"))


def test_a_full_disk_costs_no_file(here, capsys):
    disk = here / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", disk], capture_output=True).returncode
    if mounted != 0:
        pytest.skip("a small disk can only be mounted by root")
    try:
        earlier = b"earlier" * 1500
        (disk / "out.bmp").write_bytes(earlier)
        images.save_values(Path("large.png"), np.random.default_rng(0).random((60, 60, 3)))
        assert status("restore", "large.png", "--out", disk / "out.bmp", "--quiet", *QUICK) == 1
        assert re.fullmatch(r"dipsop: .*out\.bmp could not be written \(no space left.*\n", capsys.readouterr().err)
        assert listing(disk) == {"out.bmp": earlier}
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.slow
def test_time_left_is_within_a_fifth_of_the_truth_from_a_tenth_of_the_run_on():
    clean = images.load(Path(__file__).parents[1] / "images" / "coffee.png").values[:256, :256]
    said = []
    start = time.perf_counter()
    for step in iter_restore(noise.random_valued(clean, 0.3, 0)[0], replace(dipsop.PRESETS["quick"], steps=200)):
        if step.done > 0.1:
            said.append((time.perf_counter() - start, step.seconds_left))
    step.restoration()
    end = time.perf_counter() - start
    worst = max(abs(left - (end - now)) / (end - now) for now, left in said)
    assert worst < 0.2, worst
