"""File ↔ picture: what comes out of every kind of file, what is refused, and that nothing is ever harmed."""

import io
import os
import resource
import struct
import time
import tracemalloc
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import png
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo

from dipsop import files
from dipsop.errors import DipsopError, ImageError
from dipsop.pictures.encode_tiff import TiffWriter
from dipsop.pictures.exif import as_stored, turned, upright
from dipsop.pictures.images import Picture, check_writable, load, save, save_values
from dipsop.pictures.picture import quantized
from dipsop.pictures.preview import eight_bits

HEIGHT, WIDTH = 11, 14
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def samples(dtype, channels, seed=0):
    values = np.random.default_rng(seed).random((HEIGHT, WIDTH, channels))
    if np.issubdtype(dtype, np.floating):
        return values.astype(dtype)
    return np.rint(values * np.iinfo(dtype).max).astype(dtype)


def flat(array):
    return array[..., 0] if array.shape[2] == 1 else array


def write_png(path, array, **options):
    """Written by pypng, so that not only Pillow's own files are read."""
    channels = array.shape[2]
    writer = png.Writer(
        WIDTH,
        HEIGHT,
        bitdepth=8 * array.itemsize,
        greyscale=channels < 3,
        alpha=channels in (2, 4),
        **options,
    )
    with path.open("wb") as file:
        writer.write(file, array.reshape(HEIGHT, -1))


def write_tiff(path, array, **options):
    """Written by tifffile."""
    channels = array.shape[2]
    extra = {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
    photometric = "rgb" if channels > 2 else "minisblack"
    if channels > 1:
        extra["planarconfig"] = options.pop("planarconfig", "contig")
    tifffile.imwrite(path, flat(array), photometric=photometric, **extra, **options)


def write_webp(path, array):
    """Written by libwebp without Pillow."""
    path.write_bytes(imagecodecs.webp_encode(array, lossless=True, level=0))


def exif_record(orientation):
    record = Image.Exif()
    record[274] = orientation
    record[271] = "Maker"
    record[315] = "Artist"
    record[0x8769] = {0x9003: "2020:01:02 03:04:05", 0x829A: 0.25}
    return record.tobytes()


def reread(picture, tmp_path, suffix):
    path = tmp_path / f"written{suffix}"
    save(path, picture)
    return load(path)


# ---- every mode in, and what comes out ----

LOSSLESS = [
    ("PNG", write_png, ".png", np.uint8, (1, 2, 3, 4)),
    ("PNG", write_png, ".png", np.uint16, (1, 2, 3, 4)),
    ("TIFF", write_tiff, ".tif", np.uint8, (1, 2, 3, 4)),
    ("TIFF", write_tiff, ".tif", np.uint16, (1, 2, 3, 4)),
    ("TIFF", write_tiff, ".tif", np.float16, (1, 3)),
    ("TIFF", write_tiff, ".tif", np.float32, (1, 2, 3, 4)),
    ("TIFF", write_tiff, ".tif", np.float64, (1, 3)),
    ("WEBP", write_webp, ".webp", np.uint8, (3, 4)),
]
KINDS = [(*kind[:4], channels) for kind in LOSSLESS for channels in kind[4]]


@pytest.mark.parametrize(("format", "write", "suffix", "dtype", "channels"), KINDS)
def test_files_of_other_programs_come_in_and_go_out_bit_identical(tmp_path, format, write, suffix, dtype, channels):
    array = samples(dtype, channels)
    write(tmp_path / "in", array)
    picture = load(tmp_path / "in")
    colours = channels - (channels in (2, 4))
    assert (picture.format, picture.samples.dtype) == (format, dtype)
    assert np.array_equal(picture.samples, array[..., :colours])
    assert (picture.alpha is None) == (colours == channels)
    again = reread(picture, tmp_path, suffix)
    assert again.samples.dtype == dtype
    assert np.array_equal(again.samples_and_alpha, array)


@pytest.mark.parametrize(("format", "write", "suffix", "dtype", "channels"), KINDS)
def test_other_programs_read_what_is_written(tmp_path, format, write, suffix, dtype, channels):
    array = samples(dtype, channels)
    write(tmp_path / "in", array)
    save(tmp_path / f"out{suffix}", load(tmp_path / "in"))
    data = (tmp_path / f"out{suffix}").read_bytes()
    if format == "PNG":
        rows = list(png.Reader(bytes=data).read()[2])
        seen = np.array([np.asarray(row) for row in rows]).reshape(array.shape)
    else:
        seen = tifffile.imread(io.BytesIO(data)) if format == "TIFF" else imagecodecs.webp_decode(data)
    assert np.array_equal(seen.reshape(array.shape), array)


PILLOW_MODES = [
    ("1", ".png", 1), ("1", ".tif", 1), ("1", ".bmp", 1), ("L", ".png", 1), ("L", ".jpg", 1), ("L", ".bmp", 1),
    ("L", ".tif", 1), ("LA", ".png", 1), ("P", ".png", 3), ("P", ".bmp", 3), ("P", ".tif", 3), ("RGB", ".png", 3),
    ("RGB", ".jpg", 3), ("RGB", ".bmp", 3), ("RGB", ".webp", 3), ("RGB", ".tif", 3), ("RGBA", ".png", 3),
    ("RGBA", ".webp", 3), ("RGBA", ".tif", 3), ("L", ".webp", 3),
]  # fmt: skip


@pytest.mark.parametrize(("mode", "suffix", "channels"), PILLOW_MODES)
def test_every_eight_bit_mode_comes_in_as_pillow_shows_it(tmp_path, mode, suffix, channels):
    source = Image.fromarray(samples(np.uint8, 4)).convert("RGB" if mode == "P" else "RGBA")
    path = tmp_path / f"in{suffix}"
    source.convert(mode).save(path)
    picture = load(path)
    alpha = mode in ("LA", "RGBA")
    with Image.open(path) as image:
        shown = image.convert({1: "L", 3: "RGB"}[channels] + "A" * alpha)
    assert picture.samples.shape == (HEIGHT, WIDTH, channels)
    assert np.array_equal(flat(picture.samples_and_alpha), np.asarray(shown))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "group4"])
def test_compressed_tiff_is_read(tmp_path, compression):
    two_levels = compression == "group4"
    source = Image.fromarray(samples(np.uint8, 3)).convert("1" if two_levels else "RGB")
    source.save(tmp_path / "in.tif", compression=compression)
    expected = np.asarray(source.convert("L" if two_levels else "RGB"))
    assert np.array_equal(flat(load(tmp_path / "in.tif").samples), expected)


@pytest.mark.parametrize(
    "options",
    [{"byteorder": ">"}, {"bigtiff": True}, {"planarconfig": "separate"}, {"compression": "lzw", "predictor": True},
     {"tile": (16, 16)}, {"compression": "zstd"}],
)  # fmt: skip
def test_sixteen_bit_tiff_of_every_layout_is_read(tmp_path, options):
    array = samples(np.uint16, 3)
    stored = np.moveaxis(array, 2, 0) if options.get("planarconfig") == "separate" else array
    tifffile.imwrite(tmp_path / "in.tif", stored, **{"photometric": "rgb", "planarconfig": "contig", **options})
    assert np.array_equal(load(tmp_path / "in.tif").samples, array)


def test_tiff_in_which_zero_is_white_comes_in_positive(tmp_path):
    array = samples(np.uint16, 1)
    tifffile.imwrite(tmp_path / "in.tif", array[..., 0], photometric="miniswhite")
    assert np.array_equal(load(tmp_path / "in.tif").samples, 65535 - array)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_interlaced_sixteen_bit_png_is_read_in_silence(tmp_path, channels, capfd):
    array = samples(np.uint16, channels)
    write_png(tmp_path / "in.png", array, interlace=True)
    assert np.array_equal(load(tmp_path / "in.png").samples_and_alpha, array)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_key_colour_of_a_png_becomes_alpha(tmp_path, dtype, channels):
    array = samples(dtype, channels)
    key = array[2, 3]
    write_png(tmp_path / "in.png", array, transparent=int(key[0]) if channels == 1 else tuple(int(v) for v in key))
    picture = load(tmp_path / "in.png")
    assert np.array_equal(picture.samples, array)
    assert np.array_equal(picture.alpha == 0, (array == key).all(axis=2))
    assert picture.alpha.max() == np.iinfo(dtype).max


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_key_level_of_a_grey_png_of_few_bits_becomes_alpha(tmp_path, bits):
    most = (1 << bits) - 1
    levels = np.arange(64).reshape(8, 8) % (most + 1)
    with (tmp_path / "in.png").open("wb") as file:
        png.Writer(8, 8, greyscale=True, bitdepth=bits, transparent=most).write(file, levels.tolist())
    picture = load(tmp_path / "in.png")
    assert np.array_equal(picture.samples[..., 0], levels * (255 // most))
    assert np.array_equal(picture.alpha == 0, levels == most)


def test_a_colour_profile_of_megabytes_comes_in_and_goes_out(tmp_path):
    profile = PROFILE + bytes(np.random.default_rng(0).integers(0, 256, 3 << 20, np.uint8))
    save(tmp_path / "out.png", replace(Picture.from_array(samples(np.uint8, 3)), icc_profile=profile))
    assert load(tmp_path / "out.png").icc_profile == profile


def test_jpeg_is_written_at_quality_95_without_chroma_subsampling(tmp_path):
    save(tmp_path / "out.jpg", Picture.from_array(samples(np.uint8, 3)))
    reference = io.BytesIO()
    Image.fromarray(samples(np.uint8, 3)).save(reference, "JPEG", quality=95, subsampling=0)
    with Image.open(tmp_path / "out.jpg") as ours, Image.open(reference) as theirs:
        assert ours.quantization == theirs.quantization
        assert [layer[1:3] for layer in ours.layer] == [(1, 1)] * 3


def test_multi_picture_jpeg_of_a_telephone_gives_its_photograph(tmp_path):
    first, second = (Image.fromarray(samples(np.uint8, 3, seed)) for seed in (0, 1))
    first.save(tmp_path / "in.jpg", "MPO", save_all=True, append_images=[second])
    first.save(tmp_path / "only.jpg")
    assert np.array_equal(load(tmp_path / "in.jpg").samples, load(tmp_path / "only.jpg").samples)


def test_content_decides_the_format_not_the_suffix(tmp_path):
    write_png(tmp_path / "in.jpg", samples(np.uint8, 3))
    assert load(tmp_path / "in.jpg").format == "PNG"


# ---- what is carried along ----


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_orientation_is_applied_and_reset(tmp_path, orientation, suffix):
    path = tmp_path / f"in{suffix}"
    Image.fromarray(samples(np.uint8, 3)).save(path, exif=exif_record(orientation), dpi=(100, 200))
    with Image.open(path) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    picture = load(path)
    assert np.array_equal(picture.samples, upright)
    if suffix != ".webp":
        assert picture.dpi == pytest.approx((100, 200) if orientation < 5 else (200, 100), abs=0.02)
    for suffix_out in (".jpg", ".png", ".webp", ".tif"):
        again = tmp_path / f"out{suffix_out}"
        save(again, picture)
        with Image.open(again) as image:
            assert image.getexif().get(274, 1) == 1
            assert image.size == upright.shape[1::-1]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_to_deep_files_with_their_alpha(tmp_path, orientation):
    array = samples(np.uint16, 4)
    write_tiff(tmp_path / "in.tif", array, extratags=[(274, 3, 1, orientation, True)])
    turned = ImageOps.exif_transpose(with_orientation(array[..., 0] >> 8, orientation))
    assert np.array_equal(load(tmp_path / "in.tif").samples[..., 0] >> 8, np.asarray(turned))
    turned = ImageOps.exif_transpose(with_orientation(array[..., 3] >> 8, orientation))
    assert np.array_equal(load(tmp_path / "in.tif").alpha >> 8, np.asarray(turned))


def with_orientation(array, orientation):
    image = Image.fromarray(array.astype(np.uint8))
    image.getexif()[274] = orientation
    return image


@pytest.mark.parametrize("source", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("target", [".jpg", ".png", ".webp", ".tif"])
def test_profile_exif_and_resolution_are_kept(tmp_path, source, target):
    path = tmp_path / f"in{source}"
    Image.fromarray(samples(np.uint8, 3)).save(path, exif=exif_record(6), icc_profile=PROFILE, dpi=(150, 300))
    save(tmp_path / f"out{target}", load(path))
    with Image.open(tmp_path / f"out{target}") as image:
        record = image.getexif()
        assert image.info["icc_profile"] == PROFILE
        assert (record[271], record[315]) == ("Maker", "Artist")
        assert record.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
        assert float(record.get_ifd(0x8769)[0x829A]) == 0.25
        if ".webp" not in (source, target):
            assert tuple(map(float, image.info["dpi"])) == pytest.approx((300, 150), abs=0.02)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_profile_exif_and_resolution_are_kept_at_every_depth(tmp_path, suffix, dtype):
    picture = Picture(samples=samples(dtype, 3), icc_profile=PROFILE, exif=exif_record(1)[6:], dpi=(300, 150))
    again = reread(picture, tmp_path, suffix)
    assert again.icc_profile == PROFILE
    assert again.dpi == pytest.approx((300, 150), abs=0.02)
    record = Image.Exif()
    record.load(again.exif)
    assert record[271] == "Maker"
    assert record.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"


def test_exif_of_a_jpeg_is_kept_byte_for_byte_but_for_the_orientation(tmp_path):
    before = exif_record(6)
    Image.fromarray(samples(np.uint8, 3)).save(tmp_path / "in.jpg", exif=before + b"a thumbnail")
    save(tmp_path / "out.jpg", load(tmp_path / "in.jpg"))
    with Image.open(tmp_path / "out.jpg") as image:
        after = image.info["exif"]
    assert len(after) == len(before) + 11
    assert [(a, b) for a, b in zip(before, after, strict=False) if a != b] == [(6, 1)]


@pytest.mark.parametrize("text", ["© Müller".encode(), "© Müller".encode("latin-1"), "写真".encode()])
@pytest.mark.parametrize(("source", "target"), [(".tif", ".tif"), (".tif", ".png"), (".jpg", ".tif")])
def test_texts_of_exif_that_are_not_ascii_keep_their_bytes_and_stay_texts(tmp_path, source, target, text):
    place = b"_" * len(text)
    record = Image.Exif()
    record[315] = place.decode()
    record[0x8769] = {0xA434: place.decode()}  # a lens, of which Pillow does not know the type
    Image.new("RGB", (9, 7)).save(tmp_path / f"in{source}", exif=record.tobytes())
    data = (tmp_path / f"in{source}").read_bytes()
    assert data.count(place) == 2
    (tmp_path / f"in{source}").write_bytes(data.replace(place, text))
    save(tmp_path / f"out{target}", load(tmp_path / f"in{source}"))
    with Image.open(tmp_path / f"out{target}") as image:
        exif = image.getexif()
        read = [exif[315], exif.get_ifd(0x8769)[0xA434]]  # str where it is text, and by Latin-1
    assert read == 2 * [text.decode("latin-1")]


@pytest.mark.parametrize("big", [False, True])
def test_the_interoperability_record_goes_along_into_a_tiff_and_out_of_it(tmp_path, big):
    record = Image.Exif()
    record[0x8769] = {0x829A: 0.25, 0xA005: {1: "R03", 2: b"0100"}}  # Adobe RGB
    with (tmp_path / "in.tif").open("wb") as file:
        TiffWriter(file, big=big).add(Picture(samples=samples(np.uint8, 3), exif=record.tobytes()))
    save(tmp_path / "out.jpg", load(tmp_path / "in.tif"))
    with Image.open(tmp_path / "out.jpg") as image:
        assert image.getexif().get_ifd(0xA005) == {1: "R03", 2: b"0100"}


def test_a_pointer_to_an_interoperability_record_that_is_missing_is_left_out(tmp_path):
    record = Image.Exif()
    record[0x8769] = {0x829A: 0.25, 0xA005: 400}
    save(tmp_path / "out.tif", Picture(samples=samples(np.uint8, 3), exif=record.tobytes()))
    with Image.open(tmp_path / "out.tif") as image:
        assert image.getexif().get_ifd(0x8769) == {0x829A: 0.25}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_the_thumbnail_that_shows_the_picture_as_it_was_is_unlinked(tmp_path, order, orientation):
    def record(orientation, second):
        header = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)
        first = struct.pack(order + "HHHIHHI", 1, 274, 3, 1, orientation, 0, second)
        return header + first + struct.pack(order + "HHHIII", 1, 0x201, 4, 1, 44, 0) + b"\xff\xd8\xff\xd9"

    Image.new("RGB", (9, 7)).save(tmp_path / "in.jpg", exif=b"Exif\0\0" + record(orientation, 26))
    with Image.open(tmp_path / "in.jpg") as image:
        assert image.getexif().get_ifd(ExifTags.IFD.IFD1) == {0x201: 44}
    save(tmp_path / "out.jpg", load(tmp_path / "in.jpg"))
    with Image.open(tmp_path / "out.jpg") as image:
        assert image.info["exif"] == b"Exif\0\0" + record(1, 0)


def test_what_lies_where_a_record_says_nothing_of_a_thumbnail_stays():
    record = b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 271, 2, 6, 22) + b"Maker\0"  # no place of a second one
    assert upright(record) == (record, 1)


def test_broken_exif_does_not_lose_the_picture(tmp_path):
    broken = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\xff\xff\xff\xff\xff\xff"
    Image.fromarray(samples(np.uint8, 3)).save(tmp_path / "in.png", exif=broken)
    picture = load(tmp_path / "in.png")
    assert np.array_equal(picture.samples, samples(np.uint8, 3))
    for suffix in (".png", ".jpg", ".webp", ".tif"):
        save(tmp_path / f"out{suffix}", picture)


# ---- values ----


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
def test_values_are_float32_in_unit_range_and_quantize_back(dtype):
    picture = Picture.from_array(samples(dtype, 3))
    assert picture.values.dtype == np.float32
    assert picture.values.min() >= 0
    assert picture.values.max() <= 1
    everywhere = np.ones(picture.samples.shape, bool)
    back = picture.replaced(picture.values, everywhere).samples
    assert np.array_equal(back, picture.samples.astype(np.float32) if dtype == np.float64 else picture.samples)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_values_that_are_not_replaced_stay_bit_identical(dtype):
    picture = Picture.from_array(samples(dtype, 3))
    where = np.random.default_rng(1).random(picture.samples.shape) < 0.3
    new = picture.replaced(np.random.default_rng(2).normal(0.5, 1, where.shape), where)
    assert np.array_equal(new.samples[~where], picture.samples[~where])
    assert (new.samples[where] != picture.samples[where]).mean() > 0.9
    assert np.array_equal(picture.samples, samples(dtype, 3))


def test_replaced_values_are_clipped_and_rounded():
    picture = Picture.from_array(np.zeros((1, 5), np.uint8))
    values = np.array([-1, 2, 0.5, 0.4999 / 255, 0.5001 / 255]).reshape(1, 5, 1)
    assert picture.replaced(values, np.ones((1, 5, 1), bool)).samples.ravel().tolist() == [0, 255, 128, 0, 1]


def test_replaced_refuses_wrong_shapes_and_nan():
    picture = Picture.from_array(np.zeros((2, 3), np.uint8))
    with pytest.raises(ValueError, match=r"shape \(2, 3, 1\), got \(2, 3\)"):
        picture.replaced(np.zeros((2, 3)), np.ones((2, 3, 1), bool))
    with pytest.raises(ValueError, match="finite"):
        picture.replaced(np.full((2, 3, 1), np.nan), np.ones((2, 3, 1), bool))


@pytest.mark.parametrize(
    ("array", "said"),
    [(np.zeros((2, 3, 4), np.uint8), "shape"), (np.zeros(5, np.uint8), "shape"), (np.zeros((0, 3), np.uint8), "shape"),
     (np.zeros((2, 3), np.int64), "int64"), (np.zeros((2, 3), bool), "bool"), (np.full((2, 3), 2.0), r"2\.0"),
     (np.full((2, 3), np.nan), "nan")],
)  # fmt: skip
def test_arrays_of_other_kinds_are_refused_with_what_came(array, said):
    with pytest.raises(ValueError, match=said):
        Picture.from_array(array)


def test_picture_of_an_array_does_not_change_with_it():
    array = np.zeros((2, 3), np.uint8)
    picture = Picture.from_array(array)
    array[:] = 9
    assert picture.samples.max() == 0


def test_a_deep_picture_is_shown_at_eight_bits_without_a_second_one_in_floats():
    deep = np.random.default_rng(0).integers(0, 65536, (400, 500, 3)).astype(np.uint16)
    tracemalloc.start()
    shown = eight_bits(deep)
    map_of_it = quantized(deep > 9, np.dtype(np.uint8))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(shown, np.rint(deep / 257))
    assert map_of_it.max() == 255
    assert peak < 5 * deep.size


def test_maps_are_written_as_eight_bit(tmp_path):
    save_values(tmp_path / "map.png", np.eye(5, dtype=bool))
    assert np.array_equal(load(tmp_path / "map.png").samples[..., 0], 255 * np.eye(5))
    save_values(tmp_path / "map.png", np.full((2, 3, 3), 0.5))
    assert (load(tmp_path / "map.png").samples == 128).all()
    with pytest.raises(ValueError, match="nan"):
        save_values(tmp_path / "map.png", np.full((2, 3), np.nan))


# ---- bad input ----


def refused(path):
    """Read what cannot be read; give the sentence."""
    with pytest.raises(ImageError) as raised:
        load(path)
    return sentence(raised.value, path)


def sentence(error, path):
    said = str(error)
    assert files.shown(path) in said
    assert "\n" not in said
    assert said.endswith(".")
    assert ": " in said.removeprefix(files.shown(path))  # a remedy follows
    return said


def png_claiming(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def test_missing_file_is_named(tmp_path):
    assert "does not exist" in refused(tmp_path / "missing.png")
    (tmp_path / "file").write_bytes(b"x")
    assert "does not exist" in refused(tmp_path / "file" / "in.png")


def test_odd_names_stay_one_line(tmp_path):
    assert "does not exist" in refused(tmp_path / "two\nlines\udcff.png")
    assert "cannot be opened" in refused(tmp_path / "null\0byte.png")
    assert "cannot be opened" in refused(tmp_path / ("x" * 300 + ".png"))


def test_empty_file_folder_and_device_are_refused(tmp_path):
    (tmp_path / "empty.png").touch()
    assert "is empty" in refused(tmp_path / "empty.png")
    assert "is a folder" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    assert "regular file" in refused(tmp_path / "pipe.png")


def test_file_without_permission_is_refused(tmp_path, monkeypatch):
    (tmp_path / "in.png").write_bytes(b"x")
    monkeypatch.setattr(Path, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    assert "permission denied" in refused(tmp_path / "in.png")


@pytest.mark.parametrize(
    "content", [b"hello", b"%PDF-1.7\n" * 50, b"RIFF\0\0\0\0WAVEfmt ", b"\0\0\0\x18ftypisom" + bytes(99)]
)
def test_what_is_no_picture_is_refused(tmp_path, content):
    (tmp_path / "in.png").write_bytes(content)
    assert "not a picture" in refused(tmp_path / "in.png")


@pytest.mark.parametrize("size", [(100_000, 100_000), (10_001, 10_000), (12_000, 12_000)])
def test_absurd_dimensions_are_refused_from_the_header(tmp_path, size):
    (tmp_path / "in.png").write_bytes(png_claiming(*size))
    assert "100 megapixels" in refused(tmp_path / "in.png")


def test_absurd_dimensions_of_a_tiff_are_refused_from_the_header(tmp_path):
    directory = struct.pack("<HHHII", 2, 256, 4, 1, 50_000) + struct.pack("<HHIII", 257, 4, 1, 50_000, 0)
    (tmp_path / "in.tif").write_bytes(b"II*\0\x08\0\0\0" + directory)
    assert "50000×50000" in refused(tmp_path / "in.tif")


def test_a_deep_png_too_wide_for_libpng_is_not_called_damaged(tmp_path):
    Image.fromarray(np.zeros((1, 1_000_001), np.uint16)).save(tmp_path / "in.png")
    assert "a side of more than 1000000 pixels" in refused(tmp_path / "in.png")
    Image.fromarray(np.zeros((1, 1_000_000), np.uint16)).save(tmp_path / "in.png")
    assert load(tmp_path / "in.png").samples.shape == (1, 1_000_000, 1)


def test_a_sound_file_that_memory_is_too_little_for_is_not_called_damaged(tmp_path, monkeypatch):
    def short(*_, **__):
        raise MemoryError

    write_tiff(tmp_path / "in.tif", samples(np.uint16, 3))
    monkeypatch.setattr(tifffile.TiffPage, "asarray", short)
    assert "in.tif takes more memory than there is, unless it is damaged: " in refused(tmp_path / "in.tif")


def test_nan_and_infinity_in_a_float_tiff_are_refused(tmp_path):
    for value in (np.nan, np.inf):
        array = samples(np.float32, 3)
        array[3, 4, 1] = value
        write_tiff(tmp_path / "in.tif", array)
        assert "NaN or infinite" in refused(tmp_path / "in.tif")


def test_floats_outside_the_unit_range_are_refused(tmp_path):
    write_tiff(tmp_path / "in.tif", 255 * samples(np.float32, 1))
    assert "scale them to [0, 1]" in refused(tmp_path / "in.tif")


def test_lab_and_deep_cmyk_are_refused(tmp_path):
    Image.fromarray(samples(np.uint8, 3)).convert("LAB").save(tmp_path / "lab.tif")
    assert "LAB colours" in refused(tmp_path / "lab.tif")
    tifffile.imwrite(tmp_path / "cmyk.tif", samples(np.uint16, 4), photometric="separated")
    assert "SEPARATED colours" in refused(tmp_path / "cmyk.tif")


@pytest.mark.parametrize("dtype", [np.uint32, np.int16, np.int32])
def test_integers_of_other_depths_are_refused(tmp_path, dtype):
    write_tiff(tmp_path / "in.tif", samples(np.uint8, 1).astype(dtype))
    assert "not taken" in refused(tmp_path / "in.tif")


@pytest.mark.parametrize(
    ("suffix", "what"),
    [(".tif", "several pages"), (".png", "animated PNG"), (".webp", "animated WebP"), (".gif", "a GIF"),
     (".avif", "sequence of pictures")],
)  # fmt: skip
def test_several_pages_and_films_are_refused_as_one_picture(tmp_path, suffix, what):
    pages = [Image.fromarray(samples(np.uint8, 3, seed)) for seed in (0, 1)]
    pages[0].save(tmp_path / f"in{suffix}", save_all=True, append_images=pages[1:], lossless=True)
    said = refused(tmp_path / f"in{suffix}")
    assert what in said
    assert ("save its frames as PNG files" in said) == (suffix != ".tif")


SMALL = {
    "8.png": lambda path: write_png(path, samples(np.uint8, 4)),
    "16.png": lambda path: write_png(path, samples(np.uint16, 3)),
    "p.png": lambda path: Image.fromarray(samples(np.uint8, 3)).convert("P").save(path),
    "exif.jpg": lambda path: Image.fromarray(samples(np.uint8, 3)).save(path, exif=exif_record(6), icc_profile=PROFILE),
    "exif.tif": lambda path: Image.fromarray(samples(np.uint8, 3)).save(path, exif=exif_record(6), icc_profile=PROFILE),
    "lzw.tif": lambda path: Image.fromarray(samples(np.uint8, 3)).save(path, compression="tiff_lzw"),
    "16.tif": lambda path: write_tiff(path, samples(np.uint16, 3), compression="zlib"),
    "32.tif": lambda path: write_tiff(path, samples(np.float32, 3)),
    "l.webp": lambda path: write_webp(path, samples(np.uint8, 4)),
    "y.webp": lambda path: Image.fromarray(samples(np.uint8, 3)).save(path, exif=exif_record(6)),
    "8.bmp": lambda path: Image.fromarray(samples(np.uint8, 3)).save(path),
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_every_truncated_file_is_refused(tmp_path, name):
    SMALL[name](tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for share in (0.2, 0.5, 0.8):
        (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
        assert "damaged or cut short" in refused(tmp_path / name)


@pytest.mark.parametrize(
    "options", [{"rowsperstrip": 2}, {"rowsperstrip": 2, "compression": "zlib"}, {"tile": (16, 16)}]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_missing_strips_and_tiles_of_a_tiff_are_refused_not_filled_with_black(tmp_path, options, dtype):
    write_tiff(tmp_path / "in.tif", samples(dtype, 3), **options)
    with tifffile.TiffFile(tmp_path / "in.tif", mode="r+") as tiff:
        tiff.pages[0].tags[257].overwrite(200)
    assert "damaged or cut short" in refused(tmp_path / "in.tif")


def test_deflate_bomb_is_refused(tmp_path):
    bomb = zlib.compress(bytes(50_000_000), 9)
    options = {"dtype": "u2", "photometric": "rgb", "compression": "zlib", "rowsperstrip": 64}
    tifffile.imwrite(tmp_path / "in.tif", iter([bomb]), shape=(64, 64, 3), **options)
    assert "damaged or cut short" in refused(tmp_path / "in.tif")


def mutated(data, rng):
    """Cut, flip, overwrite, insert or leave out some bytes."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        at, kind = int(rng.integers(0, len(data))), rng.integers(0, 5)
        if kind == 0 and rng.random() < 0.3:
            data = data[: at + 1]
        elif kind == 1:
            data[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 2:
            data[at : at + 4] = rng.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\x80"])
        elif kind == 3:
            data[at:at] = rng.bytes(int(rng.integers(1, 9)))
        elif len(data) > 40:
            del data[at : at + int(rng.integers(1, 9))]
    return bytes(data)


def fuzz(tmp_path, rounds, seed):
    """Give the number of mutated files that were refused; anything but ImageError comes out as it is.

    None may take long, or much memory.
    """
    rng, refusals = np.random.default_rng(seed), 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, write in SMALL.items():
        write(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        for _ in range(rounds):
            (tmp_path / name).write_bytes(mutated(whole, rng))
            start = time.perf_counter()
            try:
                picture = load(tmp_path / name)
            except ImageError as error:
                sentence(error, tmp_path / name)
                refusals += 1
            else:
                save(tmp_path / "out.tif", picture)
                if picture.samples.dtype in (np.uint8, np.uint16):
                    save(tmp_path / "out.png", picture)
            assert time.perf_counter() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # KiB
    return refusals


def test_mutated_files_are_read_or_refused_in_a_sentence(tmp_path, capfd):
    assert 50 < fuzz(tmp_path, 20, seed=0) < 220
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_very_many_mutated_files_are_read_or_refused_in_a_sentence(tmp_path):
    assert fuzz(tmp_path, 250, seed=1) > 1000


def test_opinions_of_the_libraries_do_not_leak(tmp_path, capfd):
    Image.fromarray(samples(np.uint8, 3)).save(tmp_path / "in.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\0" + bytes(40))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load(tmp_path / "in.jpg")
    assert not caught
    assert capfd.readouterr().err == ""


# ---- writing ----


def unwritable(path, picture=None):
    """Check a place where nothing can be written; give the sentence."""
    with pytest.raises(DipsopError) as raised:
        check_writable(path, picture)
    with pytest.raises(DipsopError, match=r".") as saved:
        save(path, picture or Picture.from_array(np.zeros((2, 3), np.uint8)))
    assert str(saved.value) == str(raised.value)
    return sentence(raised.value, path)


@pytest.mark.parametrize("name", ["out", "out.gif", "out.png.txt", ".png"])
def test_unknown_suffix_is_refused(tmp_path, name):
    assert ".png, .tif" in unwritable(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("dtype", "channels", "suffix", "better"),
    [
        (np.uint16, 3, ".jpg", ".png or .tif"),
        (np.uint16, 1, ".webp", ".png or .tif"),
        (np.uint16, 3, ".bmp", ".png or .tif"),
        (np.uint8, 4, ".jpg", ".png or .tif"),
        (np.uint8, 2, ".bmp", ".png or .tif"),
        (np.float32, 3, ".png", ".tif or .tiff"),
    ],
)
def test_format_that_cannot_hold_the_picture_names_one_that_can(tmp_path, dtype, channels, suffix, better):
    write_tiff(tmp_path / "in.tif", samples(dtype, channels))
    assert f"use {better}." in unwritable(tmp_path / f"out{suffix}", load(tmp_path / "in.tif"))
    assert os.listdir(tmp_path) == ["in.tif"]


def test_too_wide_for_its_format_is_refused_before_writing(tmp_path):
    wide = Picture.from_array(np.zeros((1, 1_000_001), np.uint8))
    assert "1000000 pixels: use .tif" in unwritable(tmp_path / "out.png", wide)
    assert "16383" in unwritable(tmp_path / "out.webp", Picture.from_array(np.zeros((1, 16384), np.uint8)))
    assert "65500" in unwritable(tmp_path / "out.jpg", Picture.from_array(np.zeros((1, 65501), np.uint8)))


def test_output_folder_that_is_not_there_is_named(tmp_path):
    assert f"create {tmp_path / 'new'}" in unwritable(tmp_path / "new" / "out.png")
    assert not (tmp_path / "new").exists()


def test_output_that_is_a_folder_or_a_pipe_is_refused(tmp_path):
    (tmp_path / "out.png").mkdir()
    assert "is a folder" in unwritable(tmp_path / "out.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert "regular file" in unwritable(tmp_path / "pipe.png")


def test_output_without_permission_is_refused(tmp_path, monkeypatch):
    (tmp_path / "old.png").write_bytes(b"old")
    monkeypatch.setattr(files.os, "access", lambda *_: False)
    assert "write-protected" in unwritable(tmp_path / "old.png")
    assert "no permission" in unwritable(tmp_path / "out.png")
    assert (tmp_path / "old.png").read_bytes() == b"old"


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_failing_save_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch, step, error):
    (tmp_path / "out.png").write_bytes(b"old")

    def fail(*_):
        raise error

    monkeypatch.setattr(files.os, step, fail)
    with pytest.raises((DipsopError, KeyboardInterrupt)) as raised:
        save(tmp_path / "out.png", Picture.from_array(np.zeros((2, 3), np.uint8)))
    if isinstance(error, OSError):
        assert "no space left on device" in sentence(raised.value, tmp_path / "out.png")
    assert os.listdir(tmp_path) == ["out.png"]
    assert (tmp_path / "out.png").read_bytes() == b"old"


def test_replaced_file_keeps_its_permissions_and_a_new_one_has_the_usual_ones(tmp_path):
    (tmp_path / "old.png").write_bytes(b"old")
    (tmp_path / "old.png").chmod(0o640)
    (tmp_path / "usual").touch()
    for name in ("old.png", "new.png"):
        save(tmp_path / name, Picture.from_array(np.zeros((2, 3), np.uint8)))
    assert (tmp_path / "old.png").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "new.png").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_link_stays_a_link_to_the_new_content(tmp_path):
    (tmp_path / "there.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to(tmp_path / "there.png")
    save(tmp_path / "link.png", Picture.from_array(np.full((2, 3), 7, np.uint8)))
    assert (tmp_path / "link.png").is_symlink()
    assert load(tmp_path / "there.png").samples.max() == 7


def test_transparency_that_is_none_goes_where_the_format_has_no_place_for_it(tmp_path):
    colours = samples(np.uint8, 3)
    alpha = np.full(colours.shape[:2], 255, np.uint8)
    save(tmp_path / "a.bmp", Picture(samples=colours, alpha=alpha))
    again = load(tmp_path / "a.bmp")
    assert again.alpha is None
    assert np.array_equal(again.samples, colours)
    alpha[2, 3] = 254
    with pytest.raises(ImageError, match=r"cannot hold transparency: use \.png or \.tif\.$"):
        save(tmp_path / "b.bmp", Picture(samples=colours, alpha=alpha))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Screenshot 9.41\u202fAM.png", None),
        ("\u30b9\u30ad\u30e3\u30f3\u30001.png", None),
        ("two\nlines \u30b9.png", "'two\\nlines \u30b9.png'"),
        ("no\udcfftext.png", "'no\\udcfftext.png'"),
    ],
)
def test_a_name_is_said_as_it_is_but_for_what_breaks_the_line_or_is_no_text(name, said):
    assert files.shown(Path(name)) == (said or name)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_orientation_in_xmp_alone_turns_nothing(tmp_path, suffix, dtype):
    if dtype == np.uint16 and suffix != ".tif":
        pytest.skip("written by Pillow")
    colours = samples(dtype, 3)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    if suffix == ".tif":
        tags = [(700, 1, len(xmp), xmp, True)]
        tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb", extratags=tags)
    elif suffix == ".png":
        chunk = PngInfo()
        chunk.add_itxt("XML:com.adobe.xmp", xmp.decode())
        Image.fromarray(colours).save(tmp_path / "a.png", pnginfo=chunk)
    else:
        Image.fromarray(colours).save(tmp_path / f"a{suffix}", xmp=xmp)
    assert load(tmp_path / f"a{suffix}").samples.shape == colours.shape


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_where_a_map_lies_is_kept(tmp_path, dtype):
    tags = [
        (33550, 12, 3, (0.5, 0.5, 0.0), True),
        (33922, 12, 6, (0.0, 0.0, 0.0, 440720.0, 3751320.0, 0.0), True),
        (34735, 3, 8, (1, 1, 0, 1, 1024, 0, 1, 1), True),
        (34736, 12, 2, (6378137.0, 298.25), True),
        (34737, 2, 0, "WGS 84|", True),
        (42113, 2, 0, "-9999", True),
    ]
    tifffile.imwrite(tmp_path / "map.tif", samples(dtype, 1)[..., 0], extratags=tags)
    save(tmp_path / "out.tif", load(tmp_path / "map.tif"))
    with tifffile.TiffFile(tmp_path / "map.tif") as before, tifffile.TiffFile(tmp_path / "out.tif") as after:
        assert after.geotiff_metadata == before.geotiff_metadata is not None
        for tag, kind, *_ in tags:
            assert (after.pages[0].tags[tag].dtype, after.pages[0].tags[tag].value) == (
                before.pages[0].tags[tag].dtype,
                before.pages[0].tags[tag].value,
            )
            assert after.pages[0].tags[tag].dtype == kind


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_was_turned_upright_can_be_turned_back(orientation):
    stored = samples(np.uint8, 3)
    assert np.array_equal(as_stored(turned(stored, orientation), orientation), stored)


@pytest.mark.parametrize(
    ("dtype", "largest", "white"),
    [(np.uint16, 0, 255), (np.uint16, 255, 255), (np.uint16, 256, 511), (np.uint16, 4000, 4095),
     (np.uint16, 32767, 32767), (np.uint16, 32768, 65535), (np.uint8, 3, 255), (np.float32, 0, 1),
     (np.float32, 1e-9, 1 / 256), (np.float16, 0.1, 0.125), (np.float64, 0.125, 0.125), (np.float32, 0.6, 1),
     (np.float32, 1, 1)],
)  # fmt: skip
def test_white_is_that_of_the_bits_that_samples_of_sixteen_use(dtype, largest, white):
    picture = Picture(samples=np.array([[[0, largest, largest / 2]]]).astype(dtype))
    assert picture.white == white
    assert picture.values.max() == pytest.approx(
        largest / white, rel=1e-3
    )  # a float of 16 bits is not what it was set to
    back = picture.replaced(picture.values, np.ones(picture.samples.shape, bool))
    assert np.array_equal(back.samples, picture.samples)
