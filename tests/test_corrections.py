"""What a person decided: read, trained on, and applied to a copy of the data."""

import csv
import os

import numpy as np
import pytest
import torch
from command_line import CLASSIFY, listing, status
from test_classification_data import image, write_cifar10

from dipsop.classification import corrections, image_folder, run_folder
from dipsop.classification.dataset import Dataset
from dipsop.errors import DataError, DipsopError
from dipsop.jobs import relabel
from dipsop.jobs.events import Begun, Done, Stopped, Underway
from dipsop.sop.labels import LabelCorruption, sop_loss

HEADING = "sample,given_label,decision,label\n"


@pytest.fixture
def animals(tmp_path, monkeypatch):
    """Six images of two classes, in photos/, and the working folder beside it."""
    monkeypatch.chdir(tmp_path)
    for name in ("cat/a", "cat/b", "cat/deep/c", "dog/a", "dog/b", "dog/d"):
        image(tmp_path / "photos" / f"{name}.png", (len(name), 0, 0))
    return tmp_path


def saved(path, *lines):
    path.write_text(HEADING + "".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def pixels(count):
    return np.zeros((count, 3, 4, 4), np.uint8)


def test_corrections_replace_labels_and_what_was_decided_is_trusted(tmp_path):
    data = Dataset(pixels(4), np.array([0, 0, 1, 1]), None, ("cat", "dog"), pixels(0), np.empty(0, np.int64))
    first = saved(tmp_path / "first.csv", "1,cat,change,dog", "3,dog,keep,dog")
    second = saved(tmp_path / "second.csv", "1,dog,change,cat", "2,dog,change,cat")
    corrected = corrections.apply(data, [first, second])
    assert corrected.given.tolist() == [0, 0, 0, 1]
    assert corrected.trusted.tolist() == [False, True, True, True]
    assert data.given.tolist() == [0, 0, 1, 1]
    assert corrections.apply(data, []) is data
    assert corrected.first(2).trusted.tolist() == [False, True]


def test_a_sample_is_found_however_its_path_is_written(animals):
    names, labels = ["photos/cat/a.png", "photos/cat/b.png"], ["cat", "cat"]
    path = saved(animals / "c.csv", f"{animals}/photos/cat/b.png,cat,change,dog", "./photos/cat/a.png,cat,keep,cat")
    assert corrections.decisions(path, names, labels, ["cat", "dog"]) == {0: "cat", 1: "dog"}


def test_a_sample_is_found_through_links_to_its_folder(animals):
    (animals / "link").symlink_to("photos")
    (animals / "photos" / "cat" / "same.png").symlink_to("a.png")  # a sample of its own
    names, labels = ["link/cat/a.png", "link/cat/same.png", "photos/cat/b.png"], ["cat"] * 3
    path = saved(animals / "c.csv", "photos/cat/same.png,cat,change,dog", "link/cat/b.png,cat,keep,cat")
    assert corrections.decisions(path, names, labels, ["cat", "dog"]) == {1: "dog", 2: "cat"}


def test_an_image_that_is_listed_twice_is_corrected_where_the_label_is_the_given_one(tmp_path):
    path = saved(tmp_path / "c.csv", "a.png,cat,change,dog")
    assert corrections.decisions(path, ["a.png", "a.png"], ["dog", "cat"], ["cat", "dog"]) == {1: "dog"}


def test_names_that_are_no_text_or_hold_commas_and_quotes_come_back(tmp_path):
    name = os.fsdecode(b'cat/"one", caf\xe9.png')
    quoted = os.fsencode(name).replace(b'"', b'""')
    (tmp_path / "c.csv").write_bytes(b"\xef\xbb\xbf" + HEADING.encode() + b'"' + quoted + b'",cat,keep,cat\n')
    assert corrections.read(tmp_path / "c.csv") == [corrections.Correction(2, name, "cat", "cat")]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("other.png,cat,keep,cat", "line 2 names other.png, which is not in the data: name the data"),
        ("7,cat,keep,cat", "line 2 names 7, which is not in the data: name the data"),
        ("photos/cat/z.png,cat,keep,cat", "line 2 names photos/cat/z.png, which is not there: put it back, delete"),
        ("photos/cat/a.png,cat,keep,cat\nphotos/cat/b.png,cat,change,cow", "line 3 names the class cow"),
        ("photos/cat/a.png,dog,change,cat", "line 2 takes photos/cat/a.png for dog, here it is cat"),
        ("photos/cat/a.png,cat,change,dog\nphotos/cat/a.png,cat,keep,cat", "line 3 decides on .* once more"),
        ("photos/cat/a.png,cat,perhaps,dog", "line 2 is not sample,given_label"),
        ("photos/cat/a.png,cat,keep,dog", "line 2 is not sample,given_label"),
        ("photos/cat/a.png,cat", "line 2 is not sample,given_label"),
        (None, r"c\.csv lacks the columns sample"),
        ('"', r"c\.csv cannot be read \(no CSV file\)"),
    ],
)
def test_corrections_that_do_not_fit_are_refused_by_line_and_nothing_is_written(animals, content, complaint, capsys):
    image(animals / "other.png", (0, 0, 0))
    if content is None:
        (animals / "c.csv").write_text("path,label\n")
    else:
        saved(animals / "c.csv", content)
    before = listing(animals)
    for arguments in (
        ("relabel", "photos", "c.csv"),
        ("classify", "--data", "photos", "--corrections", "c.csv", *CLASSIFY),
    ):
        assert status(*arguments, "--out", "new") == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        with pytest.raises(DataError, match=complaint):
            raise DataError(said)
        assert listing(animals) == before


def test_corrections_that_are_not_there_are_said(animals, capsys):
    assert status("relabel", "photos", "none.csv", "--out", "new") == 1
    assert "none.csv cannot be read (no such file or directory)" in capsys.readouterr().err


def test_a_name_that_no_disk_takes_is_a_sentence_with_links_too(animals, capsys):
    assert status("relabel", "x" * 300, "c.csv", "--out", "new", "--link") == 1
    assert "cannot be looked into (file name too long)" in capsys.readouterr().err


def test_trusted_labels_are_never_explained_away():
    given = torch.tensor([0, 0])
    factors = LabelCorruption(given, 3, (10.0, 10.0), torch.Generator().manual_seed(0), torch.tensor([True, False]))
    index = torch.arange(2)
    for _ in range(300):  # the network insists on another class
        s = factors.value(index).requires_grad_()
        sop_loss(torch.tensor([[0.0, 6.0, 0.0]] * 2), factors.is_given, s).sum().backward()
        factors.step(index, s.grad)
    s = factors.value(index)
    assert s[0].abs().sum() == 0
    assert s[1].abs().sum() > 1.5


def test_a_run_trains_on_what_was_decided(dirty, tmp_path, capsys):
    pairs = (("red", "blue"), ("blue", "red"))
    wrong = [f"{dirty}/{there}/{it}{k}.png,{there},change,{it}" for there, it in pairs for k in range(3)]
    decided = saved(tmp_path / "c.csv", *wrong, f"{dirty}/red/red9.png,red,keep,red")
    arguments = ("classify", "--data", dirty, "--epochs", 12, "--quiet", *CLASSIFY)
    run = tmp_path / "run"
    assert status(*arguments, "--out", run, "--corrections", decided) == 0
    rows = {row["sample"].split("/")[-1]: row for row in csv.DictReader((run / "labels.csv").read_text().splitlines())}
    assert all(row["given_label"] in name for name, row in rows.items())
    assert float(rows["red9.png"]["score"]) == float(rows["blue0.png"]["score"]) == 0
    assert float(rows["red8.png"]["score"]) > 0
    assert run_folder.load_config(run)["corrections"] == [str(decided)]
    assert status(*arguments, "--out", run, "--corrections", decided, "--resume") == 0
    assert status(*arguments, "--out", run, "--resume") == 1
    assert "a run of other images or labels" in capsys.readouterr().err
    kept = saved(tmp_path / "kept.csv", *wrong)  # the same labels, but one that is not trusted
    assert status(*arguments, "--out", run, "--corrections", kept, "--resume") == 1
    assert "a run of other images or labels" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [("--test-fraction", 0.25), ("--images", 20), ("--seed", 1, "--test-fraction", 0.5)]
)
def test_decisions_on_images_that_are_set_aside_or_left_out_are_no_obstacle(dirty, tmp_path, options):
    lines = [f"{path},{path.parent.name},keep,{path.parent.name}" for path in sorted(dirty.rglob("*.png"))]
    decided, run = saved(tmp_path / "c.csv", *lines), tmp_path / "run"
    arguments = ("classify", "--data", dirty, "--epochs", 1, "--quiet", *CLASSIFY, *options)
    assert status(*arguments, "--out", run, "--corrections", decided) == 0
    with np.load(run / "labels.npz") as labels:
        assert labels["trusted"].all()
        assert len(labels["given"]) < len(lines)


def test_labels_of_test_images_are_corrected_too(tmp_path):
    paths = [tmp_path / f"{k}.png" for k in range(4)]
    data = Dataset(pixels(2), np.array([0, 1]), None, ("cat", "dog"), pixels(2), np.array([0, 1]),
                   tuple(paths[:2]), tuple(paths[2:]))  # fmt: skip
    file = saved(
        tmp_path / "c.csv", f"{paths[0]},cat,change,dog", f"{paths[2]},cat,change,dog", f"{paths[3]},dog,keep,dog"
    )
    corrected = corrections.apply(data, [file])
    assert corrected.given.tolist() == [1, 1]
    assert corrected.trusted.tolist() == [True, False]
    assert corrected.test_labels.tolist() == [1, 1]
    assert data.test_labels.tolist() == [0, 1]


def test_corrections_of_cifar_go_by_the_index(tmp_path):
    write_cifar10(tmp_path)
    run = tmp_path / "run"
    arguments = ("classify", "--data", tmp_path, "--epochs", 1, "--batch", 8, "--quiet")
    assert status(*arguments, "--out", run) == 0
    first = next(csv.DictReader((run / "labels.csv").read_text().splitlines()))
    classes = run_folder.load_config(run)["classes"]
    other = classes[classes.index(first["given_label"]) - 1]
    decided = saved(tmp_path / "c.csv", f"{first['sample']},{first['given_label']},change,{other}")
    assert status(*arguments, "--out", tmp_path / "again", "--corrections", decided) == 0
    with np.load(tmp_path / "again" / "labels.npz") as packed:
        labels = dict(packed)
    assert classes[labels["given"][int(first["sample"])]] == other
    assert labels["trusted"].sum() == 1


def test_relabel_copies_a_folder_with_corrections_and_leaves_the_original(animals, capsys):
    before = listing(animals / "photos")
    saved(
        animals / "c.csv",
        "photos/cat/a.png,cat,change,dog",
        "photos/cat/deep/c.png,cat,change,dog",
        "photos/dog/b.png,dog,change,cat",
        "photos/dog/d.png,dog,keep,dog",
    )
    assert status("relabel", "photos", "c.csv", "--out", "new/one") == 0
    assert capsys.readouterr().out == "wrote new/one: 6 images, 3 with another label\n"
    new = {name: content for name, content in listing(animals / "new" / "one").items() if content}
    moved = {"cat/a.png": "dog/a_from_cat.png", "cat/deep/c.png": "dog/deep/c.png", "dog/b.png": "cat/b_from_dog.png"}
    assert new == {moved.get(name, name): content for name, content in before.items() if content}
    assert listing(animals / "photos") == before
    assert [path.name for path in (animals / "new").iterdir()] == ["one"]


def test_relabel_says_what_it_leaves_out_and_refuses_links_that_lead_nowhere(animals, capsys):
    (animals / "photos" / "cat" / "c.heic").touch()
    saved(animals / "c.csv", "photos/cat/a.png,cat,change,dog")
    assert status("relabel", "photos", "c.csv", "--out", "new") == 0
    assert capsys.readouterr().err == (
        "note: 1 file is left out, of no kind that is read (1 .heic): convert those that are images.\n"
    )
    (animals / "photos" / "dog" / "z.png").symlink_to("gone.png")
    assert status("relabel", "photos", "c.csv", "--out", "other") == 1
    assert "z.png cannot be read (a link that leads nowhere): mend it" in capsys.readouterr().err
    assert not (animals / "other").exists()


def test_names_that_collide_are_counted_and_the_case_of_letters_does_not_part_them(animals):
    for name in ("cow/A", "cow/deep/a", "dog/a_from_cow"):
        image(animals / "photos" / f"{name}.png", (9, 9, 9))
    saved(animals / "c.csv", "photos/cow/A.png,cow,change,dog", "photos/cow/deep/a.png,cow,change,cat")
    assert status("relabel", "photos", "c.csv", "--out", "new", "--quiet") == 0
    assert (animals / "new" / "dog" / "A_from_cow_2.png").exists()
    assert (animals / "new" / "cat" / "deep" / "a.png").exists()


@pytest.mark.parametrize("link", [False, True])
def test_no_copy_replaces_another_where_the_disk_takes_their_names_for_one(tmp_path, link):
    first, second, target = (tmp_path / name for name in ("A.png", "b.png", "new.png"))
    first.write_bytes(b"first")
    second.write_bytes(b"second")
    relabel._put(first, target, link)
    with pytest.raises(FileExistsError):
        relabel._put(second, target, link)
    assert target.read_bytes() == b"first"


def test_a_name_that_would_become_too_long_is_shortened(animals):
    for name in ("a" * 251, "é" * 125):
        for kind in ("cat", "dog"):
            image(animals / "photos" / kind / f"{name}.png", (9, 9, 9))
    changed = (f"photos/cat/{name}.png,cat,change,dog" for name in ("a" * 251, "é" * 125))
    saved(animals / "c.csv", *changed)
    assert status("relabel", "photos", "c.csv", "--out", "new", "--quiet") == 0
    assert (animals / "new" / "dog" / ("a" * 242 + "_from_cat.png")).exists()
    assert (animals / "new" / "dog" / ("é" * 121 + "_from_cat.png")).exists()


def test_links_take_no_room_and_go_across_disks(animals, monkeypatch):
    saved(animals / "c.csv", "photos/cat/b.png,cat,change,dog")
    assert status("relabel", "photos", "c.csv", "--out", "hard", "--link", "--quiet") == 0
    linked = animals / "hard" / "dog" / "b_from_cat.png"
    assert linked.stat().st_ino == (animals / "photos" / "cat" / "b.png").stat().st_ino

    def other_disk(*names):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", other_disk)
    assert status("relabel", "photos", "c.csv", "--out", "soft", "--link", "--quiet") == 0
    linked = animals / "soft" / "dog" / "b_from_cat.png"
    assert linked.is_symlink()
    assert linked.read_bytes() == (animals / "photos" / "cat" / "b.png").read_bytes()


def test_relabel_writes_a_corrected_csv_with_its_further_columns(animals):
    (animals / "photos" / "list.csv").write_text("file,kind,by\ncat/a.png,cat,Ann\ndog/a.png,dog,Bo\n")
    decided = saved(animals / "c.csv", "photos/cat/a.png,cat,change,dog")
    assert status("relabel", "photos/list.csv", decided, "--out", "photos/new.csv", "--quiet") == 0
    assert (animals / "photos" / "new.csv").read_text() == "file,kind,by\ncat/a.png,dog,Ann\ndog/a.png,dog,Bo\n"
    assert status("relabel", "photos/list.csv", decided, "--out", "elsewhere.csv", "--quiet") == 0
    assert (animals / "elsewhere.csv").read_text().splitlines()[1] == "photos/cat/a.png,dog,Ann"
    assert status("relabel", "photos/list.csv", decided, "--out", "other.csv", "--link") == 2


def test_the_paths_of_a_corrected_csv_lead_to_the_images_from_behind_a_link_too(animals):
    (animals / "photos" / "list.csv").write_text("cat/a.png,cat\ndog/a.png,dog\n")
    (animals / "disk" / "deep").mkdir(parents=True)
    (animals / "link").symlink_to("disk/deep")
    decided = saved(animals / "c.csv", "photos/cat/a.png,cat,change,dog")
    assert status("relabel", "photos/list.csv", decided, "--out", "link/new.csv", "--quiet") == 0
    assert all(path.exists() for path, _ in image_folder.list_csv(animals / "link" / "new.csv"))


@pytest.mark.parametrize(
    ("data", "out", "complaint"),
    [
        ("photos", "full", "full is there already"),
        ("photos", "c.csv", "c.csv is there already"),
        ("photos/list.csv", "photos/list.csv", "list.csv is there already"),
        ("photos", "photos/new", "new lies in photos"),
        ("nowhere", "new", "nowhere does not exist"),
        ("cifar10", "new", "cifar10 does not exist"),
    ],
)
def test_relabel_refuses_what_is_there_and_what_is_not(animals, data, out, complaint, capsys):
    (animals / "full").mkdir()
    (animals / "full" / "file").write_text("mine")
    (animals / "photos" / "list.csv").write_text("cat/a.png,cat\ndog/a.png,dog\n")
    saved(animals / "c.csv", "photos/cat/a.png,cat,change,dog")
    before = listing(animals)
    assert status("relabel", data, "c.csv", "--out", out) == 1
    assert complaint in capsys.readouterr().err
    assert listing(animals) == before


def test_an_empty_folder_is_filled(animals):
    (animals / "new").mkdir()
    assert status("relabel", "photos", saved(animals / "c.csv"), "--out", "new", "--quiet") == 0
    assert len(list((animals / "new").rglob("*.png"))) == 6


@pytest.mark.parametrize("there", [True, False])
def test_a_copy_goes_where_a_link_leads(animals, there):
    saved(animals / "c.csv", "photos/cat/a.png,cat,change,dog")
    if there:
        (animals / "elsewhere").mkdir()
    (animals / "link").symlink_to("elsewhere")
    assert status("relabel", "photos", "c.csv", "--out", "link", "--quiet") == 0
    assert (animals / "elsewhere" / "dog" / "a_from_cat.png").exists()
    assert (animals / "link").is_symlink()


def test_a_disk_of_its_own_is_no_new_folder(animals, monkeypatch, capsys):
    saved(animals / "c.csv", "photos/cat/a.png,cat,change,dog")
    (animals / "disk").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) == "disk")
    assert status("relabel", "photos", "c.csv", "--out", "disk") == 1
    assert capsys.readouterr().err == "dipsop: disk is a disk of its own: name a new folder on it as --out.\n"


def test_a_relabel_that_is_stopped_or_fails_leaves_nothing(animals, monkeypatch):
    job = relabel.RelabelJob(data=animals / "photos", corrections=(saved(animals / "c.csv"),), out=animals / "new")
    before = listing(animals)
    heard = []
    for event in relabel.run(job, lambda: len(heard) == 3):
        heard.append(event)
    assert [type(event) for event in heard] == [Begun, Underway, Underway, Stopped]
    assert heard[-1] == Stopped(completed=2, of=6)
    assert listing(animals) == before

    def full(source, target):
        raise OSError(28, "No space left on device", str(source))

    monkeypatch.setattr(relabel.shutil, "copy2", full)
    with pytest.raises(DipsopError, match=r"a\.png could not be copied \(no space left on device\)"):
        list(relabel.run(job))
    assert listing(animals) == before
    monkeypatch.undo()
    assert isinstance(list(relabel.run(job))[-1], Done)
