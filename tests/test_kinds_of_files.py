"""Files of telephones, presses, cameras and other programs: what comes of them, and what is said where nothing can."""

import re
import resource
import struct
import sys
import time
from pathlib import Path

import icc
import imagecodecs
import numpy as np
import pillow_heif
import pytest
import tifffile
from command_line import QUICK, status
from PIL import Image, ImageOps
from test_images import HEIGHT, PROFILE, WIDTH, exif_record, mutated, refused, samples, sentence

from dipsop.errors import ImageError
from dipsop.pictures.encode import _chunk
from dipsop.pictures.images import Picture, iter_pages, kind, load, save, save_values
from dipsop.pictures.pixels import widened

FILES = Path(__file__).parent / "files"
SEEDS = sorted(path for path in FILES.iterdir() if path.suffix != ".md")
COLOURS = {".heic": "HEIC", ".avif": "AVIF"}


def smooth():
    """An upright picture that a lossy format keeps, with a corner of its own colour."""
    rows, columns = np.mgrid[:48, :64]
    array = np.stack([4 * rows, 3 * columns, rows + columns], -1).astype(np.uint8)
    array[:16, :16] = 255
    return array


def close(a, b, levels=4):
    assert a.shape == b.shape
    return np.abs(a.astype(float) - b).mean() < levels


# ---- HEIC and AVIF ----


@pytest.mark.parametrize("suffix", COLOURS)
def test_telephone_pictures_come_in_with_their_exif_and_profile(tmp_path, suffix):
    write(tmp_path / f"in{suffix}", exif_record(1))
    picture = load(tmp_path / f"in{suffix}")
    assert (picture.format, picture.samples.dtype, picture.notes) == (COLOURS[suffix], np.uint8, ())
    assert close(picture.samples, smooth())
    assert picture.icc_profile == PROFILE
    record = Image.Exif()
    record.load(picture.exif)
    assert record[271] == "Maker"
    assert record.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"


def write(path, exif):
    if path.suffix == ".avif":
        Image.fromarray(smooth()).save(path, quality=95, subsampling="4:4:4", exif=exif, icc_profile=PROFILE)
    else:
        image = Image.fromarray(smooth())
        image.info["icc_profile"] = PROFILE
        pillow_heif.from_pillow(image).save(path, quality=95, chroma=444, exif=exif)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", COLOURS)
def test_telephone_pictures_are_turned_upright_once(tmp_path, suffix, orientation):
    write(tmp_path / f"in{suffix}", exif_record(orientation))
    with Image.fromarray(smooth()) as image:
        image.getexif()[274] = orientation
        upright = np.asarray(ImageOps.exif_transpose(image))
    picture = load(tmp_path / f"in{suffix}")
    assert close(picture.samples, upright)
    save(tmp_path / "out.jpg", picture)
    with Image.open(tmp_path / "out.jpg") as out:
        assert out.getexif().get(274, 1) == 1


def test_orientation_in_the_exif_record_alone_does_not_turn_a_heic():
    """Its container says how it lies; exiftool wrote 6 into the record of this one."""
    picture, plain = load(FILES / "exiftool.heic"), load(FILES / "libheif.heic")
    assert np.array_equal(picture.samples, plain.samples)
    record = Image.Exif()
    record.load(picture.exif)
    assert (record[271], record[274]) == ("Maker", 1)


@pytest.mark.parametrize("bits", [10, 12])
def test_deep_avif_keeps_its_depth(tmp_path, bits):
    values = np.linspace(0, (1 << bits) - 1, 64 * 48).astype(np.uint16).reshape(48, 64)
    array = np.repeat(values[..., None], 3, 2)
    (tmp_path / "in.avif").write_bytes(imagecodecs.avif_encode(array, level=100, bitspersample=bits))
    picture = load(tmp_path / "in.avif")
    assert picture.samples.dtype == np.uint16
    assert np.abs(picture.samples - array * (65535 / ((1 << bits) - 1))).max() < 2 * 65535 / (1 << bits)
    assert len(np.unique(picture.samples)) > 256
    assert (picture.samples[0, 0].max(), picture.samples[-1, -1].min()) == (0, 65535)


def test_deep_heic_keeps_its_depth(tmp_path):
    array = np.repeat(np.linspace(0, 65535, 64 * 48).astype(np.uint16).reshape(48, 64, 1), 3, 2)
    data, name = array.tobytes(), tmp_path / "in.heic"
    pillow_heif.encode("RGB;16", (64, 48), data, name, quality=-1, chroma=444, matrix_coefficients=0)
    picture = load(name)
    assert picture.samples.dtype == np.uint16
    assert np.abs(picture.samples.astype(int) - array).max() < 4 * 65535 / 1023
    assert len(np.unique(picture.samples)) > 256
    assert picture.samples.max() > 65400


def test_samples_of_ten_bits_are_spread_from_black_to_white():
    every = np.arange(1024, dtype=np.uint16)
    wide = widened(every, 10)
    assert np.array_equal(wide, np.floor(every.astype(float) * 65535 / 1023 + 0.5))
    with pytest.raises(ValueError, match="more than 10 bits"):
        widened(every + 1, 10)


def test_transparency_of_a_heic_and_an_avif_is_kept(tmp_path):
    array = np.dstack([smooth(), smooth()[..., 0]])
    pillow_heif.from_pillow(Image.fromarray(array)).save(tmp_path / "in.heic", quality=95, chroma=444)
    Image.fromarray(array).save(tmp_path / "in.avif", quality=95)
    for name in ("in.heic", "in.avif"):
        assert close(load(tmp_path / name).alpha, array[..., 3])


@pytest.mark.parametrize("name", ["libheif.heic", "libheif.avif"])
def test_absurd_dimensions_of_a_container_are_refused_from_its_header(tmp_path, name):
    data = (FILES / name).read_bytes()
    at = data.index(b"ispe") + 8
    (tmp_path / name).write_bytes(data[:at] + 2 * (12_000).to_bytes(4) + data[at + 8 :])
    start = time.perf_counter()
    refused(tmp_path / name)
    assert time.perf_counter() - start < 2


def test_the_main_picture_of_a_heic_is_taken_with_a_note_or_strictly_refused():
    picture = load(FILES / "libheif_two.heic")
    assert np.array_equal(picture.samples, load(FILES / "libheif.heic").samples)
    assert re.search(r"holds 2 pictures, the main one alone is taken\.$", picture.notes[0])
    with pytest.raises(ImageError, match=r"holds 2 pictures, .*: do that first, or leave --strict out") as raised:
        load(FILES / "libheif_two.heic", strict=True)
    sentence(raised.value, FILES / "libheif_two.heic")


def test_heic_without_its_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert "pip install 'dipsop[heic]'" in refused(FILES / "libheif.heic")


def test_heic_is_not_written_and_says_what_is(here, capsys):
    (here / "in.heic").write_bytes((FILES / "libheif.heic").read_bytes())
    assert status("restore", "in.heic", "--out", "out.heic", *QUICK) == 1
    assert re.search(r"out\.heic: \.heic is read, not written, end it in one of \.png", capsys.readouterr().err)


def test_results_of_a_folder_of_heic_and_avif_are_png():
    from dipsop.jobs.targets import targets

    names = {target.out.name for target in targets([str(FILES)], Path("results"))}
    assert {"libheif_two.png", "libheif_12.png", "magick_cmyk.jpg"} <= names
    assert not {name for name in names if name.endswith((".heic", ".avif"))}


def test_two_pictures_of_a_folder_that_would_become_one_are_said(tmp_path):
    from dipsop.jobs.targets import targets

    for name in ("a.heic", "a.png"):
        (tmp_path / name).touch()
    problems = [target.problem for target in targets([str(tmp_path)], tmp_path / "out")]
    assert problems[0] is None
    assert "would both become" in problems[1]
    assert problems[1].endswith("rename one of them.")


# ---- CMYK ----


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_becomes_rgb_by_its_profile(tmp_path, suffix):
    inks = np.zeros((40, 40, 4), np.uint8)
    inks[..., 0], inks[..., 3] = 200, np.repeat([0, 51, 102, 204], 10)
    Image.fromarray(inks, "CMYK").save(tmp_path / f"in{suffix}", icc_profile=icc.black_alone(), quality=100)
    picture = load(tmp_path / f"in{suffix}")
    expected = [icc.shown(black) for black in (0, 0.2, 0.4, 0.8)]
    assert np.abs(picture.samples[5, 5::10].astype(float) - np.array(expected)[:, None]).max() < 3
    assert picture.icc_profile is None  # sRGB
    assert picture.notes[0].endswith("holds CMYK colours, they are converted to RGB by its colour profile.")


@pytest.mark.parametrize("profile", [None, b"broken", PROFILE])
def test_cmyk_without_a_profile_of_its_own_becomes_rgb_by_the_plain_formula(tmp_path, profile):
    inks = samples(np.uint8, 4)
    Image.fromarray(inks, "CMYK").save(tmp_path / "in.tif", **({"icc_profile": profile} if profile else {}))
    picture = load(tmp_path / "in.tif")
    c, black = inks[..., :3].astype(float), inks[..., 3:].astype(float)
    assert np.abs(picture.samples - (255 - c) * (255 - black) / 255).max() <= 1
    assert picture.icc_profile is None
    assert "no profile of them" in picture.notes[0]


def test_cmyk_of_a_jpeg_without_the_mark_of_adobe_is_not_inverted(tmp_path):
    inks = np.full((8, 8, 4), (0, 200, 255, 30), np.uint8)
    Image.fromarray(inks, "CMYK").save(tmp_path / "marked.jpg", quality=100)
    marked = (tmp_path / "marked.jpg").read_bytes()
    at = marked.index(b"\xff\xee")
    length = int.from_bytes(marked[at + 2 : at + 4], "big")
    (tmp_path / "plain.jpg").write_bytes(marked[:at] + marked[at + 2 + length :])
    Image.fromarray(255 - inks, "CMYK").save(tmp_path / "inverted.jpg", quality=100)
    plain, inverted = (load(tmp_path / name).samples for name in ("plain.jpg", "inverted.jpg"))
    assert np.abs(plain.astype(int) - inverted).max() <= 2


def test_cmyk_of_imagemagick_comes_in_positive():
    plain = load(FILES / "magick_progressive.jpg").samples
    for name in ("magick_cmyk.jpg", "magick_cmyk.tif"):
        assert close(load(FILES / name).samples, plain, levels=8)


@pytest.mark.parametrize("name", ["magick_cmyk.jpg", "magick_cmyk.tif"])
def test_strict_refuses_cmyk_and_what_to_do(name):
    with pytest.raises(ImageError, match="holds CMYK colours") as raised:
        load(FILES / name, strict=True)
    assert sentence(raised.value, FILES / name).endswith("do that first, or leave --strict out.")


def test_the_person_is_told_of_cmyk_on_stderr_and_in_the_summary(here, capsys):
    cmyk = FILES / "magick_cmyk.jpg"
    assert status("restore", cmyk, "--out", "out.png", "--json", *QUICK) == 0
    said = capsys.readouterr()
    assert said.err.startswith(f"note: {cmyk} holds CMYK colours")
    assert '"notes": ["' in said.out
    assert status("restore", cmyk, "--out", "out.png", "--quiet", *QUICK) == 0
    assert capsys.readouterr() == ("", "")
    (here / "out.png").unlink()
    assert status("restore", cmyk, "--out", "out.png", "--strict", *QUICK) == 1
    assert "leave --strict out" in capsys.readouterr().err
    assert not (here / "out.png").exists()


def test_cmyk_becomes_rgb_as_was_said_where_nothing_is_found_too(here):
    save_values(here / "nothing.png", np.zeros((16, 24)))
    source = FILES / "magick_cmyk.tif"
    assert status("restore", source, "--out", "out.tif", "--mask", "nothing.png", "--quiet", *QUICK) == 0
    assert np.array_equal(load(here / "out.tif").samples, load(source).samples)
    assert load(here / "out.tif").notes == ()


# ---- other colours than sRGB ----

PNG_COLOURS = [
    (b"gAMA", struct.pack(">I", 45455), False),
    (b"gAMA", struct.pack(">I", 100000), True),
    (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000), False),
    (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000), True),  # Adobe RGB
    (b"cICP", bytes([1, 13, 0, 1]), False),
    (b"cICP", bytes([9, 16, 0, 1]), True),
]
NCLX = [(1, 13, False), (2, 2, False), (1, 6, False), (9, 16, True), (12, 13, True)]


def noted_of_colours(path):
    """Whether a note is given, which is what --strict refuses."""
    notes = load(path).notes
    if notes:
        with pytest.raises(ImageError, match=r"not converted: do that first, or leave --strict out\.$"):
            load(path, strict=True)
    return bool(notes)


@pytest.mark.parametrize(("kind", "data", "other"), PNG_COLOURS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colours_of_a_png_that_are_not_srgb_and_have_no_profile_are_noted(tmp_path, kind, data, other, dtype):
    save(tmp_path / "in.png", Picture(samples=samples(dtype, 3)))
    plain = (tmp_path / "in.png").read_bytes()
    (tmp_path / "in.png").write_bytes(plain[:33] + _chunk(kind, data) + plain[33:])
    assert noted_of_colours(tmp_path / "in.png") == other
    save(tmp_path / "in.png", Picture(samples=samples(dtype, 3), icc_profile=PROFILE))
    profiled = (tmp_path / "in.png").read_bytes()
    (tmp_path / "in.png").write_bytes(profiled[:33] + _chunk(kind, data) + profiled[33:])
    assert not noted_of_colours(tmp_path / "in.png")


def test_a_png_that_says_srgb_is_taken_at_its_word(tmp_path):
    save(tmp_path / "in.png", Picture(samples=samples(np.uint8, 3)))
    plain = (tmp_path / "in.png").read_bytes()
    chunks = _chunk(b"sRGB", b"\0") + _chunk(b"gAMA", struct.pack(">I", 100000))
    (tmp_path / "in.png").write_bytes(plain[:33] + chunks + plain[33:])
    assert not noted_of_colours(tmp_path / "in.png")


@pytest.mark.parametrize(("primaries", "transfer", "other"), NCLX)
@pytest.mark.parametrize("bits", [8, 10])
def test_colours_of_an_avif_that_are_not_srgb_and_have_no_profile_are_noted(tmp_path, primaries, transfer, other, bits):
    array = np.zeros((16, 24, 3), np.uint8 if bits == 8 else np.uint16)
    data = imagecodecs.avif_encode(array, bitspersample=bits)
    at = data.index(b"colrnclx") + 8
    (tmp_path / "in.avif").write_bytes(data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :])
    assert noted_of_colours(tmp_path / "in.avif") == other


@pytest.mark.parametrize(("primaries", "transfer", "other"), NCLX)
def test_colours_of_a_heic_that_are_not_srgb_and_have_no_profile_are_noted(tmp_path, primaries, transfer, other):
    options = {"color_primaries": primaries, "transfer_characteristics": transfer, "save_nclx_profile": True}
    pillow_heif.from_pillow(Image.fromarray(smooth())).save(tmp_path / "in.heic", **options)
    data = (tmp_path / "in.heic").read_bytes()
    at = data.index(b"colrnclx") + 8
    (tmp_path / "in.heic").write_bytes(data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :])
    assert noted_of_colours(tmp_path / "in.heic") == other


# ---- channels that are no colours ----


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("channels", "photometric", "extra", "alpha"),
    [
        (4, "rgb", ["unspecified"], False),
        (5, "rgb", ["unspecified", "unspecified"], False),
        (2, "minisblack", ["unspecified"], False),
        (4, "rgb", ["unassalpha"], True),
        (2, "minisblack", ["unassalpha"], True),
    ],
)
def test_channels_that_are_no_colours_are_alpha_where_the_file_says_so_and_else_left_out_and_told(
    tmp_path, channels, photometric, extra, alpha, dtype
):
    if channels == 5 and dtype == np.uint16:
        pytest.skip("refused: see test_images")
    samples = np.random.default_rng(0).integers(0, 256, (8, 9, channels)).astype(dtype)
    options = {"photometric": photometric, "planarconfig": "contig", "extrasamples": extra}
    tifffile.imwrite(tmp_path / "a.tif", samples, **options)
    picture = load(tmp_path / "a.tif")
    assert (picture.alpha is not None) == alpha
    assert any("more channels" in note for note in picture.notes) != alpha
    if not alpha:
        with pytest.raises(ImageError, match=r"more channels .*leave --strict out\.$"):
            load(tmp_path / "a.tif", strict=True)


@pytest.mark.parametrize(
    ("dtype", "planar"),
    [(np.uint8, "contig"), (np.uint16, "contig"), (np.uint16, "separate"), (np.float32, "contig")],
)
def test_colours_multiplied_by_alpha_are_refused_but_where_all_is_opaque_or_invisible(tmp_path, dtype, planar):
    most = 1 if dtype == np.float32 else np.iinfo(dtype).max
    samples = (np.random.default_rng(0).random((8, 9, 4)) * most).astype(dtype)
    samples[..., 3] = most
    samples[2:4, 3:5] = 0
    options = {"photometric": "rgb", "planarconfig": planar, "extrasamples": ["assocalpha"]}
    stored = samples if planar == "contig" else np.moveaxis(samples, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", stored, **options)
    picture = load(tmp_path / "a.tif")
    assert np.array_equal(picture.samples, samples[..., :3])
    assert np.array_equal(picture.alpha, samples[..., 3])
    stored[(5, 5, 3) if planar == "contig" else (3, 5, 5)] = most / 2
    tifffile.imwrite(tmp_path / "b.tif", stored, **options)
    with pytest.raises(ImageError, match="colours that are multiplied by their alpha"):
        load(tmp_path / "b.tif")


def test_a_sound_file_that_pillow_does_not_take_is_not_called_damaged(tmp_path):
    samples = np.zeros((16, 16, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", compression="jpeg2000")
    said = "packs 3 channels of 8 bits in a way that is not read: save it without"
    with pytest.raises(ImageError, match=said) as refused:
        load(tmp_path / "a.tif")
    assert "damaged" not in str(refused.value)
    tifffile.imwrite(tmp_path / "b.tif", samples, photometric="rgb", compression="webp")
    with pytest.raises(ImageError, match=said):
        load(tmp_path / "b.tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("unit", "dpi"), [(2, (300, 150)), (3, (762, 381)), (1, None)])
def test_a_resolution_is_taken_where_the_file_says_it_in_a_unit(tmp_path, dtype, unit, dpi):
    """Unit 1 is none: what a program writes of an array has that, and no size."""
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 9), dtype), resolution=(300, 150), resolutionunit=unit)
    assert load(tmp_path / "a.tif").dpi == (dpi if dpi is None else pytest.approx(dpi))
    tags = [(tag, 11, 1, 300.0, True) for tag in (282, 283)]  # floats, which are against the standard
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((8, 9), dtype), extratags=tags)
    assert load(tmp_path / "b.tif").dpi is None


def test_signed_samples_are_refused_and_white_at_0_is_turned_round(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 9), np.int8), photometric="minisblack")
    with pytest.raises(ImageError, match="signed 8-bit samples"):
        load(tmp_path / "a.tif")
    shades = np.linspace(0, 1, 72, dtype=np.float32).reshape(8, 9)
    tifffile.imwrite(tmp_path / "b.tif", shades, photometric="miniswhite")
    assert np.array_equal(load(tmp_path / "b.tif").samples[..., 0], 1 - shades)


def test_the_person_is_told_of_cmyk_in_a_folder(tmp_path, capsys):
    from dipsop.commands.display import follow_many
    from dipsop.commands.stopping import Stopping
    from dipsop.jobs.events import Begun, Done, Restored

    report = {"out": "b.png", "fraction_corrupted": 0.1, "seconds": 1.0, "notes": ["a.jpg holds CMYK colours."]}
    counts = {"restored": 1, "skipped": 0, "failed": 0, "left": 0}
    job = [Begun(1), Restored(Path("a.jpg"), Path("b.png"), report), Done(counts)]
    assert follow_many(job, Stopping(), json=True, quiet=False) == 0
    said = capsys.readouterr()
    assert "note: a.jpg holds CMYK colours.\n" in said.err
    assert "holds CMYK" in said.out
    follow_many(job, Stopping(), json=False, quiet=True)
    assert capsys.readouterr() == ("", "")


# ---- what is refused, with what to do ----

RAW = {
    "in.raf": b"FUJIFILMCCD-RAW 0201", "in.orf": b"IIRO\x08\0\0\0", "in.rw2": b"IIU\0\x08\0\0\0", "in.x3f": b"FOVb",
    "in.cr2": b"II*\0\x10\0\0\0CR\x02\0", "in.cr3": b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", "in.mrw": b"\0MRM",
    "in.crw": b"II\x1a\0\0\0HEAPCCDR", "in.nef": b"MM\0*\0\0\0\x08", "in.arw": b"II*\0\x08\0\0\0",
}  # fmt: skip


@pytest.mark.parametrize("name", RAW)
def test_raw_files_are_refused_with_what_to_do(tmp_path, name):
    (tmp_path / name).write_bytes(RAW[name] + bytes(100))
    assert "develop it to a 16-bit TIFF" in refused(tmp_path / name)


def test_raw_files_are_known_by_their_directories_whatever_they_are_called(tmp_path):
    sensor = np.zeros((32, 32), np.uint16)
    tifffile.imwrite(tmp_path / "dng.tif", sensor, extratags=[(50706, 1, 4, (1, 4, 0, 0), True)])
    with tifffile.TiffWriter(tmp_path / "nef.tif") as tiff:  # as many cameras: a preview, and the sensor below it
        tiff.write(np.zeros((8, 8, 3), np.uint8), photometric="rgb", subifds=1)
        tiff.write(sensor, photometric="cfa", extratags=[(33421, 3, 2, (2, 2)), (33422, 1, 4, (0, 1, 1, 2))])
    for name in ("dng.tif", "nef.tif"):
        assert "develop it to a 16-bit TIFF" in refused(tmp_path / name)


def test_a_gif_of_one_frame_is_refused_too(tmp_path):
    Image.fromarray(samples(np.uint8, 3)).save(tmp_path / "in.gif")
    assert "frames of 256 colours: save its frames as PNG files" in refused(tmp_path / "in.gif")


def test_a_sequence_of_heic_is_refused(tmp_path):
    (tmp_path / "in.heics").write_bytes(b"\0\0\0\x18ftyphevc\0\0\0\0msf1hevc" + bytes(100))
    assert "sequence of pictures" in refused(tmp_path / "in.heics")


def test_an_imagej_stack_under_one_header_is_refused(tmp_path):
    stack = np.zeros((5, HEIGHT, WIDTH), np.uint16)
    tifffile.imwrite(tmp_path / "in.tif", stack[0], imagej=True, metadata={"images": 1})
    data = (tmp_path / "in.tif").read_bytes().replace(b"images=1\n", b"images=5\n")
    (tmp_path / "in.tif").write_bytes(data)
    assert "ImageJ stack" in refused(tmp_path / "in.tif")


# ---- files of other programs, whole and damaged ----


@pytest.mark.parametrize("path", [seed for seed in SEEDS if seed.suffix != ".gif"], ids=lambda path: path.name)
def test_files_of_other_programs_show_the_picture_that_they_were_made_of(path):
    """The crop of the astronaut, as all of them are, up to what their format loses; turned where exiftool turned it."""
    whole = load(FILES.parents[1] / "images" / "astronaut.png").samples[320:336, 352:376].astype(float)
    picture = next(iter_pages(path)) if kind(path) == "TIFF" else load(path)
    turns = {"exiftool.jpg": 6, "exiftool.png": 3, "exiftool.tif": 8}
    image = Image.fromarray(whole.astype(np.uint8))
    image.getexif()[274] = turns.get(path.name, 1)
    upright = np.asarray(ImageOps.exif_transpose(image)).astype(float)
    if picture.samples.shape[2] == 1:
        upright = upright @ np.array([[0.299], [0.587], [0.114]])
    assert picture.samples.shape == upright.shape
    assert np.corrcoef(picture.values.ravel(), upright.ravel())[0, 1] > 0.5
    if "fax" not in path.name:  # that is black and white
        assert np.abs(255 * picture.values - upright).mean() < 8


@pytest.mark.parametrize("path", [seed for seed in SEEDS if seed.suffix == ".tif"], ids=lambda path: path.name)
def test_no_page_is_lost_from_a_tiff_that_is_cut_short(tmp_path, path):
    whole, cut = path.read_bytes(), tmp_path / "cut.tif"
    count = len(list(iter_pages(path)))
    for length in range(8, len(whole), 41):
        cut.write_bytes(whole[:length])
        try:
            assert len(list(iter_pages(cut))) == count
        except ImageError as error:
            sentence(error, cut)


def fuzz(tmp_path, rounds, seed):
    """Damage every seed; give how many can still be read, the others are refused. None may take long or much memory."""
    rng, read = np.random.default_rng(seed), 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(rounds):
        path = SEEDS[number % len(SEEDS)]
        damaged = tmp_path / f"damaged{path.suffix}"
        damaged.write_bytes(mutated(path.read_bytes(), rng))
        start = time.perf_counter()
        try:
            pictures = list(iter_pages(damaged)) if kind(damaged) == "TIFF" else [load(damaged)]
        except ImageError as error:
            sentence(error, damaged)
        else:
            read += 1
            for picture in pictures:
                save(tmp_path / "out.tif", picture)
        assert time.perf_counter() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # KiB
    return read


def test_damaged_files_of_other_programs_are_read_or_refused_in_a_sentence(tmp_path, capfd):
    assert 5 < fuzz(tmp_path, 200, seed=0) < 100
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_very_many_damaged_files_of_other_programs_are_read_or_refused_in_a_sentence(tmp_path, capfd):
    assert 50 < fuzz(tmp_path, 2000, seed=1) < 1000
    assert capfd.readouterr().err == ""
