"""`dipsop export` and `dipsop predict` on a finished run, as other programs read what they write."""

import ast
import csv
import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import CLASSIFY, listing, red_and_blue, status
from test_classification_data import write_cifar10

from dipsop.classification import features, image_folder, issues, report, run_folder
from dipsop.errors import DipsopError
from dipsop.jobs import trained


@pytest.fixture(scope="module")
def trained_on(tmp_path_factory):
    """A folder with photos/ of red and of blue images, two in the wrong place, and run/."""
    base = tmp_path_factory.mktemp("export")
    red_and_blue(base / "photos", each=24, wrong=1, between=" ")
    (base / "photos" / "red" / "notes.txt").write_text("no image")
    before = os.getcwd()
    os.chdir(base)
    try:
        assert status("classify", "--data", "photos", "--out", "run", "--epochs", 12, "--quiet", *CLASSIFY) == 0
    finally:
        os.chdir(before)
    return base


@pytest.fixture
def run(trained_on, tmp_path, monkeypatch):
    """That run, as seen from the folder it was started in; exports go to tmp_path."""
    monkeypatch.chdir(trained_on)
    return "run"


def rows_of(path="run/labels.csv"):
    with open(path, newline="") as text:
        return list(csv.DictReader(text))


def test_cleanlab_has_a_line_per_sample_in_the_order_of_the_data(run, tmp_path):
    out = tmp_path / "issues.csv"
    assert status("export", run, "--to", "cleanlab", "--out", out, "--quiet") == 0
    found, listed = rows_of(out), {row["sample"]: row for row in rows_of()}
    assert list(found[0]) == ["sample", "is_label_issue", "label_score", "given_label", "predicted_label"]
    samples = run_folder.load_samples(Path(run), ["blue", "red"])
    assert [(row["sample"], row["given_label"]) for row in found] == samples
    for row in found:
        line = listed[row["sample"]]
        assert (row["given_label"], row["predicted_label"]) == (line["given_label"], line["suggested_label"])
        assert float(row["label_score"]) == pytest.approx((int(line["rank"]) - 1) / 47)
        assert row["is_label_issue"] == str(line["given_label"] != line["suggested_label"])


def test_cleanlab_has_an_image_that_is_listed_twice_in_both_its_places():
    samples = [("a", "cat"), ("b", "cat"), ("a", "dog"), ("c", "dog"), ("b", "cat")]
    ranked = [samples[k] for k in (4, 2, 0, 3, 1)]
    rows = [{"rank": str(rank), "sample": name, "given_label": label, "suggested_label": "cat", "wrong": "no"}
            for rank, (name, label) in enumerate(ranked, 1)]  # fmt: skip
    columns = issues.cleanlab(rows, samples)
    assert list(zip(columns["sample"], columns["given_label"], strict=True)) == samples
    assert columns["label_score"] == [0.5, 0, 0.25, 0.75, 1]
    edited = issues.cleanlab([*rows, rows[0] | {"sample": "new"}], samples)
    assert edited["sample"] == ["a", "b", "a", "c", "b", "new"]


def test_what_the_list_calls_wrong_is_an_issue():
    row = {"given_label": "cat", "suggested_label": "dog"}
    assert not issues.is_issue(row | {"wrong": "no"})
    assert issues.is_issue(row | {"suggested_label": "cat", "wrong": "yes"})


def test_cleanlab_is_parquet_where_pyarrow_is(run, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    out = tmp_path / "issues.parquet"
    assert status("export", run, "--to", "cleanlab", "--out", out) == 0
    assert parquet.read_table(out).column_names == list(issues.COLUMNS)


def test_a_name_that_is_no_text_goes_into_csv_and_not_into_parquet():
    name = os.fsdecode(b"caf\xe9.png")
    columns = {"sample": ["a.png", name], "label_score": [0.0, 1.0]}
    assert issues.as_csv(columns).endswith(b"caf\xe9.png,1.0\n")
    with pytest.raises(DipsopError, match=r"^'caf\\udce9\.png' is not UTF-8, .*: name a \.csv instead\.$"):
        issues.as_parquet(columns)


def test_a_class_whose_name_is_no_text_is_refused_for_label_studio_and_nothing_written(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "run")
    config = run_folder.load_config(Path(run)) | {"classes": [os.fsdecode(b"caf\xe9"), "red"]}
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    assert status("export", tmp_path / "run", "--to", "label-studio", "--out", tmp_path / "tasks.json") == 1
    assert r"'caf\udce9' is not UTF-8, which classes in Label Studio have to be: give" in capsys.readouterr().err
    assert not (tmp_path / "tasks.json").exists()


def test_what_is_not_installed_is_said_with_the_remedy(run, tmp_path, monkeypatch, capsys):
    for package in ("pyarrow", "safetensors.torch", "onnx"):
        monkeypatch.setitem(sys.modules, package, None)
    asked = {"cleanlab": ("x.parquet", "pip install pyarrow"), "safetensors": ("x.safetensors", "dipsop[export]"),
             "onnx": ("x.onnx", "dipsop[export]")}  # fmt: skip
    for to, (name, remedy) in asked.items():
        assert status("export", run, "--to", to, "--out", tmp_path / name) == 1
        assert remedy in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_label_studio_tasks_carry_the_suggestion_and_lead_to_the_files(run, tmp_path, capsys):
    out = tmp_path / "tasks.json"
    assert status("export", run, "--to", "label-studio", "--out", out) == 0
    tasks = json.loads(out.read_text())
    listed = rows_of()
    assert [task["data"]["sample"] for task in tasks] == [row["sample"] for row in listed]
    first = tasks[0]
    assert set(first) == {"data", "meta", "predictions"}
    assert first["meta"] == {"dipsop_export_version": 1}
    assert set(first["data"]) == {"image", "sample", "given_label", "rank", "score"}
    assert first["data"]["image"].endswith("%20" + listed[0]["sample"].split(" ")[1])
    assert first["data"]["image"].startswith(f"/data/local-files/?d={os.getcwd().lstrip('/')}/photos/")
    (result,) = first["predictions"][0]["result"]
    assert result["value"] == {"choices": [listed[0]["suggested_label"]]}
    said = capsys.readouterr().out
    assert f'<Choices name="{result["from_name"]}" toName="{result["to_name"]}"' in said
    assert '<Choice value="blue"/><Choice value="red"/>' in said
    assert f"add {os.getcwd()}/photos to the project as a local storage" in said  # else it answers 404 for every image


def test_fiftyone_gets_its_labels_and_where_the_images_are(run, tmp_path):
    out = tmp_path / "dataset"
    assert status("export", run, "--to", "fiftyone", "--out", out) == 0
    labels, files = (json.loads((out / name).read_text()) for name in ("labels.json", "data.json"))
    assert labels["classes"] == ["blue", "red"]
    assert labels["labels"].keys() == files.keys()
    for row in rows_of():
        key = f"{int(row['rank']):06d}"
        one = labels["labels"][key]
        assert files[key] == os.path.abspath(row["sample"])
        assert labels["classes"][one["label"]] == row["given_label"]
        assert one["attributes"]["suggested_label"] == row["suggested_label"]
        assert 0 <= one["confidence"] <= 1


@pytest.mark.parametrize("name", ["labels.json", "data.json"])
def test_fiftyone_does_not_replace_the_labels_of_others_and_does_its_own(run, tmp_path, capsys, name):
    out = tmp_path / "dataset"
    out.mkdir()
    (out / name).write_text('{"classes": ["mine"]}')
    assert status("export", run, "--to", "fiftyone", "--out", out) == 1
    assert f"{name} is there already, and not of dipsop: name another folder" in capsys.readouterr().err
    assert listing(out) == {name: b'{"classes": ["mine"]}'}
    (out / name).unlink()
    for _ in range(2):
        assert status("export", run, "--to", "fiftyone", "--out", out, "--quiet") == 0


def test_the_call_that_loads_the_folder_into_fiftyone_is_said_and_names_its_manifest(run, tmp_path, capsys):
    out = tmp_path / "caf\xe9's dataset"
    assert status("export", run, "--to", "fiftyone", "--out", out) == 0
    call = ast.parse(capsys.readouterr().out.splitlines()[-1].removeprefix("to load it: "), mode="eval").body
    assert ast.unparse(call.func) == "fiftyone.Dataset.from_dir"
    assert ast.literal_eval(call.args[0]) == str(out)
    (option,) = call.keywords
    assert option.arg == "data_path"  # without it FiftyOne looks for a folder data/
    assert (out / ast.literal_eval(option.value)).is_file()


def test_a_run_whose_pictures_have_gone_is_said_and_nothing_written(run, tmp_path, monkeypatch, capsys):
    run = os.path.abspath(run)
    monkeypatch.chdir(tmp_path)
    for to, name in (("label-studio", "tasks.json"), ("fiftyone", "dataset")):
        assert status("export", run, "--to", to, "--out", name) == 1
        assert "is not there any more: go to the folder that the run was started in" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert status("export", run, "--to", "cleanlab", "--out", "issues.csv", "--quiet") == 0


def test_images_that_are_no_files_are_exported_to_cleanlab_alone(tmp_path, capsys):
    write_cifar10(tmp_path)
    run = tmp_path / "run"
    assert status("classify", "--data", tmp_path, "--out", run, "--epochs", 1, "--batch", 8, "--quiet") == 0
    assert status("export", run, "--to", "fiftyone", "--out", tmp_path / "dataset") == 1
    assert "are no files" in capsys.readouterr().err
    assert status("export", run, "--to", "cleanlab", "--out", tmp_path / "issues.csv", "--quiet") == 0
    names = [int(row["sample"]) for row in rows_of(tmp_path / "issues.csv")]
    assert names == list(range(len(names)))


@pytest.mark.parametrize(
    ("to", "out", "complaint"),
    [
        ("onnx", "model.pt", "unknown suffix: use .onnx"),
        ("cleanlab", "run/labels.csv", "an input of the same command"),
        ("cleanlab", "nowhere/issues.csv", "its folder does not exist"),
        ("fiftyone", "run/labels.csv", "cannot be made a folder"),
    ],
)
def test_an_export_that_cannot_be_written_is_refused(run, trained_on, to, out, complaint, capsys):
    before = listing(trained_on)
    assert status("export", run, "--to", to, "--out", out) == 1
    assert complaint in capsys.readouterr().err
    assert listing(trained_on) == before


@pytest.mark.parametrize("name", ["a\rb.png", "a\nb.png", "a\r\nb.png", '"a", \r.png', "\r", os.fsdecode(b"\xe9")])
def test_a_name_with_line_breaks_is_read_again_from_the_list(tmp_path, name):
    listed = [report.Suspect(1, name, f"{name} class", "dog", 0.5, 0.25), report.Suspect(2, "b", "dog", "dog", 0, 1)]
    run_folder.write_suspects(tmp_path, listed)
    first, second = run_folder.load_suspects(tmp_path)
    assert (first["sample"], first["given_label"], first["wrong"]) == (name, f"{name} class", "yes")
    assert second["sample"] == "b"
    assert (tmp_path / "labels.csv").read_bytes().endswith(b"\n2,b,dog,dog,0,1,no\n")


def test_a_list_that_a_spreadsheet_saved_anew_is_read(tmp_path):
    run_folder.write_suspects(tmp_path, [report.Suspect(1, "a", "cat", "dog", 0.5, 0.25)])
    written = (tmp_path / "labels.csv").read_bytes()
    (tmp_path / "labels.csv").write_bytes(b"\xef\xbb\xbf" + written.replace(b"\n", b"\r\n"))
    (row,) = run_folder.load_suspects(tmp_path)
    assert (row["rank"], row["wrong"]) == ("1", "yes")


@pytest.mark.parametrize("to", ["cleanlab", "label-studio", "fiftyone"])
def test_a_list_whose_numbers_a_person_changed_is_said_by_its_entry(run, tmp_path, capsys, to):
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "labels.csv"
    written = path.read_text()
    out = tmp_path / {"cleanlab": "a.csv", "label-studio": "a.json", "fiftyone": "folder"}[to]
    for before, after in (("\n2,", "\n2.0,"), ("\n2,", "\n,")):
        path.write_text(written.replace(before, after, 1))
        assert status("export", tmp_path / "run", "--to", to, "--out", out) == 1
        assert "labels.csv, entry 2 has no number where there was one: restore it." in capsys.readouterr().err
    assert not out.exists()


def test_a_class_that_a_person_made_up_is_said(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "labels.csv"
    as_given = re.compile(r"^(\d+,[^,]*),red,", re.MULTILINE)
    text, changed = as_given.subn(r"\1,green,", path.read_text(), count=1)
    assert changed == 1
    path.write_text(text)
    assert status("export", tmp_path / "run", "--to", "fiftyone", "--out", tmp_path / "folder") == 1
    assert "green is no class of the run" in capsys.readouterr().err
    assert not (tmp_path / "folder").exists()


def test_a_list_that_is_missing_or_damaged_is_said(tmp_path, capsys):
    out = tmp_path / "issues.csv"
    assert status("export", tmp_path, "--to", "cleanlab", "--out", out) == 1
    assert "name the folder of a finished run" in capsys.readouterr().err
    (tmp_path / "labels.csv").write_text("rank,sample\n1,a.png\n")
    assert status("export", tmp_path, "--to", "cleanlab", "--out", out) == 1
    assert "labels.csv is damaged" in capsys.readouterr().err


def test_safetensors_hold_the_weights_and_what_they_need(run, tmp_path):
    safetensors = pytest.importorskip("safetensors", reason="needs safetensors")
    out = tmp_path / "model.safetensors"
    assert status("export", run, "--to", "safetensors", "--out", out) == 0
    classifier = trained.load(Path(run), "cpu").classifier
    with safetensors.safe_open(out, "pt") as packed:
        told = packed.metadata()
        tensors = {name: packed.get_tensor(name) for name in packed.keys()}  # noqa: SIM118, it is no mapping
    assert tensors.keys() == classifier.state_dict().keys()
    assert all(torch.equal(tensors[name], value) for name, value in classifier.state_dict().items())
    assert json.loads(told["classes"]) == ["blue", "red"]
    assert (told["size"], told["network"], told["version"]) == ("16", "fast", "1")
    assert json.loads(told["mean"]) == pytest.approx(classifier.mean.flatten().tolist())


def test_onnx_says_what_the_model_says_of_any_number_of_images(run, tmp_path):
    pytest.importorskip("onnx", reason="needs onnx")
    pytest.importorskip("onnxscript", reason="needs onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    out = tmp_path / "model.onnx"
    assert status("export", run, "--to", "onnx", "--out", out) == 0
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    classifier = trained.load(Path(run), "cpu", "float32").classifier
    for count in (1, 3):
        images = torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(count))
        (logits,) = session.run(["logits"], {"images": images.numpy()})
        with torch.no_grad():
            assert np.abs(logits - classifier(images).numpy()).max() < 1e-4
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["classes"]) == ["blue", "red"]
    assert told["size"] == "16"


@pytest.mark.parametrize("kind", ["folder", "cifar"])
def test_a_model_on_features_is_exported_with_the_networks_that_make_them(run, tmp_path, kind):
    if not features.installed():
        pytest.skip("the extra dipsop[features] is not installed")
    for package in ("onnx", "onnxscript", "safetensors"):
        pytest.importorskip(package, reason=f"needs {package}")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    if kind == "cifar":
        write_cifar10(tmp_path)
    data, options = ("photos", ("--size", 48)) if kind == "folder" else (tmp_path, ("--images", 20))
    options = (*options, "--network", "pretrained", "--epochs", 3, "--quiet")
    assert status("classify", "--data", data, "--out", tmp_path / "seen", *options) == 0
    for suffix in ("onnx", "safetensors"):
        assert status("export", tmp_path / "seen", "--to", suffix, "--out", tmp_path / f"model.{suffix}") == 0
    model = trained.load(tmp_path / "seen", "cpu")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 3):
        images = np.random.default_rng(count).integers(0, 256, (count, 3, model.side, model.side)).astype(np.uint8)
        (logits,) = session.run(["logits"], {"images": (images / np.float32(255)).astype(np.float32)})
        said = torch.from_numpy(logits).softmax(1)
        torch.testing.assert_close(said, model.probabilities(images), atol=2e-3, rtol=0)
    assert session.get_modelmeta().custom_metadata_map["size"] == str(model.side)
    assert (tmp_path / "model.safetensors").stat().st_size > 20_000_000


def test_predict_takes_folders_and_goes_on_after_what_it_cannot_read(run, tmp_path, capsys):
    (tmp_path / "new" / "deep").mkdir(parents=True)
    for name in ("deep/b.png", "a.png"):
        shutil.copy("photos/red/red 9.png", tmp_path / "new" / name)
    (tmp_path / "new" / "broken.png").write_bytes(b"no image")
    (tmp_path / "new" / "readme.txt").write_text("passed over")
    assert status("predict", run, tmp_path / "new", "photos/blue/blue 9.png") == 1
    said = capsys.readouterr()
    lines = [line.split("  ") for line in said.out.splitlines()]
    assert [line[:2] for line in lines] == [
        [str(tmp_path / "new" / "a.png"), "red"],
        [str(tmp_path / "new" / "deep" / "b.png"), "red"],
        ["photos/blue/blue 9.png", "blue"],
    ]
    note, complaint = said.err.splitlines()
    assert note.startswith("note: 1 file is left out, of no kind that is read (1 .txt)")
    assert "broken.png cannot be read" in complaint


def test_predict_lists_the_likeliest_classes_and_writes_them_as_csv(run, tmp_path, capsys):
    image = "photos/red/red 9.png"
    assert status("predict", run, image, "--top", 5) == 0
    line = capsys.readouterr().out.rstrip("\n").split("  ")
    assert line[0] == image
    assert line[1::2] == ["red", "blue"]
    assert sum(map(float, line[2::2])) == pytest.approx(1, abs=2e-3)
    assert status("predict", run, image, "--top", 2, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert [one["label"] for one in said["top"]] == ["red", "blue"]
    assert said["probability"] == said["top"][0]["probability"]
    out = tmp_path / "found.csv"
    assert status("predict", run, "photos", "--top", 2, "--csv", out) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("note: 1 file is left out")  # notes.txt
    found = rows_of(out)
    assert list(found[0]) == ["image", "rank", "label", "probability"]
    assert [row["image"] for row in found[::2]] == [str(path) for path in image_folder.images_below(Path("photos"))]
    assert [row["rank"] for row in found] == ["1", "2"] * 48


def test_a_prediction_that_is_stopped_writes_the_csv_so_far(run, tmp_path, monkeypatch, capsys):
    read, seen = image_folder.read, []

    def stopped_at_the_third(paths, side):
        seen.extend(paths)
        if len(seen) == 3:
            signal.raise_signal(signal.SIGTERM)
        return read(paths, side)

    def unheard(*_):
        raise AssertionError("nobody listens")

    monkeypatch.setattr(image_folder, "read", stopped_at_the_third)
    former = signal.signal(signal.SIGTERM, unheard)
    try:
        assert status("predict", run, "photos", "--csv", tmp_path / "found.csv") == 143
    finally:
        signal.signal(signal.SIGTERM, former)
    assert [row["image"] for row in rows_of(tmp_path / "found.csv")] == list(map(str, seen))
    assert capsys.readouterr().err.endswith("found.csv has the images so far\n")


def test_predict_refuses_what_it_cannot_do(run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert status("predict", run, tmp_path / "empty") == 1
    assert "holds no images" in capsys.readouterr().err
    assert status("predict", run, "photos", "--csv", tmp_path / "found.txt") == 1
    assert "unknown suffix" in capsys.readouterr().err
    assert status("predict", run, "photos", "--csv", tmp_path / "found.csv", "--json") == 2


def test_the_exported_score_is_from_0_to_1():
    assert [issues.label_score({"rank": str(k)}, 3) for k in (1, 2, 3)] == [0, 0.5, 1]
    assert issues.label_score({"rank": "1"}, 1) == 0
    with pytest.raises(DipsopError):
        issues.fiftyone([{"rank": "1", "sample": "gone.png", "given_label": "a", "suggested_label": "a",
                          "given_probability": "1", "score": "0", "wrong": "no"}], ["a"])  # fmt: skip
