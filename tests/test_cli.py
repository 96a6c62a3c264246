"""The command line, as a person and as a script meet it."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import typer
from command_line import QUICK, listing, run, started, status
from numpy.typing import NDArray
from PIL import Image

import dipsop
from dipsop.cli import app
from dipsop.commands.display import clock, in_percent
from dipsop.commands.stopping import Stopping
from dipsop.jobs import restore
from dipsop.jobs.job import RestoreJob
from dipsop.pictures import images
from dipsop.pictures.noise import random_valued, salt_and_pepper
from dipsop.pictures.picture import Picture
from dipsop.restoration.fit import Step

README = Path(__file__).parents[1] / "README.md"

# ---- restore ----------------------------------------------------------------------------------------------------


def test_restore_writes_a_cleaner_picture_and_says_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("restore", "noisy.png", "--out", "out.png", "--truth", "clean.png", *QUICK) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert [line.split()[0] for line in out.splitlines()] == ["wrote", "corrupted", "steps", "PSNR", "SSIM"]
    after, before = (float(number) for number in re.findall(r"([\d.]+) dB", out))
    assert after > before + 3


def test_json_is_one_object_with_all_that_a_script_asks_for(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["restore", "noisy.png", "--out", "out.png", "--seed", 7, "--json", *QUICK]
    assert status(*arguments) == 0
    plain = json.loads(capsys.readouterr().out)
    assert {key: plain[key] for key in ("out", "steps", "seed", "device", "preset", "reason")} == {
        "out": "out.png",
        "steps": 6,
        "seed": 7,
        "device": "cpu",
        "preset": "quick",
        "reason": "all steps taken",
    }
    assert plain["dtype"] in ("bfloat16", "float32")
    assert plain["seconds"] > 0
    assert plain["effective_lambda"] > 0
    assert 0 < plain["fraction_corrupted"] < 1
    assert not {"psnr", "ssim", "psnr_input"} & set(plain)

    before = Path("out.png").read_bytes()
    assert status(*arguments, "--truth", "clean.png") == 0
    judged = json.loads(capsys.readouterr().out)
    assert judged["psnr"] > judged["psnr_input"]
    assert 0 < judged["ssim"] <= 1
    assert Path("out.png").read_bytes() == before


def test_a_lossy_output_is_said_to_be_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("restore", "noisy.png", "--out", "out.jpg", *QUICK) == 0
    assert "JPEG rounds all values once more" in capsys.readouterr().out
    assert status("restore", "noisy.png", "--out", "out.png", *QUICK) == 0
    assert "JPEG" not in capsys.readouterr().out


def test_quiet_says_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("restore", "noisy.png", "--out", "out.png", "--quiet", *QUICK) == 0
    assert capsys.readouterr() == ("", "")


def test_a_letter_that_the_terminal_lacks_is_escaped(here: Path) -> None:
    done = run(["restore", "noisy.png", "--out", "好.png", *QUICK], env=os.environ | {"PYTHONIOENCODING": "latin-1"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("wrote      \\u597d.png\n")


def test_where_standard_error_is_closed_nothing_is_said_and_all_is_done(here: Path) -> None:
    command = shlex.join([sys.executable, "-m", "dipsop", "restore", "noisy.png", "--out"])
    said = subprocess.run(f"{command} out.png {shlex.join(QUICK)} 2>&-", shell=True, capture_output=True, check=True)
    assert said.stdout.startswith(b"wrote      out.png\n")
    assert subprocess.run(f"{command} out.txt 2>&-", shell=True, capture_output=True, check=False).returncode == 1


def test_same_seed_gives_the_same_bytes_and_another_seed_others(here: Path) -> None:
    for seed, name in ((1, "a.png"), (1, "b.png"), (2, "c.png")):
        assert status("restore", "noisy.png", "--out", name, "--seed", seed, "--network-output", *QUICK) == 0
    a, b, c = (Path(name).read_bytes() for name in ("a.png", "b.png", "c.png"))
    assert a == b != c


def test_values_that_are_likely_to_be_clean_keep_their_16_bits(here: Path) -> None:
    rng = np.random.default_rng(0)
    clean = (20_000 + 900 * np.mgrid[:32, :32].sum(0) + rng.integers(0, 50, (32, 32))).astype(np.uint16)
    noisy, _ = salt_and_pepper(clean / np.float32(65535), 0.1, 0)
    images.save(Path("noisy16.png"), Picture.from_array(np.rint(noisy * 65535).astype(np.uint16)))
    command = ["restore", "noisy16.png", "--out", "out.png", "--corruption-map", "map.png", *QUICK]
    assert status(*command) == 0
    before, after = (images.load(Path(name)).samples for name in ("noisy16.png", "out.png"))
    found = images.load(Path("map.png")).samples
    assert after.dtype == np.uint16
    assert sorted(np.unique(found)) == [0, 255]
    assert (after == before)[found == 0].mean() > 0.95  # the others are corrupted with a probability above a tenth
    assert (after != before)[found == 255].mean() > 0.9
    assert (after % 257 != 0).any()  # not made from 8 bits


def test_network_output_replaces_every_value(here: Path) -> None:
    assert status("restore", "noisy.png", "--out", "out.png", "--network-output", *QUICK) == 0
    assert status("restore", "noisy.png", "--out", "kept.png", *QUICK) == 0
    noisy, f, kept = (images.load(Path(name)).samples for name in ("noisy.png", "out.png", "kept.png"))
    changed = kept != noisy
    assert (f != noisy).mean() > changed.mean() > 0.1
    # What is kept is the mean of both, by the probability of corruption: mostly all of the network's.
    assert ((np.minimum(f, noisy) <= kept) & (kept <= np.maximum(f, noisy))).all()
    assert (kept == f)[changed].mean() > 0.6


def test_alpha_is_carried_over(here: Path) -> None:
    rgb = images.load(Path("noisy.png")).samples
    alpha = np.random.default_rng(0).integers(0, 256, rgb.shape[:2]).astype(np.uint8)
    Image.fromarray(np.dstack([rgb, alpha])).save("rgba.png")
    assert status("restore", "rgba.png", "--out", "out.png", *QUICK) == 0
    np.testing.assert_array_equal(images.load(Path("out.png")).alpha, alpha)


def test_shared_corruption_is_found_in_all_channels_of_a_pixel(here: Path) -> None:
    assert status("corrupt", "clean.png", "--out", "shared.png", "--shared", "--fraction", 0.1) == 0
    command = [
        "restore",
        "shared.png",
        "--out",
        "out.png",
        "--shared-corruption",
        "--corruption-map",
        "map.png",
        *QUICK,
    ]
    assert status(*command) == 0
    found = images.load(Path("map.png")).samples
    np.testing.assert_array_equal(found, np.broadcast_to(found[..., :1], found.shape))


@pytest.mark.parametrize("preset", dipsop.PRESETS)
def test_every_preset_gives_what_the_library_gives(here: Path, preset: str) -> None:
    image = images.load(Path("noisy.png"))
    command = ["restore", "noisy.png", "--out", "out.png", "--network-output", "--device", "cpu"]
    assert status(*command, "--preset", preset, "--steps", 2, "--quiet") == 0
    expected = dipsop.restore(image.samples, replace(dipsop.PRESETS[preset], steps=2)).network_output
    written = images.load(Path("out.png")).samples
    np.testing.assert_array_equal(written, np.rint(255 * expected.astype(np.float64)).astype(np.uint8))


@pytest.mark.parametrize(("options", "expected"), [([], "float32"), (["--dtype", "bfloat16"], "bfloat16")])
def test_the_paper_preset_computes_in_float32_unless_told_otherwise(
    here: Path, capsys: pytest.CaptureFixture[str], options: list[str], expected: str
) -> None:
    paper = ["--preset", "paper", "--steps", "1", "--device", "cpu", "--json", "--quiet"]
    assert status("restore", "noisy.png", "--out", "out.png", *paper, *options) == 0
    assert json.loads(capsys.readouterr().out)["dtype"] == expected


def test_a_time_limit_ends_the_fit(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = ("--steps", 100_000, "--json", "--device", "cpu")
    assert status("restore", "noisy.png", "--out", "out.png", "--time-limit", 0.5, *steps) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["reason"] == "time limit reached"
    assert 0 < report["steps"] < 700


def test_trace_and_plot_record_the_fit(here: Path) -> None:
    files = ["--trace", "trace.json", "--plot", "plot.png"]
    assert status("restore", "noisy.png", "--out", "out.png", "--truth", "clean.png", *files, *QUICK) == 0
    trace = json.loads(Path("trace.json").read_text())
    assert (trace["preset"], trace["device"], trace["config"]["steps"]) == ("quick", "cpu", 6)
    assert [point["step"] for point in trace["points"]] == [1, 2, 3, 4, 5, 6]
    assert trace["points"][-1]["psnr"] > 0
    assert images.load(Path("plot.png")).samples.shape[1] > 500


def test_a_divergence_is_said_in_a_sentence_and_recorded(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(dipsop.PRESETS, "dip", dipsop.WholeImage(steps=9, width=4, optimizer="sgd", lr=1e30))
    Path("out.png").write_bytes(b"earlier")
    command = ["restore", "noisy.png", "--out", "out.png", "--preset", "dip", "--trace", "trace.json"]
    assert status(*command) == 1
    err = capsys.readouterr().err
    why = r"the loss is no longer a finite number at step \d+ \(lr 1e\+30, u and v at their own pace\)"
    assert re.fullmatch(rf"dipsop: {why}; .+\n", err)
    assert Path("out.png").read_bytes() == b"earlier"
    assert json.loads(Path("trace.json").read_text())["points"]


# ---- bad input --------------------------------------------------------------------------------------------------


def _missing(path: Path) -> None:
    path.unlink(missing_ok=True)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _truncated(path: Path) -> None:
    path.write_bytes(Path("noisy.png").read_bytes()[:200])


def _not_an_image(path: Path) -> None:
    path.write_text("no picture at all, but long enough to be one" * 20)


def _directory(path: Path) -> None:
    path.mkdir()


def _absurd_dimensions(path: Path) -> None:
    header = bytearray(Path("noisy.png").read_bytes())
    header[16:24] = (2_000_000_000).to_bytes(4, "big") * 2
    path.write_bytes(header)


def _nan(path: Path) -> None:
    values = np.full((16, 16, 3), 0.5, np.float32)
    values[3, 4] = np.nan
    tifffile.imwrite(path, values, photometric="rgb")


BAD = [_missing, _empty, _truncated, _not_an_image, _directory, _absurd_dimensions, _nan]


@pytest.mark.parametrize("make", BAD)
@pytest.mark.parametrize(
    "command", [["restore", "bad.tif"], ["restore", "noisy.png", "--truth", "bad.tif"], ["corrupt", "bad.tif"]]
)
def test_bad_pictures_end_it_with_one_sentence(
    here: Path, capsys: pytest.CaptureFixture[str], make: object, command: list[str]
) -> None:
    make(Path("bad.tif"))  # type: ignore[operator]
    Path("out.png").write_bytes(b"earlier")
    before = listing(here)
    assert status(*command, "--out", "out.png") == 1
    _is_one_sentence_about("bad.tif", capsys)
    assert listing(here) == before


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--out", "out.png", "--truth", "other.png"], "other.png"),
        (["--out", "out.png", "--truth", "grey.png"], "grey.png"),
        (["--out", "no/such/folder/out.png"], "no/such/folder"),
        (["--out", "out.xyz"], "out.xyz"),
        (["--out", "out"], "out"),
        (["--out", "."], "."),
        (["--out", "noisy.png"], "noisy.png"),
        (["--out", "./noisy.png"], "noisy.png"),
        (["--out", "clean.png", "--truth", "clean.png"], "clean.png"),
        (["--out", "out.png", "--corruption-map", "out.png"], "out.png"),
        (["--out", "out.png", "--corruption-map", "map.xyz"], "map.xyz"),
        (["--out", "out.png", "--corruption-map", "no/map.png"], "no/map.png"),
        (["--out", "out.png", "--trace", "trace.png"], "trace.png"),
        (["--out", "out.png", "--trace", "no/trace.json"], "no/trace.json"),
        (["--out", "out.png", "--plot", "plot.txt"], "plot.txt"),
        (["--out", "out.png", "--plot", "no/plot.png"], "no/plot.png"),
    ],
)
def test_outputs_and_truth_are_checked_before_the_fit(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, options: list[str], named: str
) -> None:
    monkeypatch.setattr("dipsop.jobs.fitting.iter_restore", None)  # would be called in vain
    Image.new("RGB", (9, 9)).save("other.png")
    Image.new("L", (32, 24)).save("grey.png")
    before = listing(here)
    assert status("restore", "noisy.png", *options) == 1
    _is_one_sentence_about(named, capsys)
    assert listing(here) == before


def _is_one_sentence_about(named: str, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"dipsop: [^\n]+\.\n", err)
    assert named in err


@pytest.mark.parametrize(
    "command",
    [["restore", "noisy.png", "--out", "-"], ["demo", "--out", "d", "--steps", "1"], ["page", "--no-browser"]],
)
def test_without_a_folder_for_temporary_files_a_sentence_says_so(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(here / "nowhere")])
    assert status(*command) == 1
    said = "dipsop: there is no folder for temporary files: set TMPDIR to one that can be written.\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(here: Path, capsys: pytest.CaptureFixture[str], device: str) -> None:
    import torch

    if getattr(torch, device).is_available() if device == "cuda" else torch.backends.mps.is_available():
        pytest.skip(f"there is {device} here")
    assert status("restore", "noisy.png", "--out", "out.png", "--device", device) == 1
    assert capsys.readouterr().err == (
        f"dipsop: PyTorch finds no {device} device on this machine: use --device auto or --device cpu.\n"
    )
    assert not Path("out.png").exists()


def test_without_out_the_result_goes_beside_the_picture_and_is_not_overwritten(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status("restore", "noisy.png", *QUICK) == 0
    assert "noisy.restored.png" in capsys.readouterr().out
    Path("noisy.restored.png").write_bytes(b"earlier")
    assert status("restore", "noisy.png", *QUICK) == 1
    _is_one_sentence_about("noisy.restored.png", capsys)
    assert Path("noisy.restored.png").read_bytes() == b"earlier"
    assert status("restore", "noisy.png", "--overwrite", *QUICK) == 0
    assert images.load(Path("noisy.restored.png")).samples.shape == images.load(Path("noisy.png")).samples.shape


def test_results_of_several_pictures_need_a_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = listing(here)
    assert status("restore", "noisy.png", "clean.png", *QUICK) == 2
    assert "--out" in capsys.readouterr().err
    assert listing(here) == before


@pytest.mark.parametrize(
    "options",
    [
        ["--steps", "0"],
        ["--steps", "-3"],
        ["--steps", "many"],
        ["--time-limit", "0"],
        ["--time-limit", "nan"],
        ["--time-limit", "inf"],
        ["--seed", "-1"],
        ["--preset", "fast"],
        ["--device", "tpu"],
        ["--dtype", "float16"],
        ["--no-such-option"],
    ],
)
def test_bad_options_are_usage_errors(here: Path, capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    assert status("restore", "noisy.png", "--out", "out.png", *options) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert options[0] in err
    assert not Path("out.png").exists()


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (["noisy.png", "--out", "out.png", "--dask", "tcp://127.0.0.1:9"], "--dask"),
        (["noisy.png", "--out", "out.png", "--jobs", "2"], "--jobs"),
        (["noisy.png", "clean.png", "--out", "o", "--dask", "tcp://127.0.0.1:9", "--jobs", "2"], "--jobs"),
        (["noisy.png", "--out", "out.png", "--mask", "m.png", "--strength", "2"], "--strength"),
        (["noisy.png", "--out", "out.png", "--mask", "m.png", "--polarity", "salt"], "--polarity"),
        (["noisy.png", "--out", "out.png", "--mask", "m.png", "--scratches"], "--scratches"),
        (["noisy.png", "--out", "out.png", "--record", "new.json", "--time-limit", "9"], "--record"),
        *(
            (["noisy.png", "--out", "out.png", "--preset", preset, *option], option[0])
            for preset in ("dip", "paper")
            for option in (["--random-start"], ["--scratches"], ["--polarity", "salt"], ["--strength", "1.0"])
        ),
        *(
            (["--from-record", "r.json", *option], option[0])
            for option in (["--preset", "quick"], ["--steps", "6"], ["--seed", "0"], ["--mask", "m.png"], ["--resume"])
        ),
        (["noisy.png", "--from-record", "r.json"], "IN..."),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str], command: list[str], named: str
) -> None:
    Path("r.json").write_text("{}")
    before = listing(here)
    assert status("restore", *command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"Invalid value for {named}" in err
    assert listing(here) == before


@pytest.mark.parametrize(
    ("options", "steps"),
    [([], 150), (["--random-start"], 400), (["--random-start", "--steps", "9"], 9)],
)
def test_a_random_start_takes_more_steps_unless_told(
    here: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], steps: int
) -> None:
    taken: list[int] = []
    monkeypatch.setattr("dipsop.commands.restore._restore", lambda job, *_: taken.append(job.config.steps) or 0)
    assert status("restore", "noisy.png", "--out", "out.png", *options) == 0
    assert taken == [steps]


def test_the_old_name_of_a_preset_is_refused_with_the_new_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("restore", "noisy.png", "--out", "out.png", "--preset", "scratch") == 2
    assert "scratch is called dip now" in capsys.readouterr().err


def test_missing_arguments_are_usage_errors(here: Path) -> None:
    assert status("restore") == status("corrupt", "clean.png") == 2
    assert status("no-such-command") == 2
    assert status("corrupt", "clean.png", "--out", "a.png", "--fraction", "1.5") == 2
    assert status("corrupt", "clean.png", "--out", "a.png", "--fraction", "nan") == 2
    assert status("corrupt", "clean.png", "--out", "a.png", "--noise", "gaussian") == 2


# ---- corrupt ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("noise", "model"), [("salt-and-pepper", salt_and_pepper), ("random-valued", random_valued)])
@pytest.mark.parametrize("shared", [False, True])
def test_corrupt_follows_the_model_and_keeps_depth_and_the_rest(
    here: Path, noise: str, model: object, shared: bool
) -> None:
    rng = np.random.default_rng(3)
    pixels: NDArray[np.uint16] = rng.integers(0, 65536, (10, 12, 4)).astype(np.uint16)
    images.save(Path("deep.tif"), Picture(samples=pixels[..., :3], alpha=pixels[..., 3]))
    options = ["--noise", noise, "--fraction", 0.4, "--seed", 9, *(["--shared"] if shared else [])]
    assert status("corrupt", "deep.tif", "--out", "out.tif", *options) == 0
    after = images.load(Path("out.tif"))
    values, hit = model(pixels[..., :3] / np.float32(65535), 0.4, 9, shared)  # type: ignore[operator]
    expected = np.where(hit, np.rint(values.astype(np.float64) * 65535), pixels[..., :3])
    np.testing.assert_array_equal(after.samples, expected)
    np.testing.assert_array_equal(after.alpha, pixels[..., 3])


def test_corrupt_says_what_it_did(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("corrupt", "clean.png", "--out", "out.png", "--fraction", 0.5, "--noise", "salt-and-pepper") == 0
    assert re.fullmatch(
        r"wrote out.png: salt-and-pepper noise on (49|50|51)\.\d % of the values, seed 0\n", capsys.readouterr().out
    )


# ---- signals ----------------------------------------------------------------------------------------------------


@contextmanager
def _fitting(here: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A long fit that reports a few times a second, and has taken steps."""
    script = "from dipsop.commands import display; display.SECONDS_BETWEEN_LINES = 0.2; import dipsop.__main__"
    command = ["-c", script, "restore", "noisy.png", "--out", "out.png", "--preset", "dip"]
    with started([*command, "--steps", "1000000", "--device", "cpu", *options], here) as process:
        assert process.stderr is not None
        for _ in range(2):  # when it speaks of a second step, the first is done with
            line = process.stderr.readline()
            assert re.fullmatch(r"step \d+/1000000  loss 0\.\d+  \d+\.\d % corrupted  \d+:\d\d:\d\d left\n", line)
        yield process


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_writes_the_last_state(here: Path, number: signal.Signals, expected: int) -> None:
    with _fitting(here, "--json", "--trace", "trace.json") as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == expected
    assert "Traceback" not in err
    report = json.loads(out)
    assert report["reason"] == "interrupted"
    assert images.load(Path("out.png")).samples.shape == (24, 32, 3)
    assert json.loads(Path("trace.json").read_text())["points"][-1]["step"] == report["steps"]


def test_a_killed_run_leaves_nothing_and_harms_nothing(here: Path) -> None:
    Path("out.png").write_bytes(b"earlier")
    before = listing(here)
    with _fitting(here) as process:
        process.kill()
        process.communicate(timeout=60)
    assert listing(here) == before


def _signalled(twice: bool) -> None:
    with Stopping() as stopping:
        stopping.kept = twice  # there is a first result, which a second signal gives up
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopping.signal == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)


@pytest.mark.parametrize("twice", [False, True])
def test_a_signal_before_there_is_a_result_leaves_at_once_and_so_does_a_second_one(twice: bool) -> None:
    former = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit, match="143"):
        _signalled(twice)
    assert signal.getsignal(signal.SIGTERM) is former


# ---- help -------------------------------------------------------------------------------------------------------


def loaded_after(arguments: list[str], cwd: Path | None = None) -> set[str]:
    """Run the command line in a process of its own; return which heavy modules it has loaded by its end."""
    code = (
        "import sys; from dipsop.cli import main\n"
        f"try: main({arguments})\n"
        "except SystemExit: print(*{'torch', 'numpy', 'PIL', 'matplotlib', 'skimage'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=cwd)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("command", [[], ["restore"], ["corrupt"], ["demo"], ["classify"], ["predict"]])
def test_help_loads_nothing_heavy(command: list[str]) -> None:
    assert loaded_after([*command, "--help"]) == set()


@pytest.mark.parametrize("options", [["missing.png"], ["noisy.png", "--truth", "missing.png"]])
@pytest.mark.parametrize("besides", [[], ["--memory", "4G"], ["--preset", "dip"]])
def test_a_mistake_is_said_before_torch_is_loaded(here: Path, options: list[str], besides: list[str]) -> None:
    assert "torch" not in loaded_after(["restore", *options, "--out", "out.png", *besides], here)


def test_of_a_record_the_picture_is_read_before_torch_is_loaded(here: Path) -> None:
    assert status("restore", "noisy.png", "--out", "out.png", "--record", "r.json", "--quiet", *QUICK) == 0
    Path("noisy.png").unlink()
    assert "torch" not in loaded_after(["restore", "--from-record", "r.json"], here)


def options_in_help(command: str, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What --help says of every option of a command, by its name."""
    assert status(command, "--help") == 0
    rows = re.split(r"\n│[ *]{1,4}(?=--)", capsys.readouterr().out)[1:]
    entries = [" ".join(re.sub(r"[│╰╭─]", " ", row).split()) for row in rows]
    return {entry.split()[0]: entry for entry in entries}


COMMANDS = ["restore", "page", "corrupt", "demo", "classify", "predict", "relabel", "export", "doctor"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_of_every_option_the_default_that_it_has(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = options_in_help(command, capsys)
    for parameter in typer.main.get_command(app).commands[command].params:  # type: ignore[attr-defined]
        name = parameter.opts[-1]
        if not name.startswith("--") or name == "--help":
            continue
        words = re.search(r"\[(default: ([^]]*)|required)\]", said[name])
        assert words, name
        if parameter.required:
            assert words[1] == "required", name
        elif parameter.default is None or parameter.default is False:  # said in words: none, off, by preset
            assert re.fullmatch(r"\(.+\)", words[2]), name
        else:
            assert words[2].strip("()") == str(parameter.default), name


def test_readme_and_help_agree_on_every_option_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    text = README.read_text(encoding="utf-8")
    known = {name: options_in_help(name, capsys) for name in COMMANDS}
    shown = re.findall(rf"\bdipsop ({'|'.join(COMMANDS)})\b([^#&`\n]*)", text)
    assert {command for command, _ in shown} == known.keys()
    for command, rest in shown:
        assert set(re.findall(r"--[a-z-]+", rest)) <= known[command].keys(), (command, rest)
    of_torchrun = {"--nproc-per-node"}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    assert named - of_torchrun - {"--help"} <= {option for options in known.values() for option in options}
    for preset, config in dipsop.PRESETS.items():  # the table of presets
        assert re.search(rf"^\| `{preset}`.*\| {config.steps:,} \|$", text, re.MULTILINE), preset
        assert f"{preset} {config.steps}" in known["restore"]["--steps"]
    assert "[default: quick]" in known["restore"]["--preset"]
    assert "| `quick`, the default |" in text


def test_version_is_that_of_the_package() -> None:
    done = run(["--version"])
    assert (done.returncode, done.stdout) == (0, f"dipsop {dipsop.__version__}\n")


def test_completion_is_offered() -> None:
    done = run(
        [], env={**os.environ, "_DIPSOP_COMPLETE": "complete_bash", "COMP_WORDS": "dipsop res", "COMP_CWORD": "1"}
    )
    assert done.stdout.split() == ["restore"]


def test_times_read_like_a_clock() -> None:
    assert [clock(seconds) for seconds in (7.4, 754, 3723)] == ["0:07", "12:34", "1:02:03"]


def test_a_mask_that_is_nowhere_white_is_refused_and_one_that_is_black_fills_nothing(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ones and zeros are what a program makes of booleans."""
    ones = (np.indices((24, 32)).sum(0) % 5 == 0).astype(np.uint8)
    for dtype, most in ((np.uint8, 255), (np.uint16, 65535)):
        images.save(Path("m.png"), Picture.from_array(ones.astype(dtype)))
        assert status("restore", "noisy.png", "--out", "out.png", "--mask", "m.png", *QUICK) == 1
        said = f"dipsop: m.png is nowhere white, its brightest value is 1 of {most}: make white what it is to mark.\n"
        assert capsys.readouterr().err == said
    images.save(Path("m.png"), Picture.from_array(0 * ones))
    assert status("restore", "noisy.png", "--out", "out.png", "--mask", "m.png", *QUICK) == 0
    said = capsys.readouterr().out
    assert "corrupted  nothing was to be filled\n" in said
    assert "steps      1 in" in said  # where nothing can change, nothing is learned
    images.save(Path("m.png"), Picture.from_array(0 * ones + 255))
    assert status("restore", "noisy.png", "--out", "out.png", "--mask", "m.png", *QUICK) == 1
    said = "dipsop: m.png is white all over, which leaves nothing to fill it from: is it inverted?\n"
    assert capsys.readouterr().err == said
    assert status("restore", "noisy.png", "--out", "out.png", "--protect", "m.png", *QUICK) == 0
    assert "steps      1 in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("share", "said"), [(0.1234, "12.3 %"), (0.005, "0.500 %"), (4e-6, "0.00040 %"), (1 / 72e6, "0.0000014 %")]
)
def test_a_share_of_a_few_pixels_among_millions_is_not_said_to_be_none(share: float, said: str) -> None:
    assert in_percent(share) == said


def test_an_empty_name_is_no_picture(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("restore", "", "--out", "clean", *QUICK) == 2
    assert "an empty name is no picture" in capsys.readouterr().err
    assert not Path("clean").exists()


def test_a_result_so_far_that_no_place_was_named_for_is_gone_on_with(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after a Ctrl-C, which writes it and keeps the checkpoint."""
    config = replace(dipsop.PRESETS["quick"], steps=6)
    out, asked = Path("noisy.restored.png"), list[object]()
    job = RestoreJob(source=Path("noisy.png"), out=out, preset="quick", config=config, device="cpu")
    for event in restore.run(replace(job, checkpoint=Path("state")), lambda: len(asked) == 3):
        if isinstance(event, Step):
            asked.append(None)
    so_far = out.read_bytes()
    assert Path("state").exists()
    assert status("restore", "noisy.png", "--checkpoint", "state", *QUICK) == 1
    _is_one_sentence_about("noisy.restored.png", capsys)
    assert status("restore", "noisy.png", "--checkpoint", "state", "--resume", *QUICK) == 0
    assert status("restore", "noisy.png", "--out", "whole.png", *QUICK) == 0
    assert so_far != out.read_bytes() == Path("whole.png").read_bytes()


def test_what_a_format_has_no_place_for_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = images.load(Path("noisy.png"))
    images.save(Path("n.png"), replace(picture, icc_profile=b"0" * 200))
    for command in (("corrupt", "n.png", "--out", "a.bmp"), ("restore", "n.png", "--out", "b.bmp", *QUICK)):
        assert status(*command) == 0
        assert (
            "has no place for the colour profile of the picture: a .png or .tif keeps it.\n" in capsys.readouterr().err
        )


def test_a_camera_of_twelve_bits_is_restored_as_one_of_sixteen(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = {}
    for bits in (12, 16):
        for name in ("clean", "noisy"):
            values = images.load(Path(f"{name}.png")).values
            tifffile.imwrite(f"{name}.tif", np.rint(values * (2**bits - 1)).astype(np.uint16), photometric="rgb")
        files = ["--out", "out.tif", "--truth", "clean.tif", "--preview", "p.png"]
        assert status("restore", "noisy.tif", *files, "--json", *QUICK) == 0
        said[bits] = json.loads(capsys.readouterr().out)
        before, after = (images.load(Path(f"{name}.tif")).samples for name in ("noisy", "out"))
        assert (before == after).mean() > 0.5
        assert after.max() < 2**bits
        seen = images.load(Path("p.png")).samples.mean()
        assert seen == pytest.approx(after.mean() / 257, abs=2)
    assert said[16]["fraction_corrupted"] > 0.1
    for name in ("fraction_corrupted", "psnr", "psnr_input"):
        assert said[12][name] == pytest.approx(said[16][name], rel=0.02)


def test_dead_pixels_of_a_camera_of_twelve_bits_are_found(here: Path) -> None:
    rng = np.random.default_rng(0)
    for k in range(3):
        rows, columns = np.mgrid[:32, :40]
        frame = 2000 + 900 * np.sin((rows + 3 * k) / 9) * np.cos((columns - 5 * k) / 7) + rng.normal(0, 12, (32, 40))
        frame[7, 11] = 4095
        tifffile.imwrite(f"{k}.tif", np.rint(frame).astype(np.uint16))
    assert status("restore", "0.tif", "1.tif", "2.tif", "--out", "clean", "--series", "--quiet", *QUICK) == 0
    assert np.argwhere(images.load(Path("clean/dead-pixels.png")).samples > 127).tolist() == [[7, 11, 0]]
