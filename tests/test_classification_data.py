"""Labelled data in every form, label noise, and what is refused."""

import errno
import hashlib
import http.server
import io
import os
import pickle
import tarfile
import threading
import zipfile
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from dipsop.classification import cifar, download, image_folder, label_noise, sources
from dipsop.errors import DataError

LABELS = np.arange(40) % 10


def exhausted(generator):
    """What a generator yields, and what it returns."""
    seen = []
    while True:
        try:
            seen.append(next(generator))
        except StopIteration as end:
            return seen, end.value


def write_cifar10(root, binary=False):
    """Forty images, eight to a file, and eight for testing, in the official layout."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (48, 3072)).astype(np.uint8)
    labels = np.append(LABELS, np.arange(8))
    where = root / ("cifar-10-batches-bin" if binary else "cifar-10-batches-py")
    where.mkdir(parents=True)
    names = [f"class{k}" for k in range(10)]
    parts = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]
    for k, name in enumerate(parts):
        rows = slice(8 * k, 8 * k + 8)
        if binary:
            (where / f"{name}.bin").write_bytes(
                np.column_stack([labels[rows].astype(np.uint8), pixels[rows]]).tobytes()
            )
        else:
            content = {b"data": pixels[rows], b"labels": labels[rows].tolist(), b"batch_label": b"x"}
            (where / name).write_bytes(pickle.dumps(content, protocol=2))
    if binary:
        (where / "batches.meta.txt").write_text("\n".join(names) + "\n\n")
    else:
        (where / "batches.meta").write_bytes(pickle.dumps({b"label_names": [n.encode() for n in names]}, protocol=2))
    return where, pixels


def write_cifar100(root, binary=False):
    pixels = np.random.default_rng(1).integers(0, 256, (12, 3072)).astype(np.uint8)
    fine, coarse = np.arange(12) * 8, np.arange(12)
    where = root / ("cifar-100-binary" if binary else "cifar-100-python")
    where.mkdir(parents=True)
    names = [f"fine{k}" for k in range(100)]
    for name, rows in (("train", slice(0, 8)), ("test", slice(8, 12))):
        if binary:
            columns = [coarse[rows].astype(np.uint8), fine[rows].astype(np.uint8), pixels[rows]]
            (where / f"{name}.bin").write_bytes(np.column_stack(columns).tobytes())
        else:
            content = {
                b"data": pixels[rows],
                b"fine_labels": fine[rows].tolist(),
                b"coarse_labels": coarse[rows].tolist(),
            }
            (where / name).write_bytes(pickle.dumps(content, protocol=2))
    if binary:
        (where / "fine_label_names.txt").write_text("\n".join(names) + "\n")
    else:
        (where / "meta").write_bytes(pickle.dumps({b"fine_label_names": [n.encode() for n in names]}, protocol=2))
    return where, fine


@pytest.mark.parametrize("binary", [False, True])
def test_cifar10_is_read_in_both_layouts(tmp_path, binary):
    where, pixels = write_cifar10(tmp_path, binary)
    assert cifar.find(tmp_path, cifar.CIFAR10) == where == cifar.find(where, cifar.CIFAR10)
    data = cifar.load(where, cifar.CIFAR10)
    assert (data.images == pixels[:40].reshape(-1, 3, 32, 32)).all()
    assert (data.test_images == pixels[40:].reshape(-1, 3, 32, 32)).all()
    assert (data.given == LABELS).all()
    assert (data.true == LABELS).all()
    assert data.classes[3] == "class3"


@pytest.mark.parametrize("binary", [False, True])
def test_cifar100_is_read_by_its_fine_labels(tmp_path, binary):
    where, fine = write_cifar100(tmp_path, binary)
    data = cifar.load(cifar.find(tmp_path, cifar.CIFAR100), cifar.CIFAR100)
    assert cifar.find(tmp_path, cifar.CIFAR10) is None
    assert where.is_dir()
    assert (data.given == fine[:8]).all()
    assert (data.test_labels == fine[8:]).all()
    assert len(data.classes) == 100


def test_pickles_that_python_2_wrote_are_read(tmp_path):
    """As the official files: text of Python 2, arrays by the old name of numpy's module."""
    where, _ = write_cifar10(tmp_path)
    content = (where / "data_batch_1").read_bytes()
    old = content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    assert old != content
    (where / "data_batch_1").write_bytes(old)
    assert len(cifar.load(where, cifar.CIFAR10).images) == 40


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickle_that_would_run_code_is_refused_and_nothing_runs(tmp_path):
    where, _ = write_cifar10(tmp_path)
    (where / "data_batch_2").write_bytes(pickle.dumps({b"data": Evil(tmp_path / "ran")}, protocol=2))
    with pytest.raises(DataError, match=r"data_batch_2 asks to run '.*open'"):
        cifar.load(where, cifar.CIFAR10)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "no CIFAR file"),
        (b"\x80\x02garbage", "no CIFAR file"),
        (pickle.dumps([1, 2], protocol=2), "no CIFAR file"),
        (pickle.dumps({b"data": np.zeros((2, 5), np.uint8), b"labels": [0, 1]}, protocol=2), "no file of CIFAR-10"),
        (pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]}, protocol=2), "no file of CIFAR-10"),
        (pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 10]}, protocol=2), "outside 0 to 9"),
        (pickle.dumps({b"labels": [0, 1]}, protocol=2), "no file of CIFAR-10"),
    ],
)
def test_a_damaged_cifar_file_is_named(tmp_path, content, complaint):
    where, _ = write_cifar10(tmp_path)
    (where / "test_batch").write_bytes(content)
    with pytest.raises(DataError, match=rf"test_batch.*{complaint}"):
        cifar.load(where, cifar.CIFAR10)


def test_a_missing_or_cut_cifar_file_is_named(tmp_path):
    where, _ = write_cifar10(tmp_path, binary=True)
    whole = (where / "data_batch_3.bin").read_bytes()
    (where / "data_batch_3.bin").write_bytes(whole[:-1])
    with pytest.raises(DataError, match=r"data_batch_3.bin is no file of CIFAR-10"):
        cifar.load(where, cifar.CIFAR10)
    (where / "data_batch_3.bin").unlink()
    with pytest.raises(DataError, match=r"data_batch_3.bin cannot be read"):
        cifar.load(where, cifar.CIFAR10)


def test_data_that_is_fetched_comes_after_its_progress(tmp_path, served, monkeypatch):
    layout, _, _ = served
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(sources.LAYOUTS, "cifar10", layout)
    monkeypatch.setattr(cifar, "find", lambda cache, layout: None)
    monkeypatch.setattr(cifar, "load", lambda folder, layout: (folder, layout))
    seen, (folder, loaded) = exhausted(sources.load("cifar10", fetch=True, test_fraction=0.0, seed=0))
    assert seen[-1][0] == seen[-1][1] > 300_000
    assert (folder / "file").exists()
    assert loaded is layout


@pytest.mark.parametrize(
    "noise",
    ["none", "symmetric:0", "symmetric-all:0.5", "asymmetric:1", *(f"human:{name}" for name in label_noise.HUMAN)],
)
def test_a_noise_is_known_whatever_the_data(noise):
    label_noise.check(noise)
    with pytest.raises(ValueError, match=r"no kind of label noise|needs a fraction"):
        label_noise.check(f"{noise}5x")


@pytest.mark.parametrize("kind", label_noise.DRAWN.values())
def test_label_noise_is_fixed_by_its_seed(kind):
    true = np.arange(1000) % 10
    assert (kind(true, 10, 0.4, seed=3) == kind(true, 10, 0.4, seed=3)).all()
    assert (kind(true, 10, 0.4, seed=3) != kind(true, 10, 0.4, seed=4)).any()
    assert (kind(true, 10, 0.0, seed=3) == true).all()


def test_symmetric_noise_always_makes_another_class_each_equally_often():
    true = np.zeros(90_000, np.int64) + 7
    noisy = label_noise.symmetric(true, 10, 1.0, seed=0)
    counts = np.bincount(noisy, minlength=10)
    assert counts[7] == 0
    assert np.delete(counts, 7) == pytest.approx([10_000] * 9, rel=0.05)
    assert (label_noise.symmetric(true, 10, 0.4, seed=0) != 7).mean() == pytest.approx(0.4, abs=0.01)


def test_symmetric_noise_among_all_classes_leaves_a_tenth_of_what_it_draws_right():
    true = np.zeros(90_000, np.int64) + 7
    noisy = label_noise.symmetric_all(true, 10, 1.0, seed=0)
    assert np.bincount(noisy, minlength=10) == pytest.approx([9000] * 10, rel=0.05)
    half = label_noise.symmetric_all(true, 10, 0.5, seed=0)
    assert (half != 7).mean() == pytest.approx(0.45, abs=0.005)
    numbered = label_noise.symmetric_all(np.full(1000, -1), 10, 0.5, seed=0)
    assert (numbered != -1).sum() == 500  # so many are drawn anew, not about so many


def test_asymmetric_noise_takes_the_usual_pairs():
    true = np.arange(10).repeat(2000)
    noisy = label_noise.asymmetric(true, 10, 0.4, seed=0)
    for label, mistaken in {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}.items():
        assert set(noisy[true == label]) == {label, mistaken}
        assert (noisy[true == label] == mistaken).mean() == pytest.approx(0.4, abs=0.04)
    for label in (0, 1, 6, 7, 8):
        assert set(noisy[true == label]) == {label}
    of_hundred = label_noise.asymmetric(np.arange(100), 100, 1.0, seed=0)
    assert of_hundred[:10].tolist() == [1, 2, 3, 4, 0, 6, 7, 8, 9, 5]
    assert (of_hundred // 5 == np.arange(100) // 5).all()


def human_file(path, **changes):
    sets = {name: (LABELS + k) % 10 for k, name in enumerate(label_noise.HUMAN.values())}
    torch.save({**sets, "clean_label": LABELS, **changes}, path)
    return path


def as_numpy_1_wrote(path):
    """The same file, with the name that the published one has for numpy's function."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert b"numpy.core.multiarray" in path.read_bytes()
    return path


@pytest.mark.parametrize("written", [lambda path: path, as_numpy_1_wrote])
def test_human_labels_are_read_by_name(tmp_path, written):
    path = written(human_file(tmp_path / "human.pt"))
    for k, name in enumerate(label_noise.HUMAN):
        assert (label_noise.human(path, name, LABELS) == (LABELS + k) % 10).all()


def test_human_labels_of_other_images_or_with_code_are_refused(tmp_path):
    with pytest.raises(DataError, match="other images"):
        label_noise.human(human_file(tmp_path / "a.pt"), "worse", LABELS[::-1].copy())
    with pytest.raises(DataError, match="outside 0 to 9"):
        label_noise.human(human_file(tmp_path / "b.pt", worse_label=LABELS + 1), "worse", LABELS)
    with pytest.raises(DataError, match="no file of CIFAR-10N"):
        label_noise.human(human_file(tmp_path / "c.pt", worse_label=Evil(tmp_path / "ran")), "worse", LABELS)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(DataError, match="cannot be read"):
        label_noise.human(tmp_path / "none.pt", "worse", LABELS)


def image(path, colour, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def test_a_folder_per_class_is_read(tmp_path):
    for k in range(4):
        image(tmp_path / "cats" / f"{k}.png", (255, 0, 0))
        image(tmp_path / "dogs" / "deeper" / f"{k}.jpg", (0, 0, 255))
    (tmp_path / "dogs" / "notes.txt").write_text("not an image")
    (tmp_path / "dogs" / "._0.jpg").write_bytes(b"what another system leaves behind")
    for name in ("config.json", "labels.npz", "curves.png"):  # a run is no class
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / name).touch()
    data = image_folder.load(image_folder.list_folder(tmp_path), test_fraction=0.25, seed=0)
    assert data.images.size == 0  # not read so far
    data = image_folder.with_images(data, 16)
    assert data.classes == ("cats", "dogs")
    assert data.images.shape == (6, 3, 16, 16)
    assert sorted(data.test_labels) == [0, 1]
    assert all((data.images[k].argmax(0) == (0 if data.given[k] == 0 else 2)).all() for k in range(6))
    assert data.true is None
    assert len(data.paths) == 6


def test_a_csv_lists_images_beside_it_with_or_without_a_heading(tmp_path):
    lines = []
    for k in range(4):
        image(tmp_path / f"{k}.png", (60 * k, 0, 0))
        lines.append(f"{k}.png,{'ab'[k % 2]}")
    for heading in ([], ["path,label"], ["filename,class"]):
        (tmp_path / "list.csv").write_text("\n".join(heading + lines))
        data = image_folder.load(image_folder.list_csv(tmp_path / "list.csv"), 0.0, 0)
        assert data.given.tolist() == [0, 1, 0, 1]
        assert data.paths[2] == tmp_path / "2.png"
        assert len(data.test_labels) == 0


def test_a_missing_image_does_not_change_what_a_heading_is(tmp_path):
    for k in range(1, 4):
        image(tmp_path / f"{k}.png", (60 * k, 0, 0))
    lines = [f"{k}.png,{'ab'[k % 2]}" for k in range(4)]  # 0.png is gone
    for heading in ([], ["file,class"], ["image.png,label"]):
        (tmp_path / "list.csv").write_text("\n".join(heading + lines))
        listed = image_folder.list_csv(tmp_path / "list.csv")
        assert [path.name for path, _ in listed] == ["0.png", "1.png", "2.png", "3.png"]
        with pytest.raises(DataError, match=r"0\.png cannot be read"):
            image_folder.with_images(image_folder.load(listed, 0.0, 0), 8)
    (tmp_path / "list.csv").write_text("1.png,label\n2.png,label\n")
    assert len(image_folder.list_csv(tmp_path / "list.csv")) == 2


def test_the_figures_of_a_run_are_no_images_wherever_it_lies(tmp_path):
    for name in ("cat/0", "cat/1", "dog/0", "dog/1", "run/curves", "cat/run/curves"):
        image(tmp_path / f"{name}.png", (0, 0, 0))
    for run in (tmp_path / "run", tmp_path / "cat" / "run"):
        for name in ("config.json", "labels.npz"):
            (run / name).touch()
    assert len(image_folder.list_folder(tmp_path)) == len(image_folder.images_below(tmp_path)) == 4


def test_what_cannot_be_trained_on_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(DataError, match="no folders with images"):
        image_folder.list_folder(tmp_path)
    for k in range(3):
        image(tmp_path / "a" / f"{k}.png", (0, 0, 0))
    with pytest.raises(DataError, match="one class, 'a'"):
        image_folder.load(image_folder.list_folder(tmp_path), 0.1, 0)
    image(tmp_path / "b" / "only.png", (0, 0, 0))
    with pytest.raises(DataError, match="Class 'b' has a single image"):
        image_folder.load(image_folder.list_folder(tmp_path), 0.1, 0)
    (tmp_path / "b" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(DataError, match=r"broken.png cannot be read"):
        image_folder.with_images(image_folder.load(image_folder.list_folder(tmp_path), 0.1, 0), 8)
    for k in range(11):
        (tmp_path / "a" / f"torn{k:02}.png").write_bytes(b"\x89PNG")
    with pytest.raises(
        DataError, match=r"12 images cannot be read, .*torn00.png, .*torn09.png and 2 more: mend them or"
    ):
        image_folder.with_images(image_folder.load(image_folder.list_folder(tmp_path), 0.1, 0), 8)
    (tmp_path / "list.csv").write_text("a/0.png,x\nonly one cell\n")
    with pytest.raises(DataError, match=r"list.csv, line 2"):
        image_folder.list_csv(tmp_path / "list.csv")
    (tmp_path / "list.csv").write_text("path,label\n")
    with pytest.raises(DataError, match="lists no images"):
        image_folder.list_csv(tmp_path / "list.csv")


def test_sets_and_other_files_are_not_taken_for_classes(tmp_path):
    for k in range(4):
        image(tmp_path / ("train" if k < 2 else "test") / "cats" / f"{k}.png", (0, 0, 0))
    with pytest.raises(DataError, match=r"sets, not classes: name one of them, as in .*train\.$"):
        image_folder.list_folder(tmp_path)
    (tmp_path / "birds").mkdir()
    (tmp_path / "birds" / "0.heic").touch()
    with pytest.raises(DataError, match="birds holds files, but none of a kind that is read"):
        image_folder.list_folder(tmp_path)


def test_links_to_folders_are_followed_and_do_not_go_round_in_a_circle(tmp_path):
    data = tmp_path / "data"
    for name in ("data/cat/0", "data/dog/0", "elsewhere/1", "elsewhere/deep/2"):
        image(tmp_path / f"{name}.png", (0, 0, 0))
    (data / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "deep" / "again").symlink_to(tmp_path / "elsewhere")
    (data / "dog" / "up").symlink_to(data)
    (data / "dog" / "itself").symlink_to(".")
    found = [(path.relative_to(data).as_posix(), name) for path, name in image_folder.list_folder(data)]
    assert found == [("cat/0.png", "cat"), ("cat/more/1.png", "cat"), ("cat/more/deep/2.png", "cat"),
                     ("dog/0.png", "dog")]  # fmt: skip
    assert len(image_folder.images_below(data)) == 4


def test_a_link_that_leads_nowhere_is_an_image_that_cannot_be_read(tmp_path):
    for name in ("cat/0", "cat/1", "dog/0", "dog/1"):
        image(tmp_path / f"{name}.png", (0, 0, 0))
    (tmp_path / "cat" / "2.png").symlink_to("gone.png")
    with pytest.raises(DataError, match=r"cat/2\.png cannot be read \(no such file or directory\)"):
        image_folder.with_images(exhausted(sources.load(str(tmp_path), fetch=False, test_fraction=0.0, seed=0))[1], 16)
    with pytest.raises(DataError, match=r"cat/2\.png cannot be read"):
        image_folder.check_there(path for path, _ in image_folder.list_folder(tmp_path))


def test_one_note_says_how_many_files_of_which_kinds_are_left_out(tmp_path):
    for name in ("cat/0.png", "cat/1.png", "dog/0.png", "dog/deep/1.jpg"):
        image(tmp_path / name, (0, 0, 0))
    for name in ("cat/2.HEIC", "dog/deep/2.heic", "dog/notes.txt", "dog/README", "dog/.hidden"):
        (tmp_path / name).touch()
    said, data = exhausted(sources.load(str(tmp_path), fetch=False, test_fraction=0.0, seed=0))
    assert len(data.given) == 4
    (note,) = said
    assert note.startswith("4 files are left out, of no kind that is read (2 .heic, 1 ")
    assert "1 .txt" in note
    assert "1 without a suffix" in note
    assert image_folder.note_on(Counter()) is None


def test_images_that_lie_in_no_class_folder_are_counted_in_the_note(tmp_path):
    for name in ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png", "2.png", ".3.png"):
        image(tmp_path / name, (0, 0, 0))
    (tmp_path / "README").touch()
    (said,), data = exhausted(sources.load(str(tmp_path), fetch=False, test_fraction=0.0, seed=0))
    assert len(data.given) == 4
    assert said == "1 image lies in no class folder and is left out: move what belongs to a class."
    image(tmp_path / "3.jpg", (0, 0, 0))
    (tmp_path / "cat" / "4.heic").touch()
    (said,), _ = exhausted(sources.load(str(tmp_path), fetch=False, test_fraction=0.0, seed=0))
    assert said.startswith("1 file is left out, of no kind that is read (1 .heic): ")
    assert " 2 images lie in no class folder and are left out: " in said


def test_a_closed_folder_is_not_passed_over(tmp_path, monkeypatch):
    for k in range(2):
        image(tmp_path / "open" / f"{k}.png", (0, 0, 0))
        image(tmp_path / "closed" / f"{k}.png", (0, 0, 0))
    (tmp_path / "open" / ".closed").mkdir()

    def scandir(path, opened=os.scandir):
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path)

    monkeypatch.setattr("os.scandir", scandir)
    with pytest.raises(DataError, match=r"/closed cannot be looked into \(permission denied\)"):
        exhausted(sources.load(str(tmp_path), fetch=False, test_fraction=0.0, seed=0))


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_grey_of_any_depth_is_read_to_scale(tmp_path, dtype, suffix):
    if suffix == "png" and dtype in (np.int32, np.float32):
        pytest.skip("there is no such PNG")
    ramp = np.linspace(0, {np.uint8: 255, np.float32: 1}.get(dtype, 65535), 64).astype(dtype)
    Image.fromarray(np.tile(ramp, (64, 1))).save(tmp_path / f"ramp.{suffix}")
    values = image_folder.read([tmp_path / f"ramp.{suffix}"], 64)
    assert np.abs(values[0, 0] - np.linspace(0, 255, 64)).max() <= 1


def test_grey_of_twelve_bits_in_sixteen_is_read_to_scale(tmp_path):
    ramp = np.linspace(0, 4095, 64).astype(np.uint16)
    Image.fromarray(np.tile(ramp, (64, 1))).save(tmp_path / "ramp.png")
    values = image_folder.read([tmp_path / "ramp.png"], 64)
    assert np.abs(values[0, 0] - np.linspace(0, 255, 64)).max() <= 1


def test_an_image_is_turned_upright_as_pillow_does_it(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 16, 3)).astype(np.uint8)
    record = Image.Exif()
    for record[274] in range(1, 10):
        for suffix in ("png", "tif", "webp"):
            path = tmp_path / f"{record[274]}.{suffix}"
            Image.fromarray(pixels).save(path, exif=record, lossless=True)
            with Image.open(path) as image:
                upright = ImageOps.exif_transpose(image)
                assert upright.size == ((16, 20) if record[274] in (1, 2, 3, 4, 9) else (20, 16))
            assert (np.asarray(image_folder.thumbnail(path, 64)) == np.asarray(upright)).all()
            square = np.asarray(ImageOps.fit(upright, (8, 8), Image.Resampling.LANCZOS))
            assert (image_folder.read_one(path, 8).transpose(1, 2, 0) == square).all()


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK"])
def test_an_uncompressed_tiff_that_lies_on_its_side_is_turned_upright(tmp_path, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 16, 3)).astype(np.uint8)
    stored = Image.fromarray(pixels).convert(mode)
    for orientation, method in ((6, Image.Transpose.ROTATE_270), (8, Image.Transpose.ROTATE_90)):
        stored.save(tmp_path / "side.tif", tiffinfo={274: orientation})
        upright = stored.transpose(method).convert("RGB")
        assert (np.asarray(image_folder.thumbnail(tmp_path / "side.tif", 64)) == np.asarray(upright)).all()


@pytest.mark.parametrize(
    ("record", "upright"),
    [
        # Orientation 6, and a tag of text that holds a number, on which Pillow's exif_transpose ends.
        (b"II*\0\x08\0\0\0\x02\0\x0f\1\x0c\0\1\0\0\0\x54\0\0\0\x12\1\3\0\1\0\0\0\6\0\0\0" + bytes(60), False),
        (b"no record", True),
    ],
)
def test_a_broken_exif_record_does_not_make_an_image_unreadable(tmp_path, record, upright):
    for suffix in ("jpg", "png", "webp"):
        path = tmp_path / f"odd.{suffix}"
        Image.new("RGB", (16, 20)).save(path, exif=b"Exif\0\0" + record)
        assert image_folder.thumbnail(path, 64).size == ((16, 20) if upright else (20, 16))
        assert image_folder.read_one(path, 8).shape == (3, 8, 8)


def test_an_image_of_too_many_pixels_is_refused_as_such_and_a_large_one_is_read_in_silence(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    image(tmp_path / "large.png", (9, 9, 9), size=(1500, 1000))
    assert image_folder.read_one(tmp_path / "large.png", 8).shape == (3, 8, 8)  # a warning would be an error here
    assert image_folder.thumbnail(tmp_path / "large.png", 30).size == (30, 20)
    image(tmp_path / "huge.png", (9, 9, 9), size=(2100, 1000))
    with pytest.raises(DataError, match=r"huge\.png has more than 2 megapixels: make it smaller"):
        image_folder.read_one(tmp_path / "huge.png", 8)


def test_what_is_transparent_is_white(tmp_path):
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (image_folder.read([tmp_path / "clear.png"], 16) == 255).all()


def packed():
    """An archive of a folder with one file."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        entry = tarfile.TarInfo("some-data/file")
        content = np.random.default_rng(0).bytes(300_000)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def some_data(url, md5):
    """A data set that is packed there."""
    return replace(cifar.CIFAR10, python_folder="some-data", url=url, md5=md5)


@pytest.fixture
def served(monkeypatch):
    """A server on loopback that can break off after so many bytes, and the requests it got."""
    content, asked, breaks = packed(), [], []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
            asked.append(start)
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start : breaks.pop() if breaks else None])

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/data.tar.gz"
    yield some_data(url, hashlib.md5(content).hexdigest()), asked, breaks
    server.shutdown()
    server.server_close()


def test_an_archive_is_fetched_and_unpacked_in_place_of_what_is_not_whole(tmp_path, served):
    layout, asked, _ = served
    (tmp_path / "some-data").mkdir()
    (tmp_path / "some-data" / "leftover").touch()
    seen, where = exhausted(download.fetch(layout, tmp_path))
    assert (where / "file").stat().st_size == 300_000
    assert seen[-1][0] == seen[-1][1] > 300_000
    assert [path.name for path in where.iterdir()] == ["file"]
    assert asked == [0]
    assert [path.name for path in tmp_path.iterdir()] == ["some-data"]


def test_a_download_that_broke_off_goes_on_where_it_was(tmp_path, served):
    layout, asked, breaks = served
    breaks.append(100_000)
    with pytest.raises(DataError, match="cannot be reached"):
        exhausted(download.fetch(layout, tmp_path))
    assert not (tmp_path / "some-data").exists()
    exhausted(download.fetch(layout, tmp_path))
    assert asked == [0, 100_000]
    assert (tmp_path / "some-data" / "file").exists()


def test_other_bytes_than_the_makers_are_thrown_away(tmp_path, served):
    layout, _, _ = served
    wrong = replace(layout, md5="0" * 32)
    with pytest.raises(DataError, match="other bytes"):
        exhausted(download.fetch(wrong, tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_no_network_is_said_in_a_sentence_with_the_remedy(tmp_path):
    nowhere = some_data("http://127.0.0.1:9/data.tar.gz", "0" * 32)
    with pytest.raises(DataError, match=r"cannot be reached.*--data"):
        exhausted(download.fetch(nowhere, tmp_path))
