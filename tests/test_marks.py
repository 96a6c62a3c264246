"""Marks: scratches, lettering and dust as the network that looks for them sees them, and what detection makes of it."""

import io
from dataclasses import replace

import damage
import numpy as np
import pytest
import real_damage
import scans
import torch
import torch.nn.functional as F
import train_marks
import wear
from PIL import Image
from scipy import ndimage
from test_cli import status
from test_noise import IMAGES

from dipsop import HeldOut
from dipsop.pictures import noise
from dipsop.pictures.images import load
from dipsop.restoration.config import PRESETS, DetectionConfig
from dipsop.restoration.detection import Detection
from dipsop.restoration.fit import as_tensor
from dipsop.restoration.held_out import HeldOutFit
from dipsop.restoration.marks import (
    DECIDED,
    GROWTH,
    LEAST_SURE,
    LOW,
    Marks,
    _grown,
    _hysteresis,
    _mean_field,
    _share_of_alike,
    marks_over,
)
from dipsop.restoration.predictor import load_weights

CPU = torch.device("cpu")
MIDDLE = slice(60, 252)


def middle(name):
    return load(IMAGES / f"{name}.png").values[MIDDLE, MIDDLE]


def seen(values, told=False):
    return marks_over(as_tensor(np.rint(255 * values).astype(np.uint8), CPU), "float32", told)


@pytest.mark.parametrize("soft", [False, True])
def test_strokes_over_a_picture_that_the_training_has_not_seen_are_found(soft):
    y, hit = noise.scratches_and_lettering(middle("chelsea"), 0, soft=soft)
    found = seen(y)[0, 0].numpy() > 1
    assert found[hit[..., 0]].mean() > (0.6 if soft else 0.56)
    assert found[~hit[..., 0]].mean() < 0.001


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "camera"])
def test_in_a_clean_photograph_and_under_noise_no_mark_stands_out(name):
    clean = middle(name)
    assert seen(clean) is None
    for share in (0.01, 0.3):
        assert seen(noise.random_valued(clean, share, 0)[0]) is None
        assert seen(noise.salt_and_pepper(clean, share, 0, shared=True)[0]) is None


def test_on_a_clean_page_of_print_no_mark_stands_out():
    assert seen(real_damage.page()) is None


def test_told_that_there_are_marks_the_most_conspicuous_pixels_are():
    y, hit = noise.scratches_and_lettering(middle("coffee"), 0, soft=True)
    y = 0.85 * middle("coffee") + 0.15 * y  # hardly to be seen
    plain, told = seen(y), seen(y, told=True)
    found = 0.0 if plain is None else float((plain > 1)[0, 0].numpy()[hit[..., 0]].mean())
    assert (told > 1)[0, 0].numpy()[hit[..., 0]].mean() > found + 0.05


def test_most_of_the_cracks_of_an_old_print_are_found_once_it_is_told_and_no_mark_on_it_without_them():
    clean = real_damage.old_print("astronaut", 0, 120)
    y = real_damage.cracks(clean, np.random.default_rng(0))
    hit = np.abs(y - clean).max(2) > 8 / 255
    assert seen(clean) is None
    found = (seen(y, told=True)[0, 0] > 1).numpy()
    assert found[hit].mean() > 0.6
    assert found[~hit].mean() < 0.002


def test_told_that_there_are_marks_odds_are_decided_and_the_same_pixels_found(monkeypatch):
    y = real_damage.cracks(real_damage.old_print("astronaut", 0, 120), np.random.default_rng(0))
    decided = seen(y, told=True)
    monkeypatch.setattr("dipsop.restoration.marks.DECIDED", 1.0)
    torch.testing.assert_close(decided, seen(y, told=True) ** DECIDED, rtol=1e-3, atol=0)


def test_a_piece_stands_out_as_a_whole_where_some_of_it_is_sure():
    log_odds = torch.full((1, 1, 12, 30), -9.0)
    log_odds[..., 3, 2:20] = -3.0  # a stroke
    log_odds[..., 3, 5 : 5 + LEAST_SURE] = 2.0
    log_odds[..., 8, 2:20] = -1.0  # what only looks like one
    log_odds[..., 10, 25] = 5.0  # a single pixel
    assert torch.equal(_hysteresis(log_odds), (log_odds > -9) & (torch.arange(12).view(1, 1, 12, 1) == 3))
    assert not _hysteresis(log_odds.clamp(max=-0.1)).any()


def test_agreement_carries_a_mark_on_beside_where_it_stood_out_and_farther_off_only_where_it_is_sure():
    """A line of which a fifth stood out; after agreeing all is possible, and farther off none is sure, then a part."""
    stood_out, log_odds = torch.zeros(1, 1, 9, 200, dtype=torch.bool), torch.full((1, 1, 9, 200), LOW - 1)
    stood_out[..., 4, :40] = True
    log_odds[..., 4, :] = LOW + 1
    log_odds[..., 4, 10:30] = 1.0
    grown = _grown(log_odds, stood_out)
    assert grown[..., 4, :].nonzero().max() == 39 + GROWTH
    assert grown.sum() == 40 + GROWTH
    log_odds[..., 4, 150 : 150 + LEAST_SURE - 1] = 1.0
    assert torch.equal(_grown(log_odds, stood_out), grown)
    log_odds[..., 4, 150 + LEAST_SURE - 1] = 1.0
    assert _grown(log_odds, stood_out).sum() == 200


def test_pixels_of_one_colour_agree_on_whether_they_are_a_mark():
    y = 0.5 + 0.02 * torch.rand((1, 3, 60, 80), generator=torch.Generator().manual_seed(0))
    red = torch.tensor([0.8, 0.1, 0.2]).view(1, 3, 1, 1)
    y[..., 20:30, 10:70] = red
    log_odds = torch.full((1, 1, 60, 80), -8.0)
    log_odds[..., 22:28, 10:70] = -4.0
    log_odds[..., 20:22, 10:70] = log_odds[..., 28:30, 10:70] = 3.0  # a stroke's rims, which are seen most easily
    log_odds[..., 45, 30:36] = 1.0  # a false alarm, of the colour of what is around
    agreed = _mean_field(y, log_odds)
    assert (agreed[..., 22:28, 10:70] > -4 + 2.5).all()
    assert (agreed[..., 20:22, 10:70] > 1.5).all()
    assert (agreed[..., 45, 30:36] < 0).all()
    assert (agreed[..., :10, :] < -5.5).all()


def test_where_no_pixel_looks_alike_each_keeps_its_own_opinion():
    y = torch.rand((1, 3, 40, 40), generator=torch.Generator().manual_seed(1)).mul(1000)
    said = torch.linspace(-4, 4, 1600).view(1, 1, 40, 40)
    assert torch.allclose(_share_of_alike(y, said.sigmoid()), said.sigmoid())


@pytest.mark.parametrize(("height", "width"), [(96, 200), (97, 131)])
def test_marks_in_tiles_or_of_a_large_picture_lie_where_they_are(monkeypatch, height, width):
    y, hit = noise.scratches_and_lettering(np.full((height, width, 3), 0.5, np.float32), 1)
    whole = seen(y)[0, 0]
    monkeypatch.setattr("dipsop.restoration.marks.TILE", 64)
    assert ((seen(y)[0, 0] > 1) != (whole > 1)).float().mean() < 1e-3
    monkeypatch.setattr("dipsop.restoration.marks.LARGE", 4000)
    halved = seen(y)[0, 0].numpy() > 1
    assert halved.shape == (height, width)
    assert halved[hit[..., 0]].mean() > 0.5


def after_a_round(y, predicted, marks, **choices):
    detection = Detection(y, DetectionConfig(**choices), first_rounds=9, marks=marks)
    detection.round(predicted.clone(), torch.full_like(y, 0.03))
    return detection


def observed():
    random = torch.Generator().manual_seed(4)
    y = 0.3 + 0.4 * torch.rand((1, 3, 40, 40), generator=random)
    marks = torch.zeros_like(y[:, :1])
    marks[..., 10:14, 5:30] = 3.0
    return y, y + 0.01 * torch.randn(y.shape, generator=random), marks


def test_the_odds_of_a_mark_are_added_to_those_of_noise_and_grow_with_a_fifth_of_the_residual():
    y, predicted, marks = observed()
    plain, marked = after_a_round(y, predicted, None), after_a_round(y, predicted, marks)
    off = ((y - predicted).abs() / marked.scale).amax(1, keepdim=True)
    assert torch.equal(marked.found, (marks > 0).expand_as(y))
    expected = (plain.corruption.odds + marks * torch.exp(off / 5)).log()
    torch.testing.assert_close(
        marked.corruption.odds.log()[..., 10:14, 5:30], expected[..., 10:14, 5:30], atol=0.2, rtol=0
    )
    assert not plain.found.any()


@pytest.mark.parametrize(("polarity", "side"), [("salt", 1), ("pepper", -1)])
def test_of_a_mark_only_what_is_off_to_the_side_looked_for_is_found(polarity, side):
    y, predicted, marks = observed()
    found = after_a_round(y, predicted, marks, polarity=polarity).found
    assert torch.equal(found, (marks > 0) & (side * (y - predicted) > 0))


def test_strength_holds_marks_back_too():
    y, predicted, marks = observed()
    weak, plain, strong = (after_a_round(y, predicted, marks, strength=strength) for strength in (0.01, 1.0, 100.0))
    assert not weak.found.any()
    where = (marks > 0).expand_as(y)
    assert weak.corruption.odds[where].median() < 0.02 * plain.corruption.odds[where].median()
    assert strong.corruption.odds[where].median() > 50 * plain.corruption.odds[where].median()


def test_a_mark_stays_found_where_print_is_left_alone():
    y, predicted, marks = observed()
    y[..., 18:36, 4:36], predicted[..., 18:36, 4:36] = 0.95, 0.05  # a third of the picture, in one piece
    detection = Detection(y, DetectionConfig(), marks=marks)
    detection.round(predicted.clone(), torch.full_like(y, 0.03))
    assert torch.equal(detection.found, (marks > 0).expand_as(y))


def test_over_a_mark_the_look_has_no_say_and_protection_and_polarity_have():
    y, predicted, marks = observed()
    protected = torch.zeros_like(y, dtype=torch.bool)
    protected[..., :20] = True
    no = lambda y, *_: torch.full_like(y, -40.0)  # noqa: E731
    detection = Detection(y, DetectionConfig(), protected=protected, first_rounds=9, look=no, marks=marks)
    detection.by_pixel = True
    detection.round(predicted.clone(), torch.full_like(y, 0.03))
    assert torch.equal(detection.found, (marks > 0) & ~protected)
    assert not after_a_round(y, predicted, marks, polarity="salt").corruption.v.any()


def test_a_fit_that_is_told_the_mask_or_to_start_from_nothing_looks_for_no_marks():
    y = as_tensor(noise.scratches_and_lettering(middle("chelsea"), 0)[0], CPU)
    quick = PRESETS["quick"]
    assert HeldOutFit(y, quick).detection.marks is not None
    assert HeldOutFit(y, replace(quick, polarity="salt")).detection.marks is not None
    for choice in ({"pretrained": False}, {"look": "never"}):
        assert HeldOutFit(y, replace(quick, **choice)).detection.marks is None
    assert HeldOutFit(y, quick, mask=y > 0.9).detection.marks is None


def test_over_a_picture_that_is_mostly_of_one_colour_marks_are_looked_for_if_it_is_told_that_there_are_some():
    values = np.ones((400, 400, 3), np.float32)
    values[100:292, 100:292] = noise.scratches_and_lettering(middle("chelsea"), 0)[0]
    y, quick = as_tensor(values, CPU), PRESETS["quick"]
    assert seen(values) is not None
    assert HeldOutFit(y, quick).detection.marks is None
    assert HeldOutFit(y, replace(quick, scratches=True)).detection.marks is not None


def test_scratches_need_the_shipped_network_that_finds_them(tmp_path, capsys):
    for choice in ({"pretrained": False}, {"widths": (8, 16)}, {"look": "never"}):
        with pytest.raises(ValueError, match="scratches are found by a shipped network"):
            HeldOut(steps=1, scratches=True, **choice)
    picture = str(IMAGES / "camera.png")
    assert status("restore", picture, "--out", str(tmp_path / "out.png"), "--scratches", "--random-start") == 2
    assert "--scratches: does not go with --random-start" in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


# ---- the training -----------------------------------------------------------------------------------------------


def test_jpeg_on_the_device_is_about_what_pillow_makes():
    picture = Image.open(IMAGES / "coffee.png").convert("RGB").crop((0, 0, 128, 128))
    clean = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
    for quality in (65, 92):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, subsampling=2 if quality < 90 else 0)
        theirs = torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1)[None].float() / 255
        ours = scans.through_jpeg(clean, torch.full((1, 1, 1, 1), float(quality)))
        assert (ours - theirs).abs().mean() < 0.7 * (theirs - clean).abs().mean()


@pytest.fixture
def lessons(tmp_path, monkeypatch):
    """Two photographs and a drawing, few things to lay over them."""
    for name, value in {"CROP": 64, "BATCH": 6, "COVER": 96, "SHORTER": (90, 70), "JOBS": 16, "PAGES": 1}.items():
        monkeypatch.setattr(train_marks, name, value)
    for kind, name in (("photograph", "coffee"), ("photograph", "chelsea"), ("drawn", "camera")):
        (tmp_path / kind).mkdir(exist_ok=True)
        with Image.open(IMAGES / f"{name}.png") as picture:
            picture.save(tmp_path / kind / f"{name}.png")
    return train_marks.Lessons(tmp_path, CPU, processes=0, layers=16)


def test_what_is_to_be_found_is_what_marks_changed_and_noise_is_none(lessons):
    torch.manual_seed(0)
    y, label, weight = lessons.draw()
    assert y.shape == (6, 3, 64, 64)
    assert label.shape == weight.shape == (6, 1, 64, 64)
    torch.testing.assert_close(y, (255 * y).round() / 255)
    clean = lessons.photographs.draw(6)
    hit, without = lessons._noisy(clean, clean)
    assert torch.equal(hit, without)  # in both, so that it is no change
    _, paper = scans.aged(clean[:2])
    marked, covered = lessons._marked(clean, torch.full((6,), 4.0), paper, torch.ones(6, dtype=torch.bool))
    beside = (marked != clean).any(1, keepdim=True) & (covered == 0)
    assert not beside[2:].any()
    # Of old prints, which come first, a pixel beside a mark may lie in its shadow.
    assert not (beside & (F.max_pool2d(covered, 3, 1, 1) == 0)).any()
    assert 0 < (marked != clean).float().mean() < 0.9


def test_an_old_print_has_fewer_colours_and_its_paper_is_yellowed_and_never_dark():
    torch.manual_seed(0)
    clean = torch.rand(64, 3, 48, 48)
    prints, paper = scans.aged(clean)
    assert prints.shape == clean.shape
    assert paper.shape == (64, 3, 1, 1)
    assert prints.min() >= 0
    assert prints.max() <= 1
    between = lambda x: x.std(1).mean((1, 2))  # noqa: E731
    assert (between(prints - prints.mean((2, 3), keepdim=True)) < 0.7 * between(clean)).all()
    assert (paper[:, 0] >= paper[:, 1]).all()  # yellowed, never blue
    assert (paper[:, 1] >= paper[:, 2]).all()
    assert paper.min() > 0.65 * 0.4 - 1e-6


@pytest.mark.parametrize("draw", [wear.fracture, wear.craquelure, wear.fold, wear.flakes])
def test_what_wears_prints_is_thin_or_small_and_comes_again_with_its_seed(draw):
    def drawn(seed):
        return damage.drawn_cover(np.random.default_rng(seed), 160, 160, draw)

    covered = [drawn(seed) for seed in range(40)]
    np.testing.assert_array_equal(covered[3], drawn(3))
    shares = np.array([(cover > 0.1).mean() for cover in covered])
    assert (shares > 0).mean() > 0.6  # some lie beside the canvas
    assert shares.max() < 0.5
    thickest = max(ndimage.distance_transform_edt(cover > 0.1).max() for cover in covered)
    assert 0.5 < thickest < 16


def test_a_training_goes_on_from_its_checkpoint(lessons, tmp_path):
    checkpoint, out = tmp_path / "marks.pt", tmp_path / "marks.npz"
    course = train_marks.course(checkpoint, out, CPU)
    assert float(train_marks.step(course, lessons, 1e-3)) == pytest.approx(
        np.log(2), abs=0.01
    )  # it starts as one who cannot tell
    course.save(out)
    again = train_marks.course(checkpoint, out, CPU)
    assert again.steps == 1
    anew = train_marks.course(None, out, CPU)
    assert anew.steps == 0
    torch.testing.assert_close(anew.network.state_dict(), course.average.state_dict(), atol=1e-3, rtol=1e-2)
    train_marks.step(again, lessons, 1e-3)
    marks = Marks("float32")
    marks.load_state_dict(load_weights(out))
    assert torch.isfinite(marks(torch.rand(1, 3, 32, 32))).all()
