"""TIFF files of several pages: restored one by one, and written as a TIFF of the same pages."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from command_line import QUICK, listing, status
from PIL import ImageCms

from dipsop.errors import DipsopError, ImageError
from dipsop.jobs import fitting
from dipsop.jobs.events import Begun, Done, Finishing, Stopped, Written
from dipsop.jobs.job import RestoreJob
from dipsop.jobs.restore import run
from dipsop.pictures import images
from dipsop.pictures.encode_tiff import TiffWriter
from dipsop.pictures.picture import Picture
from dipsop.restoration.config import PRESETS

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
CONFIG = replace(PRESETS["quick"], steps=6)


def noisy(dtype, channels, seed):
    """A ramp with a tenth of its values replaced."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:24, :32]
    values = np.repeat(((rows + columns) / 80 + 0.1)[..., None], channels, 2)
    values = np.where(rng.random(values.shape) < 0.1, rng.random(values.shape), values)
    return values.astype(dtype) if dtype == np.float32 else np.rint(values * np.iinfo(dtype).max).astype(dtype)


PAGES = [noisy(np.uint8, 3, 0), noisy(np.uint16, 1, 1), noisy(np.float32, 3, 2), noisy(np.uint8, 1, 3)]


@pytest.fixture
def stack(tmp_path, monkeypatch):
    """A folder with stack.tif, by tifffile: pages of several depths, each with tags of its own."""
    monkeypatch.chdir(tmp_path)
    with tifffile.TiffWriter("stack.tif", byteorder=">") as tiff:
        for number, page in enumerate(PAGES):
            tiff.write(
                page if page.shape[2] == 3 else page[..., 0],
                photometric="rgb" if page.shape[2] == 3 else "minisblack",
                compression="lzw",
                description=f"page {number}",
                iccprofile=PROFILE if number == 0 else None,
                resolution=(100 + number, 100),
                resolutionunit=2,
                extratags=[(274, 3, 1, 1 + number, True), (285, 2, 0, f"name {number}", True)],
                metadata=None,
            )
    return tmp_path


def job(**changes):
    return replace(RestoreJob(source=Path("stack.tif"), out=Path("out.tif"), preset="quick", config=CONFIG), **changes)


def test_every_page_is_restored_as_it_would_be_by_itself(stack):
    list(run(job()))
    for number, (page, restored) in enumerate(
        zip(images.iter_pages("stack.tif"), images.iter_pages("out.tif"), strict=True)
    ):
        images.save(Path("one.tif"), page)
        list(run(job(source=Path("one.tif"), out=Path("one.out.tif"))))
        alone = images.load(Path("one.out.tif"))
        assert restored.samples.dtype == PAGES[number].dtype
        assert np.array_equal(restored.samples, alone.samples)
        assert not np.array_equal(restored.samples, page.samples)


def test_pages_keep_their_tags_as_other_programs_read_them(stack):
    list(run(job()))
    with tifffile.TiffFile("out.tif") as tiff:
        assert [page.tags[270].value for page in tiff.pages] == [f"page {k}" for k in range(4)]
        assert [page.tags[285].value for page in tiff.pages] == [f"name {k}" for k in range(4)]
        assert [page.tags[297].value for page in tiff.pages] == [(k, 4) for k in range(4)]
        assert [page.bitspersample for page in tiff.pages] == [8, 16, 32, 8]
        assert [34675 in page.tags for page in tiff.pages] == [True, False, False, False]
        assert [page.tags[282].value[0] / page.tags[282].value[1] for page in tiff.pages] == [100, 101, 102, 103]
        assert all(274 not in page.tags for page in tiff.pages)  # upright


def test_the_course_of_all_pages_is_told_as_one(stack):
    events = list(run(job(corruption_map=Path("map.tif"))))
    assert [e.title for e in events if isinstance(e, Begun)] == [f"page {k} of 4" for k in (1, 2, 3, 4)]
    steps = [e for e in events if hasattr(e, "iteration")]
    shares = [step.done for step in steps]
    assert len(steps) == 4 * CONFIG.steps
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert 0 < shares[0] < 0.1
    assert [e.path.name for e in events if isinstance(e, Written)] == ["out.tif", "map.tif"]
    report = events[-1].report
    maps = list(images.iter_pages("map.tif"))
    found = sum((page.samples == 255).sum() for page in maps) / sum(page.size for page in PAGES)
    assert (report["pages"], report["steps"], report["reason"]) == (4, 24, "all steps taken")
    assert report["fraction_corrupted"] == pytest.approx(found)
    assert found > 0.01


def test_a_stop_writes_all_pages_whole_those_to_come_as_they_were(stack):
    begun = []

    def stop():
        return len(begun) == 2

    for event in run(job(), stop):
        if isinstance(event, Begun):
            begun.append(event)
    assert event.report["reason"] == "interrupted on page 2 of 4"
    before, after = list(images.iter_pages("stack.tif")), list(images.iter_pages("out.tif"))
    same = [np.array_equal(a.samples, b.samples) for a, b in zip(before, after, strict=True)]
    assert same[0] is False
    assert same[2:] == [True, True]
    assert sorted(listing(stack)) == ["out.tif", "stack.tif"]


def test_a_stop_of_one_of_many_and_an_end_midway_leave_nothing(stack):
    before = listing(stack)
    events = list(run(job(of_many=True, checkpoint=Path(".state"), resume=True), lambda: True))
    assert isinstance(events[-1], Stopped)
    assert listing(stack) == before
    course = run(job())
    for event in course:
        if isinstance(event, Finishing):
            break
    course.close()
    assert listing(stack) == before


@pytest.mark.parametrize("option", ["truth", "checkpoint", "record", "trace", "plot"])
def test_what_is_made_for_one_page_is_refused_before_the_work(stack, option, capsys):
    (stack / "given.png").write_bytes(b"any")
    before = listing(stack)
    assert status("restore", "stack.tif", "--out", "out.tif", f"--{option}", "given.png", *QUICK) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"dipsop: stack.tif has 4 pages, --{option} goes with one: leave it out")
    assert listing(stack) == before


@pytest.mark.parametrize("option", ["--out", "--corruption-map"])
def test_formats_of_one_page_are_refused_before_the_work(stack, option, capsys):
    arguments = {"--out": "out.tif", option: "other.png"}
    assert status("restore", "stack.tif", *(word for pair in arguments.items() for word in pair), *QUICK) == 1
    assert capsys.readouterr().err == "dipsop: stack.tif has 4 pages, which other.png cannot hold: end it in .tif.\n"
    assert sorted(listing(stack)) == ["stack.tif"]


def test_damage_to_the_last_page_is_said_before_the_first_is_begun(stack):
    with tifffile.TiffFile("stack.tif") as tiff:
        offset = tiff.pages[3].dataoffsets[0]
    data = bytearray((stack / "stack.tif").read_bytes())
    data[offset : offset + 20] = bytes(20)
    (stack / "stack.tif").write_bytes(data)
    course = run(job())
    with pytest.raises(ImageError, match=r"stack\.tif is damaged or cut short"):
        next(course)
    assert sorted(listing(stack)) == ["stack.tif"]


def test_a_full_disk_is_said_and_leaves_nothing(stack, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TiffWriter, "add", full)
    with pytest.raises(DipsopError, match=r"out\.tif could not be written \(no space left on device\): free space"):
        list(run(job()))
    assert sorted(listing(stack)) == ["stack.tif"]


def test_a_mask_is_that_of_every_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with tifffile.TiffWriter("stack.tif") as tiff:
        for seed in range(3):
            tiff.write(noisy(np.uint8, 3, seed), photometric="rgb")
    mask = np.zeros((24, 32), bool)
    mask[4:9, 5:11] = True
    images.save_values(Path("mask.png"), mask)
    list(run(job(mask=Path("mask.png"))))
    for before, after in zip(images.iter_pages("stack.tif"), images.iter_pages("out.tif"), strict=True):
        changed = (before.samples != after.samples).any(2)
        assert not changed[~mask].any()
        assert changed[mask].mean() > 0.5
    images.save_values(Path("mask.png"), np.zeros((9, 9), bool))
    with pytest.raises(DipsopError, match="a mask must be as large as the picture"):
        next(run(job(mask=Path("mask.png"))))


def test_a_map_of_what_was_found_is_the_mask_of_page_after_page(stack):
    list(run(job(corruption_map=Path("map.tif"))))
    list(run(job(mask=Path("map.tif"), out=Path("filled.tif"))))
    list(run(job(protect=Path("map.tif"), out=Path("kept.tif"))))
    names = ("map.tif", "stack.tif", "filled.tif", "kept.tif")
    for found, before, filled, kept in zip(*map(images.iter_pages, names), strict=True):
        white, changed = found.samples > 0, before.samples != filled.samples
        assert not changed[~white].any()
        assert changed[white].mean() > 0.5
        assert np.array_equal(before.samples[white], kept.samples[white])


@pytest.mark.parametrize("option", ["--mask", "--protect"])
def test_a_mask_of_another_number_of_pages_is_refused_before_the_work(stack, option, capsys):
    tifffile.imwrite("two.tif", np.zeros((2, 24, 32), np.uint8), photometric="minisblack")
    assert status("restore", "stack.tif", "--out", "out.tif", option, "two.tif", *QUICK) == 1
    said = "dipsop: stack.tif has 4 pages, two.tif has 2: give it one for all, or as many.\n"
    assert capsys.readouterr().err == said


def test_pages_without_corruption_come_out_as_the_file_that_they_were(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with tifffile.TiffWriter("stack.tif") as tiff:
        for seed in range(2):
            tiff.write(noisy(np.uint8, 3, seed), photometric="rgb", compression="zlib")
    images.save_values(Path("mask.png"), np.zeros((24, 32), bool))
    list(run(job(mask=Path("mask.png"))))
    assert Path("out.tif").read_bytes() == Path("stack.tif").read_bytes()


def test_a_time_limit_is_that_of_all_pages(stack, monkeypatch):
    fits, limits = fitting.iter_restore, []

    def limited(values, config, *arguments, **options):
        limits.append(config.time_limit)
        return fits(values, config, *arguments, **options)

    monkeypatch.setattr(fitting, "iter_restore", limited)
    events = list(run(job(config=replace(CONFIG, steps=100_000, time_limit=2.0))))
    assert isinstance(events[-1], Done)
    assert events[-1].report["pages"] == 4
    assert events[-1].report["steps"] < 100_000
    assert len(limits) == 4
    assert sum(limits) == pytest.approx(2.0)


def test_reduced_copies_of_pages_are_left_out_with_a_note_or_strictly_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "in.tif") as tiff:
        for page in PAGES[:1] * 2:
            tiff.write(page, photometric="rgb")
            tiff.write(page[::4, ::4], photometric="rgb", subfiletype=1)
    pages = list(images.iter_pages(tmp_path / "in.tif"))
    assert [page.samples.shape for page in pages] == [PAGES[0].shape] * 2
    assert "holds reduced copies of its pages" in pages[0].notes[0]
    with pytest.raises(ImageError, match="leave --strict out"):
        next(images.iter_pages(tmp_path / "in.tif", strict=True))


def test_eight_bit_pages_are_turned_upright_each_by_its_own_orientation(tmp_path):
    with tifffile.TiffWriter(tmp_path / "in.tif") as tiff:
        for orientation in (1, 6, 3, 8):
            tiff.write(PAGES[0], photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    turns = {1: 0, 6: -1, 3: 2, 8: 1}
    for orientation, page in zip(turns, images.iter_pages(tmp_path / "in.tif"), strict=True):
        assert np.array_equal(page.samples, np.rot90(PAGES[0], turns[orientation]))


@pytest.mark.parametrize("options", [{}, {"byteorder": ">"}, {"bigtiff": True}])
@pytest.mark.parametrize("compression", [None, "lzw", "jpeg"])
def test_eight_bit_pages_are_read_after_pages_that_pillow_cannot_read(tmp_path, options, compression):
    with tifffile.TiffWriter(tmp_path / "in.tif", **options) as tiff:
        tiff.write(PAGES[2], photometric="rgb")
        tiff.write(PAGES[0], photometric="rgb", compression=compression)
    float_page, page = images.iter_pages(tmp_path / "in.tif")
    assert np.array_equal(float_page.samples, PAGES[2])
    assert np.abs(page.samples.astype(int) - PAGES[0]).mean() <= (20 if compression == "jpeg" else 0)


@pytest.mark.parametrize("big", [False, True])
def test_hundreds_of_pages_are_written_and_read_one_at_a_time(tmp_path, big):
    pages = [np.full((9, 7, 1 + 2 * (k % 2)), k % 200, (np.uint8, np.uint16)[k % 2]) for k in range(300)]
    exif = b"II*\0\x08\0\0\0\x01\0\x3b\x01\x02\0\x07\0\0\0\x1a\0\0\0\0\0\0\0Artist\0"
    with tempfile.TemporaryFile(dir=tmp_path) as file:
        writer = TiffWriter(file, len(pages), big)
        for page in pages:
            writer.add(Picture(samples=page, exif=exif, icc_profile=PROFILE, dpi=(72, 72)))
        file.seek(0)
        (tmp_path / "in.tif").write_bytes(file.read())
    with tifffile.TiffFile(tmp_path / "in.tif") as tiff:
        assert (len(tiff.pages), tiff.is_bigtiff) == (300, big)
        assert [page.asarray().max() for page in tiff.pages] == [k % 200 for k in range(300)]
    read = list(images.iter_pages(tmp_path / "in.tif"))
    assert all(np.array_equal(a.samples, b) for a, b in zip(read, pages, strict=True))
    assert {page.icc_profile for page in read} == {PROFILE}
    assert all(b"Artist" in page.exif for page in read)


def test_eight_bits_in_a_big_endian_bigtiff_are_refused_not_called_damaged(tmp_path):
    tifffile.imwrite(tmp_path / "in.tif", PAGES[0], photometric="rgb", bigtiff=True, byteorder=">")
    with pytest.raises(ImageError, match="big-endian BigTIFF, which are not taken: convert it"):
        images.load(tmp_path / "in.tif")


def test_what_a_page_notes_on_the_way_is_told():
    from dipsop.jobs import pages
    from dipsop.jobs.events import Noted

    assert list(pages._of_all([Noted("the disk is full.")], None, 0)) == [Noted("the disk is full.")]
