"""What is dead in all pictures of one camera: found in the sum of their evidence, mapped, and filled in each."""

import json
from pathlib import Path

import numpy as np
import pytest
import series
from command_line import listing, status
from numpy.typing import NDArray
from PIL import Image

import dipsop
from dipsop.jobs.folder import MADE_FROM
from dipsop.pictures import images
from dipsop.pictures.exif import as_stored

STEPS = ["--steps", "4", "--device", "cpu"]
DEAD, HOT = (5, 9, 0), (20, 11, 2)

LONG = "x" * 300 + ".png"


def frame(seed: int, height: int = 32, width: int = 40) -> NDArray[np.float32]:
    """A smooth scene that is another for every seed, with the noise of a sensor."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width] / 40
    waves = [np.sin(rng.uniform(2, 6) * rows + rng.uniform(2, 6) * columns + rng.uniform(0, 6)) for _ in range(3)]
    scene = 0.5 + 0.25 * np.stack(waves, -1) + rng.normal(0, 0.008, (height, width, 3))
    return scene.clip(0.02, 0.98).astype(np.float32)


def of_a_camera(seed: int) -> NDArray[np.float32]:
    taken = frame(seed)
    taken[DEAD], taken[HOT] = 0, 1
    return taken


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of four pictures of one camera."""
    monkeypatch.chdir(tmp_path)
    folder = Path("card")
    folder.mkdir()
    for k in range(4):
        images.save_values(folder / f"{k}.png", of_a_camera(k))
    return folder


def where(found: NDArray[np.bool_]) -> set[tuple[int, ...]]:
    return {tuple(map(int, place)) for place in np.argwhere(found)}


# ---- the evidence -----------------------------------------------------------------------------------------------


def test_what_is_dead_in_all_frames_is_found_and_nothing_else() -> None:
    assert where(dipsop.dead_pixels(of_a_camera(k) for k in range(5))) == {DEAD, HOT}


def test_two_frames_are_enough_for_what_is_plain() -> None:
    assert where(dipsop.dead_pixels([of_a_camera(0), of_a_camera(1)])) == {DEAD, HOT}


def test_specks_of_single_frames_are_not_dead() -> None:
    frames = [frame(k) for k in range(5)]
    for k, taken in enumerate(frames):
        taken[3 + 5 * k, 7 * k + 2, 1] = 1
    assert not dipsop.dead_pixels(frames).any()


def test_a_scene_that_is_the_same_in_all_frames_is_not_dead() -> None:
    scene = frame(0)
    scene[10:13, 20] = 0.05  # a dark detail, in every picture
    rng = np.random.default_rng(1)
    frames = [(scene + rng.normal(0, 0.01, scene.shape)).clip(0, 1).astype(np.float32) for _ in range(8)]
    assert dipsop.dead_pixels(frames).mean() < 1e-3


def test_grey_frames_and_deep_ones_are_taken() -> None:
    grey = [np.rint(65535 * of_a_camera(k)[..., 0]).astype(np.uint16) for k in range(4)]
    found = dipsop.dead_pixels(grey)
    assert found.shape == grey[0].shape
    assert where(found) == {DEAD[:2]}


def test_one_frame_frames_of_several_shapes_and_other_presets_are_refused() -> None:
    with pytest.raises(ValueError, match="two or more frames"):
        dipsop.dead_pixels([frame(0)])
    with pytest.raises(ValueError, match="frames of one shape"):
        dipsop.dead_pixels([frame(0), frame(1)[1:]])
    with pytest.raises(ValueError, match="HeldOut"):
        dipsop.dead_pixels([frame(0), frame(1)], "dip")
    for choice in ({"pretrained": False}, {"widths": (8, 16)}):
        with pytest.raises(ValueError, match="shipped weights"):
            dipsop.dead_pixels([frame(0), frame(1)], dipsop.HeldOut(steps=1, **choice))  # type: ignore[arg-type]


def test_the_example_counts_what_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    pictures = [str(Path(series.__file__).parents[1] / "images" / f"{name}.png") for name in ("coffee", "chelsea")]
    series.main([*pictures, "--frames", "3", "--side", "48", "--seeds", "0", "--share", "0.01"])
    assert "recall " in capsys.readouterr().out


# ---- the command ------------------------------------------------------------------------------------------------


def test_the_camera_may_be_turned_between_two_pictures(card: Path) -> None:
    turns = {0: 1, 1: 6, 2: 3, 3: 8}  # as EXIF counts
    for k, orientation in turns.items():
        record = Image.Exif()
        record[274] = orientation
        Image.fromarray(images.load(card / f"{k}.png").samples).save(card / f"{k}.png", exif=record)
    assert images.load(card / "1.png").samples.shape == (40, 32, 3)
    assert status("restore", card, "--out", "out", "--series", "--quiet", *STEPS) == 0
    assert where(images.load(Path("out/dead-pixels.png")).samples > 127) == {DEAD, HOT}
    for k, orientation in turns.items():
        before, after = (images.load(folder / f"{k}.png").samples for folder in (card, Path("out")))
        assert where(as_stored(after, orientation) != as_stored(before, orientation)) == {DEAD, HOT}


def test_a_series_is_mapped_and_nothing_but_the_map_is_changed(card: Path) -> None:
    assert status("restore", card, "--out", "out", "--series", "--quiet", *STEPS) == 0
    dead = images.load(Path("out/dead-pixels.png")).samples > 127
    assert where(dead) == {DEAD, HOT}
    for k in range(4):
        before, after = (images.load(folder / f"{k}.png").samples for folder in (card, Path("out")))
        assert where(before != after) == {DEAD, HOT}


def test_a_map_that_is_there_is_taken_back_and_serves_other_pictures(
    card: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dead = np.zeros((32, 40, 3), bool)
    dead[1, 2] = True
    images.save_values(Path("map.png"), dead)
    command = ["restore", card, "--series", "--corruption-map", "map.png", "--json", *STEPS]
    assert status(*command, "--out", "out") == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"corruption_map": "map.png", "fraction_corrupted": 1 / (32 * 40), "frames": 0} in said
    assert status("restore", card, "--out", "other", "--mask", "map.png", "--quiet", *STEPS) == 0
    for folder in ("out", "other"):
        changed = images.load(Path(folder, "0.png")).samples != images.load(card / "0.png").samples
        assert where(changed) <= where(dead)
        assert changed.any()


@pytest.mark.parametrize(
    ("name", "taken", "named"),
    [
        ("odd.png", frame(9, 32, 41), "odd.png"),
        ("grey.png", frame(9)[..., 0], "grey.png"),
    ],
)
def test_pictures_of_another_size_or_colour_are_refused_before_the_look(
    card: Path, capsys: pytest.CaptureFixture[str], name: str, taken: NDArray[np.float32], named: str
) -> None:
    images.save_values(card / name, taken)
    before = listing(card)
    assert status("restore", card, "--out", "out", "--series", *STEPS) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert named in said
    assert listing(card) == before
    assert not Path("out").exists() or not list(Path("out").iterdir())


def test_a_map_among_the_pictures_is_refused_before_it_could_be_taken_for_one(
    card: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["restore", card, "--out", "out", "--series", "--corruption-map", card / "dead.png", *STEPS]
    assert status(*command) == 1
    assert "lies among the pictures" in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_map_that_a_pattern_of_the_pictures_meets_is_none_of_them(
    card: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["restore", "card/*.png", "--out", "out", "--series", "--corruption-map", card / "dead.png", *STEPS]
    for _ in range(2):
        assert status(*command, "--overwrite", "--quiet") == 0
        assert where(images.load(card / "dead.png").samples > 127) == {DEAD, HOT}
    assert sorted(path.name for path in Path("out").glob("*.png")) == [f"{k}.png" for k in range(4)]
    assert status(*command, "--json") == 0
    assert '"frames": 0' in capsys.readouterr().out


@pytest.mark.parametrize("options", [[LONG], ["--corruption-map", LONG]])
def test_a_name_that_no_disk_takes_is_a_sentence(
    card: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    """As one in a folder that is closed, which is none to the tests of an administrator."""
    assert status("restore", "card", "--out", "out", "--series", *options, *STEPS) == 1
    assert "(file name too long)" in capsys.readouterr().err


def test_one_readable_picture_is_no_series(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for k in range(1, 4):
        (card / f"{k}.png").write_bytes(b"")
    assert status("restore", card, "--out", "out", "--series", *STEPS) == 1
    assert "a series needs two or more pictures" in capsys.readouterr().err


def test_a_broken_picture_of_a_series_is_named_and_stops_nothing(
    card: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (card / "3.png").write_bytes((card / "2.png").read_bytes()[:200])
    assert status("restore", card, "--out", "out", "--series", *STEPS) == 1
    assert "3.png is damaged" in capsys.readouterr().err
    assert where(images.load(Path("out/dead-pixels.png")).samples > 127) == {DEAD, HOT}
    assert {path.name for path in Path("out").iterdir()} == {
        *("0.png", "1.png", "2.png", "dead-pixels.png"),
        MADE_FROM,
    }


@pytest.mark.parametrize(
    "options",
    [
        ["--mask", "m.png"],
        ["--random-start"],
        ["--scratches"],
        ["--preset", "dip"],
        ["--protect", "m.png"],
    ],
)
def test_options_that_a_series_would_ignore_are_refused(
    card: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert status("restore", card, "--out", "out", "--series", *STEPS, *options) == 2
    assert not Path("out").exists()


def test_a_single_picture_is_no_series(card: Path) -> None:
    assert status("restore", card / "0.png", "--out", "a.png", "--series", *STEPS) == 2
