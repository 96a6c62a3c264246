"""`dipsop classify` and `dipsop predict` as a person runs them."""

import csv
import json
import os
import re
import shlex
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import CLASSIFY, listing, started, status, until
from PIL import Image
from test_classification_data import human_file, write_cifar10, write_cifar100

from dipsop.classification import features, run_folder
from dipsop.classification.dataset import Dataset
from dipsop.classification.trainer import Trainer
from dipsop.jobs import next_round
from dipsop.jobs.classify import ClassifyJob

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "dipsop", "classify"]


def test_a_folder_with_dirty_labels_gives_a_list_with_the_wrong_ones_first(dirty, tmp_path, capsys):
    run = tmp_path / "run"
    assert status("classify", "--data", dirty, "--out", run, "--size", 16, "--network", "fast") == 0
    said = capsys.readouterr()
    assert "epoch 24/24" in said.err
    assert "labels.html, in a browser" in said.out
    assert "labels.csv" in said.out
    rows = list(csv.DictReader((run / "labels.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 80
    assert [int(row["rank"]) for row in rows] == list(range(1, 81))
    names = [row["sample"].rsplit("/", 1)[1] for row in rows]
    wrong = [row["given_label"] not in name for row, name in zip(rows, names, strict=True)]
    assert sum(wrong) == 6
    assert sum(wrong[:6]) == 6
    changed = [row["suggested_label"] in name for row, name in zip(rows, names, strict=True)
               if row["suggested_label"] != row["given_label"]]  # fmt: skip
    assert sum(changed) == len(changed) > 0
    assert len((run / "metrics.csv").read_text().splitlines()) == 25
    with Image.open(run / "curves.png") as drawn:
        assert drawn.size[0] > 100
    assert json.loads((run / "config.json").read_text())["train"]["method"] == "sop"
    summary = json.loads((run / "summary.json").read_text())
    assert summary["test_accuracy"] is summary["best_epoch"] is None  # nothing was set aside


def test_some_of_the_images_are_of_all_classes(dirty, tmp_path, capsys):
    run = tmp_path / "run"
    arguments = ("classify", "--data", dirty, "--epochs", 1, "--quiet", *CLASSIFY)
    assert status(*arguments, "--out", run, "--images", 20) == 0
    rows = list(csv.DictReader((run / "labels.csv").read_text(encoding="utf-8").splitlines()))
    assert sorted(row["given_label"] for row in rows) == 10 * ["blue"] + 10 * ["red"]
    assert status(*arguments, "--out", tmp_path / "less", "--images", 3) == 1
    assert "less than two images of a class" in capsys.readouterr().err


def test_names_that_are_no_text_are_listed_as_they_are(dirty, capsys):
    (dirty / "red" / "red9.png").rename(os.fsdecode(os.fsencode(dirty / "red") + b"/caf\xe9.png"))
    for name in (b"bl\xe9", b"r\xe9d"):
        (dirty / ("red" if name.startswith(b"r") else "blue")).rename(os.fsdecode(os.fsencode(dirty) + b"/" + name))
    run = dirty / "run"  # which is not taken for a class when it goes on
    arguments = ("classify", "--data", dirty, "--out", run, "--epochs", 1, "--quiet", *CLASSIFY)
    assert status(*arguments) == 0
    assert b"/r\xe9d/caf\xe9.png,r\xe9d," in (run / "labels.csv").read_bytes()
    assert status(*arguments, "--resume") == 0
    assert status("predict", run, next(dirty.rglob("blue9.png"))) == 0
    assert re.search(r"  'r?\w*\\udce9d?'  [01]\.\d", capsys.readouterr().out)


def test_processes_of_torchrun_train_one_model(dirty, tmp_path):
    run = tmp_path / "run"
    arguments = ["--data", str(dirty), "--out", str(run), "--epochs", "2", "--json", *(str(a) for a in CLASSIFY)]
    with started([*TORCHRUN, *arguments], tmp_path, OMP_NUM_THREADS="1") as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert json.loads(out)["epochs"] == 2  # one of them speaks
    assert json.loads((run / "config.json").read_text())["train"]["shares"] == 2
    assert len((run / "labels.csv").read_text().splitlines()) == 81


def test_predict_names_class_and_probability(dirty, tmp_path, capsys):
    run = tmp_path / "run"
    assert status("classify", "--data", dirty, "--out", run, "--epochs", 8, "--quiet", *CLASSIFY) == 0
    assert capsys.readouterr() == ("", "")
    image = dirty / "red" / "red9.png"
    assert status("predict", run, image, dirty / "blue" / "blue9.png") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.split()[:2] == [str(image), "red"]
    assert second.split()[1] == "blue"
    assert status("predict", run, image, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["label"] == "red"
    assert 0.5 < said["probability"] <= 1


def test_noise_is_made_recorded_and_measured(tmp_path, capsys):
    write_cifar10(tmp_path)
    run = tmp_path / "run"
    arguments = ("--data", tmp_path, "--noise", "symmetric:0.4", "--epochs", 1, "--batch", 8, "--json")
    assert status("classify", "--out", run, *arguments) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["noise"] == "symmetric:0.4"
    labels = np.load(run / "labels.npz")
    assert summary["wrong_labels"] == (labels["given"] != labels["true"]).mean() > 0.2
    assert 0 <= summary["auroc"] <= 1
    assert summary["best_epoch"] == summary["epochs"] == 1


def test_cifar100_and_human_labels_go_all_the_way(tmp_path, capsys):
    write_cifar100(tmp_path / "hundred")
    hundred = ("--data", tmp_path / "hundred", "--out", tmp_path / "a", "--epochs", 1, "--batch", 4)
    assert status("classify", *hundred, "--quiet") == 0
    write_cifar10(tmp_path / "ten")
    ten = ("--data", tmp_path / "ten", "--out", tmp_path / "b", "--epochs", 1, "--batch", 8, "--json")
    human = human_file(tmp_path / "human.pt")
    assert status("classify", *ten, "--noise", "human:worse", "--human-labels", human) == 0
    assert json.loads(capsys.readouterr().out)["wrong_labels"] == 1.0


def test_a_signal_while_the_list_is_written_comes_too_late(dirty, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"

    def interrupted(folder, epochs, write=run_folder.write_curves):
        os.kill(os.getpid(), signal.SIGTERM)
        write(folder, epochs)

    monkeypatch.setattr(run_folder, "write_curves", interrupted)
    assert status("classify", "--data", dirty, "--out", run, "--epochs", 1, "--json", *CLASSIFY) == 143
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.endswith("stopped after 1 of 1 epochs: go on with --resume\n")  # in the epoch's writing
    assert status("classify", "--data", dirty, "--out", run, "--epochs", 1, "--json", "--resume", *CLASSIFY) == 143
    assert json.loads(capsys.readouterr().out) == json.loads((run / "summary.json").read_text())
    assert len((run / "labels.csv").read_text().splitlines()) == 81


def test_a_rank_alone_does_not_silence_a_single_process(dirty, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    assert status("classify", "--data", dirty, "--out", tmp_path / "run", "--epochs", 1, *CLASSIFY) == 0
    assert "epoch 1/1" in capsys.readouterr().err


def test_world_size_without_torchrun_is_said_in_a_sentence(dirty, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert status("classify", "--data", dirty, "--out", tmp_path / "run") == 1
    assert "LOCAL_RANK is not: start the processes by torchrun" in capsys.readouterr().err


def test_processes_of_torchrun_end_on_ctrl_c_and_go_on(dirty, tmp_path):
    run = tmp_path / "run"
    arguments = [
        "--data",
        str(dirty),
        "--out",
        str(run),
        "--epochs",
        "100",
        "--shares",
        "2",
        *(str(a) for a in CLASSIFY),
    ]
    with started([*TORCHRUN, *arguments], tmp_path, OMP_NUM_THREADS="1") as process:
        until((run / "checkpoint.pt").exists)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, err = process.communicate(timeout=60)
    assert re.search(r"stopped after \d+ of 100 epochs: go on with --resume\n", err)
    before = (run / "metrics.csv").read_text()
    assert 0 < len(before.splitlines()) - 1 < 100
    assert status("classify", *arguments, "--resume", "--quiet") == 0
    assert (run / "metrics.csv").read_text().startswith(before)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_killed_run_goes_on_and_ends_bit_equal(dirty, tmp_path, number, code):
    arguments = ["--data", str(dirty), "--epochs", "6", *(str(a) for a in CLASSIFY)]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert status("classify", *arguments, "--out", whole, "--quiet") == 0
    command = ["-m", "dipsop", "classify", *arguments, "--out", str(killed)]
    with started(command, tmp_path, OMP_NUM_THREADS="1") as process:
        until((killed / "checkpoint.pt").exists)
        process.send_signal(number)
        _, err = process.communicate()
    assert "Traceback" not in err
    if not (killed / "summary.json").exists():
        assert process.returncode == code
        assert number == signal.SIGKILL or re.search(r"stopped after \d of 6 epochs: go on with --resume\n$", err)
    assert status("classify", *arguments, "--out", killed, "--resume", "--quiet") == 0
    a, b = (run_folder.load_checkpoint(run)[0] for run in (whole, killed))
    assert a["epoch"] == b["epoch"] == 6
    assert all((a["network"][name] == b["network"][name]).all() for name in a["network"])
    assert (a["u"] == b["u"]).all()
    assert (whole / "labels.csv").read_text() == (killed / "labels.csv").read_text()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--data", "nowhere"), "nowhere does not exist"),
        (("--data", "n" * 300), "cannot be looked into"),
        (("--data", "data", "--out", "n" * 300), "cannot be looked into"),
        (("--data", "cifar10"), r"CIFAR-10 is not in .*--fetch"),
        (("--data", "empty"), "no folders with images"),
        (("--data", "data", "--noise", "symmetric:0.4"), "leave it out for your own"),
        (("--data", "ten", "--noise", "human:worse"), "--human-labels"),
        (("--data", "data", "--shares", "3"), "choose --batch a multiple"),
        (("--data", "data", "--shares", "16"), "2 or more each"),
        (("--data", "data", "--lr", "1e37", "--epochs", "3"), "no longer a finite number"),
    ],
)
def test_what_goes_wrong_is_said_in_one_sentence(dirty, tmp_path, monkeypatch, capsys, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "empty").mkdir()
    write_cifar10(tmp_path / "ten")
    size = ("--size", 16) if {"cifar10", "ten"}.isdisjoint(arguments) else ()
    assert status("classify", "--out", "run", *size, "--batch", 16, "--network", "fast", "--quiet", *arguments) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.search(complaint, said)


@pytest.mark.parametrize("noise", ["symmetric", "symmetric:2", "human:nobody", "loud:0.1"])
def test_a_noise_that_is_none_is_a_bad_option(tmp_path, noise, capsys):
    write_cifar10(tmp_path)
    assert status("classify", "--data", tmp_path, "--out", tmp_path / "run", "--noise", noise) == 2
    assert "--noise" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "arguments"),
    [
        ("--human-labels", ("--human-labels", "human.pt")),
        ("--human-labels", ("--human-labels", "human.pt", "--noise", "symmetric:0.4")),
        ("--fetch", ("--fetch",)),
        ("--size", ("--data", "cifar10", "--size", "16")),
        ("--test-fraction", ("--data", "cifar100", "--test-fraction", "0.1")),
        ("--rate-u", ("--rate-u", "1", "--method", "ce")),
        ("--rate-v", ("--rate-v", "1", "--method", "elr", "--recipe", "sop")),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(dirty, tmp_path, option, arguments, capsys):
    run = tmp_path / "run"
    assert status("classify", "--data", dirty, "--out", run, *arguments) == 2
    assert f"Invalid value for {option}" in capsys.readouterr().err
    assert not run.exists()


def test_a_folder_of_cifar_has_its_own_size_and_one_of_that_name_need_not(dirty, tmp_path, monkeypatch, capsys):
    write_cifar10(tmp_path / "there")
    options = ("--out", tmp_path / "run", "--epochs", 1, "--quiet", *CLASSIFY)
    assert status("classify", "--data", tmp_path / "there", *options) == 2
    assert "Invalid value for --size" in capsys.readouterr().err
    dirty.rename(tmp_path / "cifar10")
    monkeypatch.chdir(tmp_path)
    assert status("classify", "--data", "cifar10", "--network", "fast", *options) == 0


def test_the_page_says_what_to_do_next_with_all_corrections_so_far(dirty, tmp_path, monkeypatch, capsys):
    """What it says is done as it stands there, but for what the person saved and the new places."""
    monkeypatch.chdir(tmp_path)
    dirty.rename(tmp_path / "my photos")
    heading = "sample,given_label,decision,label\n"
    Path("first.csv").write_text(heading + "my photos/red/blue0.png,red,change,blue\n")
    options = ("--epochs", 1, "--network", "fast", "--seed", 1, "--test-fraction", 0.2, "--images", 60, *CLASSIFY)
    command = ("classify", "--data", "my photos", "--out", "run", "--corrections", "first.csv", *options)
    assert status(*command, "--quiet") == 0
    Path("corrections.csv").write_text(heading + "my photos/red/blue0.png,blue,keep,blue\n")
    page = Path("run/labels.html").read_text()
    said = json.loads(re.search(r'"commands": (\[.*?\])', page)[1])
    for line in said:
        dipsop, *arguments = shlex.split(line)
        assert dipsop == "dipsop"
        assert status(*arguments, "--quiet") == 0, capsys.readouterr().err
    first, again = (run_folder.load_config(Path(run)) for run in ("run", "AGAIN"))
    assert again | {"corrections": ["first.csv"]} == first
    assert Path("CORRECTED/blue/blue0.png").exists()


@pytest.mark.parametrize("installed", [True, False])
def test_the_next_run_is_asked_for_as_this_one_was(dirty, monkeypatch, installed):
    monkeypatch.setattr(features, "installed", lambda: installed)

    def shown(**changes):
        job = ClassifyJob(data=str(dirty), out=Path("run"), **changes)
        nothing = np.empty(0, np.int64)
        (line,) = next_round.commands(job, Dataset(nothing, nothing, None, (), nothing, nothing))
        return line.removeprefix(f"dipsop classify --data {dirty}").removesuffix(
            " --corrections corrections.csv --out AGAIN"
        )

    common = {"dtype": "auto", "compile": False}
    assert shown(recipe="fast", settings=common) == (" --recipe fast" if installed else "")
    assert shown(recipe="pretrained", settings=common | {"network": "pretrained"}) == " --features run/features.npz"
    scratch = common | {"method": "sop+", "lr": 0.05, "rate_u": 1.0, "shares": 2, "compile": True}
    assert shown(recipe="sop", settings=scratch, device="cuda", seed=3) == (
        " --recipe sop --compile --method sop+ --lr 0.05 --rate-u 1.0 --shares 2 --seed 3 --device cuda"
    )


def test_every_round_of_corrections_has_names_of_its_own():
    job, out = ClassifyJob(data="photos", out=Path("run")), []
    nothing = np.empty(0, np.int64)
    data = Dataset(nothing, nothing, None, (), nothing, nothing, paths=())
    for _ in range(3):
        train, relabel = (shlex.split(line) for line in next_round.commands(job, data))
        files = [Path(train[k + 1]) for k, part in enumerate(train) if part == "--corrections"]
        assert relabel == ["dipsop", "relabel", "photos", *map(str, files), "--out", "CORRECTED"]
        assert str(files[-1]) == next_round.saved_as(job)
        out.append(train[-1])
        job = replace(job, out=Path("runs", train[-1]), corrections=tuple(Path("Downloads", f.name) for f in files))
    assert [path.name for path in job.corrections] == ["corrections.csv", "corrections-2.csv", "corrections-3.csv"]
    assert out == ["AGAIN", "AGAIN-2", "AGAIN-3"]
    for numbered in ("corrections (1).csv", "corrections(2).csv"):  # as a browser saves what is there already
        assert next_round.saved_as(replace(job, corrections=(Path(numbered),))) == "corrections-2.csv"
    copied = next_round.commands(replace(job, data="CORRECTED"), data)[1]
    assert copied.endswith("--out CORRECTED-2")


@pytest.mark.parametrize("data", [".", ".."])
def test_the_copy_is_proposed_beside_the_data_where_one_works_within_them(tmp_path, monkeypatch, data):
    (tmp_path / "CORRECTED" / "cat").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "CORRECTED" / ("cat" if data == ".." else ""))
    nothing = np.empty(0, np.int64)
    paths = Dataset(nothing, nothing, None, (), nothing, nothing, paths=())
    relabel = shlex.split(next_round.commands(ClassifyJob(data=data, out=Path("run")), paths)[1])
    assert relabel[2:] == [data, "corrections.csv", "--out", str(tmp_path / "CORRECTED-2")]


def test_labels_that_a_person_decided_on_are_not_doubted_by_any_method(dirty, tmp_path):
    wrong = [f"{dirty}/{there}/{it}{k}.png,{there},keep,{there}" for there, it in (("red", "blue"), ("blue", "red"))
             for k in range(3)]  # fmt: skip
    decided = tmp_path / "c.csv"
    decided.write_text("sample,given_label,decision,label\n" + "".join(line + "\n" for line in wrong))
    for method in ("ce", "elr"):
        run = tmp_path / method
        options = ("--method", method, "--epochs", 6, "--network", "fast", "--quiet", *CLASSIFY)
        assert status("classify", "--data", dirty, "--out", run, "--corrections", decided, *options) == 0
        rows = list(csv.DictReader((run / "labels.csv").read_text().splitlines()))
        assert {row["wrong"] for row in rows[-6:]} == {"no"}
        assert {row["sample"] for row in rows[-6:]} == {line.split(",")[0] for line in wrong}


def test_the_rates_of_u_and_v_are_for_the_method_that_is_used(dirty, tmp_path):
    arguments = ("classify", "--data", dirty, "--epochs", 1, "--quiet", *CLASSIFY, "--rate-u", 2, "--rate-v", 3)
    for name, method in (("recipe", ()), ("method", ("--method", "sop+"))):
        assert status(*arguments, *method, "--out", tmp_path / name) == 0
        train = run_folder.load_config(tmp_path / name)["train"]
        assert (train["rate_u"], train["rate_v"]) == (2, 3)


def test_one_ctrl_c_ends_the_epoch_and_says_how_to_go_on(dirty, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    learn, steps = Trainer._learn, []

    def interrupted(self, *arguments):
        steps.append(self.epochs_done)
        if len(steps) == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return learn(self, *arguments)

    monkeypatch.setattr(Trainer, "_learn", interrupted)
    assert status("classify", "--data", dirty, "--out", run, "--epochs", 3, *CLASSIFY) == 130
    assert steps == 5 * [0] + 2 * [1]
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.endswith("stopped after 1 of 3 epochs: go on with --resume\n")
    assert not (run / "labels.csv").exists()


def test_a_second_ctrl_c_leaves_at_once(dirty, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    arguments = ("classify", "--data", dirty, "--out", run, *CLASSIFY)
    assert status(*arguments, "--epochs", 1, "--quiet") == 0
    (run / "config.json").write_text((run / "config.json").read_text().replace('"epochs": 1', '"epochs": 3'))

    def impatient(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("went on")

    monkeypatch.setattr(Trainer, "_learn", impatient)
    assert status(*arguments, "--epochs", 3, "--resume") == 130
    assert capsys.readouterr().err == "stopped after 1 of 3 epochs: go on with --resume\n"


@pytest.mark.parametrize("name", ["labels.csv", "summary.json", "labels.html", "labels_files/photo.png", "labels.npz"])
def test_a_run_replaces_nothing_that_is_not_its_own(dirty, tmp_path, name, capsys):
    own = tmp_path / "mine" / name
    own.parent.mkdir(parents=True)
    own.write_bytes(b"of its owner")
    before = listing(tmp_path / "mine")
    assert status("classify", "--data", dirty, "--out", tmp_path / "mine", *CLASSIFY) == 1
    complaint = f"/{name.split('/')[0]} is there, and of no run: choose another --out, a new folder.\n"
    assert capsys.readouterr().err.endswith(complaint)
    assert listing(tmp_path / "mine") == before
    assert status("classify", "--data", dirty, "--out", dirty / ".." / dirty.name, *CLASSIFY) == 1
    assert "is the data, to which nothing is added" in capsys.readouterr().err


def test_images_that_are_not_asked_for_are_not_read(dirty, tmp_path, capsys):
    (dirty / "red" / "zzz.png").write_bytes(b"\x89PNG damaged")
    command = ("classify", "--data", dirty, "--epochs", 1, "--quiet", *CLASSIFY)
    assert status(*command, "--out", tmp_path / "all") == 1
    assert "zzz.png cannot be read" in capsys.readouterr().err
    assert status(*command, "--out", tmp_path / "some", "--images", 20) == 0


def test_a_finished_run_is_not_overwritten(dirty, tmp_path, capsys):
    run = tmp_path / "run"
    arguments = ("classify", "--data", dirty, "--out", run, "--epochs", 1, "--quiet", *CLASSIFY)
    assert status(*arguments, "--resume") == 0  # killed before it began, a run begins
    before = (run / "checkpoint.pt").read_bytes()
    assert status(*arguments) == 1
    assert "holds a run already" in capsys.readouterr().err
    assert status(*arguments, "--resume", "--seed", 5) == 1
    assert "other settings (seed 0, not 5): give those" in capsys.readouterr().err
    assert status(*arguments, "--resume", "--images", 50) == 1
    assert "other images or labels" in capsys.readouterr().err
    state, epochs = run_folder.load_checkpoint(run)
    run_folder.save_checkpoint(run, state | {"network": {}}, epochs)
    assert status(*arguments, "--resume") == 1
    assert "of another version" in capsys.readouterr().err
    (run / "checkpoint.pt").write_bytes(before)
    (run / "labels.npz").write_bytes(b"PK")
    assert status(*arguments, "--resume") == 1
    assert "damaged" in capsys.readouterr().err
    assert (run / "checkpoint.pt").read_bytes() == before


def test_predict_replaces_nothing_of_the_run_and_names_what_the_system_does_not_let_it_see(tmp_path, dirty, capsys):
    run = tmp_path / "run"
    assert status("classify", "--data", dirty, "--out", run, "--epochs", 1, "--quiet", *CLASSIFY) == 0
    before = listing(run)
    assert status("predict", run, dirty, "--csv", run / "labels.csv") == 1
    assert "labels.csv is an input of the same command" in capsys.readouterr().err
    assert listing(run) == before
    assert status("predict", run, "x" * 300 + ".png", dirty / "red" / "red9.png") == 1
    said = capsys.readouterr()
    assert "(file name too long)" in said.err
    assert "red9.png  " in said.out


def test_predict_refuses_what_is_no_run_or_no_image(tmp_path, dirty, capsys):
    assert status("predict", tmp_path, dirty / "red" / "red9.png") == 1
    assert "name the folder of a run" in capsys.readouterr().err
    run = tmp_path / "run"
    assert status("classify", "--data", dirty, "--out", run, "--epochs", 1, "--quiet", *CLASSIFY) == 0
    assert status("predict", run, tmp_path / "none.png") == 1
    assert "none.png cannot be read" in capsys.readouterr().err
    (run / "checkpoint.pt").write_bytes(b"broken")
    assert status("predict", run, dirty / "red" / "red9.png") == 1
    assert "damaged" in capsys.readouterr().err
