"""Every example, small."""

import csv
import hashlib
import json
import re
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import before_after
import benchmark_classification
import benchmark_labels
import benchmark_restoration
import classification_runs
import damage
import deep_image_prior
import effective_lambda
import gallery
import label_noise_curves
import neural_collapse
import numpy as np
import pytest
import real_damage
import rivals
import speed
import torch
import train_start
from test_classification_data import LABELS, human_file, write_cifar10
from test_features import blobs

import dipsop
from dipsop.classification import label_noise
from dipsop.classification.config import TrainConfig
from dipsop.pictures import images
from dipsop.pictures.quality import psnr


@pytest.fixture
def sample(tmp_path):
    rows, columns = np.mgrid[:40, :48]
    path = tmp_path / "scene.png"
    images.save_values(path, np.stack([rows / 40, columns / 48, (rows + columns) / 90], -1).astype(np.float32))
    return path


def test_before_after_shows_three_parts_side_by_side(sample, tmp_path):
    out = tmp_path / "row.png"
    before_after.main([str(sample), "--out", str(out), "--steps", "2"])
    picture = images.load(out).values
    assert picture.shape == (40, 3 * 48 + 2 * before_after.GAP, 3)
    assert (picture[:, :48] == images.load(sample).values).all()


def test_dip_is_compared_with_the_peak_of_l1_and_fits_are_not_made_again(sample, tmp_path, capsys):
    asked = [str(sample), "--crop", "4", "36", "--corruptions", "random-valued:0.3", "--steps", "4", "--jobs", "1"]
    deep_image_prior.main([*asked, "--seeds", "0", "--out", str(tmp_path)])
    first = json.loads((tmp_path / "deep_image_prior.json").read_text())["runs"]
    assert [(run["method"], run["crop"], run["release"]) for run in first] == [
        ("dip", [4, 36], 2),
        ("DIP-l1", [4, 36], None),
    ]
    ours, rival = first
    assert f"{ours['final'] - rival['peak']:+.2f}" in capsys.readouterr().out
    assert rival["peak"] >= rival["final"]
    deep_image_prior.main([*asked, "--seeds", "0", "1", "--methods", "dip", "--out", str(tmp_path)])
    runs = json.loads((tmp_path / "deep_image_prior.json").read_text())["runs"]
    assert runs[:2] == first
    assert [run["seed"] for run in runs] == [0, 0, 1]


def test_pairs_of_rate_and_start_are_drawn_against_alpha_and_lambda(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(effective_lambda, "LAMBDAS", (0.1, 0.2))
    monkeypatch.setattr(effective_lambda, "INIT_SCALES", (1e-5,))
    effective_lambda.main(["--steps", "1", "--jobs", "1", "--out", str(tmp_path / "lambda.png")])
    points = json.loads((tmp_path / "lambda.json").read_text())["points"]
    assert [point[:2] for point in points] == [[1e-5, 0.1], [1e-5, 0.2]]
    assert points[0][2] == pytest.approx(2 * points[1][2])  # twice the λ, half the α
    assert images.load(tmp_path / "lambda.png").samples.size > 0
    assert "| 1e-05 | 0.2 | 28.78 |" in capsys.readouterr().out


def test_benchmark_measures_methods_on_corrupted_pictures(sample, tmp_path, monkeypatch, capsys):
    def run_benchmark(*methods):
        arguments = ["--images", str(sample), "--steps", "3", "--out", str(tmp_path), "--methods", *methods]
        corruptions = ["--corruptions", "random-valued:0.3", "salt-and-pepper:0.5"]
        monkeypatch.setattr(sys, "argv", ["benchmark_restoration.py", *arguments, *corruptions])
        benchmark_restoration.main()
        return json.loads((tmp_path / "benchmark.json").read_text())["runs"]

    first = run_benchmark("input", "best median", "extremes filled")
    record = run_benchmark("input", "best median", "extremes filled", "ours:quick", "DIP-l1*2")
    assert record[: len(first)] == first  # gone on with, not made again
    runs = {(run["corruption"], run["method"]): run for run in record}
    assert len(runs) == len(record) == 10
    course = runs["random-valued:0.3", "DIP-l1*2"]
    assert course["peak_inner"] >= course["psnr_inner"]
    assert [step for step, _ in course["course"]] == [1, 2, 3, 4, 5, 6]
    assert max(value for _, value in course["course"]) == course["peak_inner"]
    assert images.load(tmp_path / "courses.png").values.shape[1] > 400
    assert runs["salt-and-pepper:0.5", "extremes filled"]["psnr"] > runs["salt-and-pepper:0.5", "best median"]["psnr"]
    assert runs["random-valued:0.3", "best median"]["psnr"] > runs["random-valued:0.3", "input"]["psnr"] + 5
    assert all(run["peak_memory"] > 1e7 for run in runs.values())
    assert runs["random-valued:0.3", "input"]["clean_changed"] == 0
    assert capsys.readouterr().out.strip().endswith((tmp_path / "benchmark.md").read_text().strip())


@pytest.mark.parametrize("corruption", benchmark_restoration.CORRUPTIONS)
def test_benchmark_corrupts_as_it_says(corruption):
    clean = np.random.default_rng(0).integers(1, 255, (64, 80, 3)).astype(np.float32) / 255
    truth, image, mask = benchmark_restoration.corrupted(clean, corruption, seed=0)
    assert image.shape == truth.shape == mask.shape == ((64, 80, 1) if "grey" in corruption else (64, 80, 3))
    assert (image[~mask] == truth[~mask]).all()
    shares = {"none": 0.0, "scratches": 0.05, "soft-scratches": 0.06}  # the last stroke goes beyond 5 %
    share = shares.get(corruption) or float([*corruption.split(":"), "0"][1])
    assert mask.mean() == pytest.approx(share, abs=0.02)
    if "shared" in corruption:
        assert (mask == mask[..., :1]).all()


@pytest.mark.parametrize("rival", sorted(rivals.RIVALS.keys() - {"BM3D", "PD-Denoising"}))
def test_rivals_keep_the_shape_and_come_nearer_to_the_truth(rival):
    if rival == "inpainted, true mask":
        pytest.importorskip("cv2", reason="needs opencv-python-headless, of the extra benchmark")
    truth = np.tile(np.linspace(0.2, 0.8, 24, dtype=np.float32)[:, None, None], (1, 20, 3))
    image = truth.copy()
    image[5, 5] = 1.0
    restored = rivals.RIVALS[rival](image, truth)
    assert restored.shape == truth.shape
    assert np.isfinite(restored).all()
    assert rival == "input" or abs(restored[5, 5, 0] - truth[5, 5, 0]) < 0.8 * abs(1 - truth[5, 5, 0])


def photograph_list(monkeypatch, folder, **named):
    rows = ["package,version,path,author,licence,sha256,kind"]
    for path, content in named.items():
        picture = folder / f"{path}.png"
        images.save_values(picture, content)
        rows.append(f"p,1,{picture.name},a,CC0,{hashlib.sha256(picture.read_bytes()).hexdigest()},photograph")
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    monkeypatch.setattr(train_start, "LIST", folder / "list.csv")


def test_start_is_made_from_the_listed_photographs_and_no_others(tmp_path, monkeypatch):
    picture = np.random.default_rng(0).random((140, 120, 3), dtype=np.float32)
    photograph_list(monkeypatch, tmp_path, one=picture)
    (sizes,) = train_start.pictures(tmp_path)
    assert [size.shape for size in sizes] == [(140, 120, 3)]
    assert train_start.pictures(tmp_path, "drawn") == []
    images.save_values(tmp_path / "one.png", 1 - picture)
    with pytest.raises(SystemExit, match="is not the file of p 1"):
        train_start.pictures(tmp_path)


def test_lessons_hide_what_is_wrong_and_trust_what_is_not(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (140, 120, 3)).astype(np.uint8)
    lessons = train_start.Lessons([[picture]], seed=0, crop=64, batch=8)
    clean, y, trust, hidden = lessons.draw()
    assert clean.shape == y.shape == trust.shape == hidden.shape == (8, 3, 64, 64)
    assert (y == clean)[hidden == 0].all()
    assert trust[hidden == 0].mean() > 0.8
    assert trust[hidden == 1].mean() < 0.3
    assert min(y.min(), trust.min()) >= 0
    assert max(y.max(), trust.max()) <= 1


def test_training_goes_on_from_its_checkpoint_and_writes_weights_that_a_fit_can_start_from(tmp_path, monkeypatch):
    picture = np.random.default_rng(0).integers(0, 255, (140, 120, 3)).astype(np.uint8)
    lessons = train_start.Lessons([[picture]], seed=0, crop=32, batch=1)
    out, checkpoint = tmp_path / "pretrained.npz", tmp_path / "start.pt"
    course = train_start.course(checkpoint, out)
    course.train(partial(train_start.step, course, lessons), seconds=0.5, lr=1e-3, out=out, held=1 / 3)
    went_on = train_start.course(checkpoint, out)
    assert went_on.steps == course.steps > 0
    for name in ("network", "average"):
        before, after = getattr(course, name).state_dict(), getattr(went_on, name).state_dict()
        assert all(torch.equal(weight, after[key]) for key, weight in before.items())
    for name, tensors in course.optimizer.state().items():
        assert all(torch.equal(*pair) for pair in zip(tensors, went_on.optimizer.state()[name], strict=True))
    monkeypatch.setattr("dipsop.restoration.predictor._SHIPPED", tmp_path / "pretrained.npz")
    image = picture[:40, :40].astype(np.float32) / 255
    assert np.isfinite(dipsop.restore(image, dipsop.HeldOut(steps=2, rounds=1)).image).all()


def test_damage_changes_what_it_says_it_changes_and_leaves_an_eighth_of_the_pictures_alone():
    clean = 0.2 + 0.6 * np.random.default_rng(0).random((48, 48, 3), dtype=np.float32)
    clean = (np.rint(255 * clean) / 255).astype(np.float32)
    random = np.random.default_rng(1)
    shares = []
    for _ in range(120):
        y, x, hit = damage.damaged(random, clean)
        assert y.dtype == x.dtype == np.float32
        assert ((y >= 0) & (y <= 1)).all()
        assert (np.abs(y - x)[hit] > 1 / 255).all()
        if np.array_equal(x, clean):  # neither JPEG nor blur
            assert np.allclose(y[~hit], x[~hit], atol=1.6 / 255)
        shares.append(hit.mean())
    assert 0.06 < np.mean(np.array(shares) == 0) < 0.3
    assert 0.1 < np.mean(shares) < 0.4


def test_a_drawn_page_is_of_few_colours_and_not_empty():
    random = np.random.default_rng(2)
    pages = [damage.page(random, 64) for _ in range(20)]
    assert all(page.shape == (64, 64, 3) and ((page >= 0) & (page <= 1)).all() for page in pages)
    assert sum(page.std() > 0.05 for page in pages) > 12


def test_sources_of_the_start_are_all_named_with_a_licence():
    with train_start.LIST.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len({row["sha256"] for row in rows}) == len({row["path"] for row in rows}) == len(rows) == 524
    assert all(row["author"] and len(row["sha256"]) == 64 for row in rows)
    assert not any(re.search("NC|ND|GFDL|unknown|^$", row["licence"]) for row in rows)
    assert Counter(row["kind"] for row in rows) == {"photograph": 456, "drawn": 68}
    assert not {"astronaut.png", "chelsea.png", "coffee.png", "camera.png"} & {Path(row["path"]).name for row in rows}


def test_a_step_is_counted_as_the_convolutions_that_it_makes(monkeypatch):
    """Three products of each convolution, two operations each; the picture itself gets no gradient."""
    monkeypatch.setattr(speed, "median_seconds", lambda call, times=1: 0.1)
    flop, _, _ = speed.step_rate()
    inputs, widths = 4 * 3, speed.QUICK.widths
    convolutions, side = [], speed.QUICK.crop
    for k, width in enumerate(widths):
        convolutions += [((inputs if k == 0 else widths[k - 1]), width, side >> k), (width, width, side >> k)]
    for k in reversed(range(len(widths) - 1)):
        convolutions += [(widths[k + 1] + widths[k], widths[k], side >> k), (widths[k], widths[k], side >> k)]
    macs = [9 * i * o * s * s * speed.QUICK.batch for i, o, s in convolutions]
    last = widths[0] * 6 * side * side * speed.QUICK.batch
    # Muon's, of a kernel: two products by all of it, and five times four of its outputs squared.
    muon = [2 * o * o * 9 * i + 20 * o**3 for i, o, _ in convolutions]
    expected = 2 * (3 * (sum(macs) + last) - macs[0] + sum(muon))
    assert flop == pytest.approx(expected, rel=0.03)  # the windows of the surroundings are the rest


def test_sizes_are_measured_and_drawn(tmp_path, monkeypatch):
    monkeypatch.setitem(dipsop.PRESETS, "quick", dipsop.HeldOut(steps=2, rounds=1, crop=32, flips=1))
    measured = speed.measure("64x48", "quick")
    assert measured["pixels"] == 64 * 48
    assert measured["psnr"] > psnr(speed.sample(64, 48)[1], speed.sample(64, 48)[0]) + 3
    assert measured["seam"] == pytest.approx(1)  # one tile
    speed.plot([measured, measured | {"pixels": 4 * 64 * 48}], tmp_path / "plot.png")
    assert images.load(tmp_path / "plot.png").values.std() > 0.05


def test_a_seam_is_a_jump_at_the_border_of_a_tile():
    f = np.random.default_rng(0).random((1100, 40, 3), dtype=np.float32)
    assert speed.jump_at_borders(f) == pytest.approx(1, abs=0.1)
    f[512:] += 2
    assert speed.jump_at_borders(f) > 2
    assert speed.jump_at_borders(f[:100]) == 1


def test_gallery_says_of_every_picture_the_psnr_that_it_has(sample, tmp_path, monkeypatch):
    monkeypatch.setitem(dipsop.PRESETS, "quick", dipsop.HeldOut(steps=2, rounds=1, crop=32, flips=1))
    row = gallery.row(sample, "random-valued:0.3:grey", "quick", 32)
    truth, image, mask = benchmark_restoration.corrupted(
        images.load(sample).values[:32, :32], "random-valued:0.3:grey", 0
    )
    np.testing.assert_array_equal(row["truth"][0], truth)
    np.testing.assert_array_equal(row["input"][0], image)
    for name in ("input", "best median", "total variation", "extremes filled", "dipsop"):
        picture, caption = row[name]
        assert caption == f"{name}, {psnr(picture, truth):.1f} dB"
    found = row["found"][0]
    assert (found[row["dipsop"][0] == image] == 0.5).mean() > 0.9  # grey where nothing was found
    far = mask & (np.abs(image - truth) > 0.3)
    assert (np.sign(found - 0.5)[far] == np.sign(image - truth)[far]).mean() > 0.9
    gallery.grid([row], [0, 0, 20, 20], tmp_path / "gallery.png")
    assert images.load(tmp_path / "gallery.png").values.shape[1] > 7 * 200


def test_real_damage_shows_what_was_done_what_came_of_it_and_what_was_found():
    make, damage = real_damage.kinds()["dead pixels"]
    clean = make()[:96, :96]
    row = real_damage.row("dead pixels", clean, damage, dipsop.HeldOut(steps=12, rounds=2))
    damaged, restored, found = (row[name][0] for name in ("damaged", "restored", "found"))
    truth = (np.rint(255 * clean) / 255).astype(np.float32)
    hit = (damaged != truth).any(2, keepdims=True)
    assert 0 < hit.mean() < 0.1
    assert found[hit].mean() > 0.75
    assert found[~hit].mean() < 0.01
    assert row["restored"][1] == f"restored, {psnr(restored, truth):.1f} dB"
    assert psnr(restored, truth) > psnr(damaged, truth) + 8


@pytest.mark.parametrize("kind", real_damage.kinds())
def test_every_kind_of_damage_is_sparse_but_that_of_all_values(kind):
    make, damage = real_damage.kinds()[kind]
    clean = make()
    damaged = damage(clean, np.random.default_rng(0))
    assert damaged.shape == clean.shape
    assert min(damaged.min(), clean.min()) >= 0
    assert max(damaged.max(), clean.max()) <= 1
    changed = (damaged != clean).mean()
    assert changed > 0.9 if kind == "Gaussian noise" else changed < 0.12
    assert (changed > 0.001) == (kind != "clean page")


def test_classification_benchmark_measures_and_goes_on(tmp_path, capsys):
    write_cifar10(tmp_path)
    human = human_file(tmp_path / "human.pt", worse_label=LABELS // 2)

    def run_benchmark(*methods):
        small = ["--images", "40", "--epochs", "1", "--seeds", "0", "1", "--jobs", "2", "--human-labels", str(human)]
        benchmark_classification.main([str(tmp_path), *small, "--out", str(tmp_path / "out"), "--methods", *methods])
        return json.loads((tmp_path / "out" / "classification.json").read_text())

    first = run_benchmark("ce")
    record = run_benchmark("ce", "sop")
    assert record["runs"][: len(first["runs"])] == first["runs"]  # gone on with, not made again
    assert len(record["runs"]) == 2 * 3 * 2
    assert 0.1 < record["convolution_share"] < 1
    assert record["device"] == "cpu"
    for run in record["runs"]:
        assert (run["auroc"] is None) == (run["noise"] == "none")
        (last,), (fit,) = run["test_accuracy"], run["given_accuracy"]
        assert 0 <= min(last, fit) <= max(last, fit) <= 1
    text = (tmp_path / "out" / "classification.md").read_text()
    assert text.count("± ") == 2 * (2 + 4 + 4)
    assert text in capsys.readouterr().out
    others = ["--epochs", "2", "--noises", "none", "--methods", "ce", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="other settings"):
        benchmark_classification.main([str(tmp_path), *others])


def test_a_record_says_on_what_device_it_was_made_and_is_gone_on_with_there_alone(tmp_path, monkeypatch):
    write_cifar10(tmp_path)
    config = TrainConfig(epochs=1)
    setting = benchmark_classification.Setting(tmp_path, 40, config)
    benchmark_classification.Record(tmp_path / "out", setting).complete([], jobs=1)
    path = tmp_path / "out" / "classification.json"
    older = json.loads(path.read_text())
    del older["device"]  # as they were before there was a choice
    path.write_text(json.dumps(older))
    benchmark_classification.Record(tmp_path / "out", setting).complete([], jobs=1)
    assert json.loads(path.read_text())["device"] == "cpu"
    monkeypatch.setattr(benchmark_classification, "described", lambda device: "NVIDIA H100")
    with pytest.raises(SystemExit, match="other settings"):
        benchmark_classification.Record(tmp_path / "out", setting)
    on_gpu = benchmark_classification.Record(tmp_path / "other", setting)
    assert str(on_gpu).startswith("CIFAR-10, the first 40 images, 1 epochs of the network fast, NVIDIA H100.")


def test_rivals_are_measured_beside_the_others_and_the_record_keeps_the_name_of_the_images(tmp_path):
    write_cifar10(tmp_path)
    small = [str(tmp_path), "--images", "40", "--epochs", "2", "--noises", "symmetric-all:0.5", "--seeds", "0"]
    rest = ["--out", str(tmp_path / "out"), "--methods"]
    benchmark_classification.main([*small, "--name", "Noise (JPEG)", *rest, "co-teaching+", "dividemix", "elr+"])
    benchmark_classification.main([*small, *rest, "dividemix"])  # nothing is left to make
    runs = json.loads((tmp_path / "out" / "classification.json").read_text())["runs"]
    assert [run["method"] for run in runs] == ["co-teaching+", "dividemix", "elr+"]
    for run in runs:
        assert len(run["test_accuracy"]) == 2
        assert run["given_accuracy"] == []
        assert 0 <= run["auroc"] <= 1
    text = (tmp_path / "out" / "classification.md").read_text()
    assert text.startswith("Noise (JPEG), the first 40 images, 2 epochs of the network fast.")


def run_of(method, noise, accuracies, seconds, threads=1, seed=0):
    return classification_runs.Run(method, noise, seed, [], accuracies, 0.9, 0.8, seconds, threads)


def test_the_table_gives_last_epoch_ceiling_best_and_time_in_proportion_to_cross_entropy():
    half = "symmetric-all:0.5"
    runs = [
        *(run_of("ce", "none", [0.5, last], 100, seed=seed) for seed, last in enumerate([0.9, 0.92])),
        run_of("dividemix", half, [0.85, 0.8], 600),
        run_of("sop+", half, [0.9], 50, threads=2),
    ]
    head, _, *lines = (
        [cell.strip() for cell in line.split("|")] for line in classification_runs.table(runs).split("\n")
    )
    rows = [dict(zip(head, line, strict=True)) for line in lines]
    assert rows[0]["last epoch, %"] == "91.0 ± 1.4"
    assert [row["ceiling, %"] for row in rows] == ["91.0"] * 3
    assert [row["below it"] for row in rows] == ["0.0", "11.0", "1.0"]
    assert rows[1]["last epoch, %"] == "80.0"
    assert rows[1]["best epoch, %"] == "85.0"
    assert rows[1]["× ce"] == "6.0"
    assert rows[1]["published: × (hours)"] == "6.0 (5.4)"
    assert (rows[2]["seconds"], rows[2]["× ce"]) == ("50", "")  # cross-entropy has no run on two cores


def test_the_papers_table_begins_with_what_matters_and_has_every_noise_that_they_have(tmp_path, capsys):
    tasks = classification_runs.of_the_papers([0, 1, 2])
    assert len(tasks) == len(set(tasks)) == 3 * 7 + 3 * 15
    assert [task.method for task in tasks[:7]] == ["ce", "ce", "co-teaching+", "dividemix", "elr+", "sop", "sop+"]
    assert [task.noise for task in tasks[:7]] == ["none"] + 6 * ["symmetric-all:0.5"]
    noises = {task.noise for task in tasks}
    for noise in noises:
        label_noise.check(noise)
    assert {f"{kind}:0.{k}" for kind in ("symmetric", "symmetric-all") for k in (2, 4, 5, 6, 8)} < noises
    assert {f"human:{name}" for name in label_noise.HUMAN} | {"asymmetric:0.4"} < noises
    for wrong, complaint in (["--methods", "ce"], "leave --noises"), ([], "--human-labels"):
        with pytest.raises(SystemExit, match="2"):
            benchmark_classification.main([str(tmp_path), "--papers", *wrong])
        assert complaint in capsys.readouterr().err


def test_a_failed_run_costs_the_record_no_other(tmp_path, capsys):
    write_cifar10(tmp_path)
    setting = benchmark_classification.Setting(tmp_path, 40, TrainConfig(epochs=1))
    first, second = (benchmark_classification.Record(tmp_path / "out", setting) for _ in range(2))
    good = [classification_runs.Task("ce", "none", seed) for seed in (0, 1)]
    with pytest.raises(ValueError, match="no kind of label noise"):
        first.complete([good[0], classification_runs.Task("ce", "loud:0.1", 0)], jobs=2)
    assert "failed: loud:0.1" in capsys.readouterr().err
    second.complete(good, jobs=1)  # begun before the other was written
    runs = json.loads((tmp_path / "out" / "classification.json").read_text())["runs"]
    assert [run["seed"] for run in runs] == [0, 1]


def test_cleanlab_ranks_by_models_that_have_not_seen_the_label(tmp_path):
    pytest.importorskip("cleanlab")
    write_cifar10(tmp_path)
    small = ["--images", "40", "--epochs", "1", "--seeds", "0", "--noises", "symmetric:0.4", "--methods", "cleanlab"]
    benchmark_classification.main([str(tmp_path), *small, "--out", str(tmp_path)])
    (run,) = json.loads((tmp_path / "classification.json").read_text())["runs"]
    assert 0 <= run["auroc"] <= 1
    assert run["test_accuracy"] == []


def test_labels_are_judged_by_features_beside_cleanlab(monkeypatch, tmp_path, capsys):
    pytest.importorskip("cleanlab")
    quick = replace(benchmark_labels.RECIPES["pretrained"], epochs=4)
    monkeypatch.setitem(benchmark_labels.RECIPES, "pretrained", quick)
    monkeypatch.setattr(benchmark_labels, "digits", lambda: blobs(80, 0.0, classes=10))
    monkeypatch.setattr(benchmark_labels, "seen", lambda data, *_: (blobs(80, 0.0, classes=10), 1.5))
    monkeypatch.setattr(benchmark_labels, "pieces", lambda: blobs(80, 0.0, classes=10))
    benchmark_labels.main(["--noises", "none", "symmetric:0.2", "--out", str(tmp_path)])
    record = json.loads((tmp_path / "labels.json").read_text())
    assert [(r["data"], r["noise"]) for r in record["results"]] == [
        (name, noise) for name in ("pieces", "digits") for noise in ("none", "symmetric:0.2")
    ]
    assert record["features_seconds"] == {"pieces": 1.5, "digits": 1.5}
    assert record["results"][1]["auroc"]["posterior"] > 0.75
    assert record["results"][0]["wrong"] == 0
    assert capsys.readouterr().out.count("\n") == 6


def test_features_that_are_one_point_for_each_label_have_collapsed_by_these_and_not_by_others():
    labels = torch.arange(120) % 3
    points = torch.eye(3, 5, dtype=torch.float64)[labels]
    assert neural_collapse.scatter_ratio(points, labels) == 0
    assert neural_collapse.scatter_ratio(points, labels.roll(1).where(labels > 0, labels)) > 0.3
    spread = points + torch.randn(120, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    within, between = 0.0, 0.0
    for c in range(3):
        of_class = spread[labels == c]
        within += float((of_class - of_class.mean(0)).square().sum())
        between += 40 * float((of_class.mean(0) - spread.mean(0)).square().sum())
    assert neural_collapse.scatter_ratio(spread, labels) == pytest.approx(within / between)


def test_label_noise_curves_are_drawn_from_the_record_of_the_benchmark(tmp_path):
    write_cifar10(tmp_path)
    small = [str(tmp_path), "--images", "40", "--epochs", "2", "--out", str(tmp_path / "out")]
    benchmark_classification.main([*small, "--noises", "symmetric:0.4", "--methods", "ce", "--seeds", "0", "1"])
    label_noise_curves.main([*small, "--fractions", "0", "0.4"])
    runs = json.loads((tmp_path / "out" / "classification.json").read_text())["runs"]
    assert [(run["noise"], run["method"], run["seed"]) for run in runs] == [
        ("symmetric:0.4", "ce", 0), ("symmetric:0.4", "ce", 1), ("none", "ce", 0), ("none", "sop", 0),
        ("symmetric:0.4", "sop", 0),
    ]  # fmt: skip
    assert all(len(run["test_accuracy"]) == len(run["given_accuracy"]) == len(run["scatter"]) == 2 for run in runs)
    assert images.load(tmp_path / "out" / "label_noise_curves.png").values.shape[1] > 400


def test_the_table_of_the_readme_says_what_the_record_has():
    root = Path(__file__).parents[1]
    runs = json.loads((root / "examples" / "benchmark" / "benchmark.json").read_text())["runs"]
    methods = ("best median", "extremes filled", "PD-Denoising", "ours:quick")
    in_words = benchmark_restoration.in_words
    readme = (root / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\D.*?) \| ([\d.]+ ?%?) \| (.+?) \| (.+?) \| \*\*(.+?)\*\* \|$", readme, re.MULTILINE)
    assert len(rows) == 8
    for label, *said in rows:
        corruption = label.removesuffix(": clean values changed")
        for method, value in zip(methods, said, strict=True):
            of = [r for r in runs if r["method"] == method and in_words(r["corruption"]) == corruption]
            assert {r["picture"] for r in of} == {"F16", "Peppers", "Baboon", "kodim03"}
            changed = corruption == "none"
            mean = np.mean([100 * r["clean_changed"] if changed else r["psnr_inner"] for r in of])
            assert value.removesuffix(" %") == f"{mean:.{2 if changed else 1}f}", (label, method)


def test_names_of_corruptions_and_methods_are_checked_before_anything_is_measured():
    right = ["none", "scratches:grey", "random-valued:0.3:shared", *benchmark_restoration.CORRUPTIONS]
    assert not list(benchmark_restoration.problems(right, ["ours:quick*3", "DIP-l1", "input"]))
    noise = "random-valued"
    for wrong in ("salt:0.3", noise, f"{noise}:30%", f"{noise}:0", f"{noise}:0.3:x", "none:0.3"):
        assert len(list(benchmark_restoration.problems([wrong], []))) == 1, wrong
    for wrong in ("ours:quikc", "PD-Denoising"):
        assert len(list(benchmark_restoration.problems([], [wrong]))) == 1, wrong
