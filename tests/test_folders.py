"""Many pictures: which are meant, where each goes, and that nothing stops or harms the others."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import listing, run, started, status, until

from dipsop.checkpoint import save_state
from dipsop.errors import DipsopError
from dipsop.jobs import folder, memory, worker
from dipsop.jobs.folder import MADE_FROM, FolderJob
from dipsop.jobs.job import RestoreJob
from dipsop.jobs.targets import beside, is_batch, targets
from dipsop.pictures import images, noise
from dipsop.restoration.config import PRESETS

STEPS = ["--steps", "4", "--device", "cpu"]


def noisy_picture(path: Path, seed: int = 0, side: int = 24) -> None:
    rows, columns = np.mgrid[:side, : side + 8]
    clean = np.stack([rows / 30, columns / 40, (rows + columns) / 70], -1).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    images.save_values(path, noise.salt_and_pepper(clean, 0.2, seed)[0])


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of three good pictures, two broken ones, and what is none."""
    monkeypatch.chdir(tmp_path)
    folder = Path("album")
    for k, name in enumerate(["a.png", "sub/b.tif", "sub/deep er/c ü.bmp"]):
        noisy_picture(folder / name, k)
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:300])
    (folder / "sub" / "text.jpg").write_text("no picture")
    (folder / "notes.txt").write_text("not even named like one")
    (folder / ".hidden.png").write_bytes((folder / "a.png").read_bytes())
    return folder


def places(pictures, out="out"):
    return {str(t.source): str(t.out) for t in targets(pictures, Path(out))}


# ---- which, and where to ----------------------------------------------------------------------------------------


def test_a_folder_means_all_pictures_below_it_and_names_are_kept(album):
    assert places(["album"]) == {
        "album/a.png": "out/a.png",
        "album/cut.png": "out/cut.png",
        "album/sub/b.tif": "out/sub/b.tif",
        "album/sub/deep er/c ü.bmp": "out/sub/deep er/c ü.bmp",
        "album/sub/text.jpg": "out/sub/text.jpg",
    }


def test_patterns_and_single_files_go_by_their_names(album):
    assert places(["album/*.png", "album/sub/b.tif"]) == {
        "album/a.png": "out/a.png",
        "album/cut.png": "out/cut.png",
        "album/sub/b.tif": "out/b.tif",
    }
    assert set(places(["album/**/*.bmp"])) == {"album/sub/deep er/c ü.bmp"}
    assert places(["album/**"]) == places(["album"])  # what lies in a folder that is matched, too, is not met twice


def test_a_long_name_leaves_room_for_its_checkpoint_and_one_that_no_disk_takes_is_a_sentence(album, capsys):
    long = "好" * 83 + "ab.png"  # 255 bytes
    (album / "a.png").rename(album / long)
    (each,) = targets([str(album / long)], Path("out"))
    job = folder._one(each, RestoreJob(source=Path(), out=Path(), preset="quick", config=PRESETS["quick"]), None)
    Path("out").mkdir()
    save_state(job.checkpoint, {"a": 1})
    assert len(list(Path("out").iterdir())) == 1
    assert status("restore", "x" * 300 + ".png", "--out", "y.png", *STEPS) == 1
    assert status("restore", "album", "x" * 300 + ".png", "--out", "out", *STEPS) == 1
    assert status("restore", str(album / long), "--out", "y" * 300 + ".png", *STEPS) == 1
    assert capsys.readouterr().err.count("name too long") == 3


def test_a_folder_that_cannot_be_listed_is_a_problem_of_its_own(album, monkeypatch):
    walk = os.walk

    def closed(top, onerror, followlinks):
        onerror(PermissionError(13, "Permission denied", str(album / "sub")))
        return walk(top)

    monkeypatch.setattr(os, "walk", closed)
    problems = {target.source.name: target.problem for target in targets(["album"], Path("out"))}
    assert problems.pop("sub") == "album/sub cannot be listed: change its permissions, or name other folders."
    assert len(problems) == 5
    assert not any(problems.values())


def test_a_picture_is_not_written_over_under_another_name_of_its_own(album):
    os.link(album / "a.png", album / "b.png")  # as names that differ in case are on some disks
    assert status("restore", "album/a.png", "--out", "album/b.png", *STEPS) == 1
    Path("out").mkdir()
    os.link(album / "a.png", "out/a.png")
    with pytest.raises(DipsopError, match="is one of the pictures"):
        targets(["album/a.png"], Path("out"))


def test_results_within_the_folder_are_not_taken_for_pictures(album):
    noisy_picture(album / "done" / "a.png")
    assert "album/done/a.png" not in places(["album"], "album/done")


def test_linked_folders_are_looked_into_once_and_links_that_go_round_are_not(album):
    noisy_picture(Path("elsewhere/d.png"))
    links = {"linked": "elsewhere", "twice": "elsewhere", "up": ".", "self": "album", "in": "album/sub"}
    for link, target in links.items():
        (album / link).symlink_to(Path(target).resolve())
    Path("elsewhere/back").symlink_to(album.resolve())
    found = places(["album"])
    assert len(found) == 6
    assert found["album/linked/d.png"] == "out/linked/d.png"


@pytest.mark.parametrize("pictures", [["album/*"], ["album/**/*.png"], ["album/a.png", "album/cut.png", "album/done"]])
def test_results_among_what_is_named_are_not_taken_for_pictures(album, pictures):
    before = places(pictures, "album/done")
    noisy_picture(album / "done" / "a.png")
    assert places(pictures, "album/done") == before
    with pytest.raises(DipsopError, match="is one of the pictures"):
        targets(["album/*.png"], album)


def test_results_beside_their_pictures_are_not_taken_for_pictures(album):
    noisy_picture(album / "a.restored.png")
    noisy_picture(album / "alone.restored.png")
    assert "album/a.restored.png" not in places(["album"])
    assert "album/alone.restored.png" in places(["album"])


def test_a_file_with_brackets_in_its_name_is_that_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noisy_picture(Path("scan [1].png"))
    assert places(["scan [1].png", "scan [1].png"]) == {"scan [1].png": "out/scan [1].png"}
    assert not is_batch(["scan [1].png"], Path("out.png"))


@pytest.mark.parametrize(
    ("source", "out"),
    [("a/noisy.png", "a/noisy.restored.png"), ("b.c.JPG", "b.c.restored.JPG"), ("raw.cr2", "raw.restored.png")],
)
def test_a_result_goes_beside_its_picture_in_a_format_that_is_written(source, out):
    assert beside(Path(source)) == Path(out)


def test_two_pictures_of_one_name_are_not_written_over_each_other(album):
    noisy_picture(album / "sub" / "a.png")
    first, second = targets(["album/a.png", "album/sub/a.png"], Path("out"))
    assert first.problem is None
    assert "would both become out/a.png" in str(second.problem)


def test_a_picture_that_is_not_there_does_not_stand_in_the_way_of_its_namesake(album):
    missing, good = targets(["gone/a.png", "album/a.png", "gone/a.png"], Path("out"))
    assert "gone/a.png does not exist" in str(missing.problem)
    assert good.problem is None


@pytest.mark.parametrize("out", ["album", "./album/../album"])
def test_results_never_take_the_place_of_pictures(album, out):
    with pytest.raises(DipsopError, match=r"is one of the pictures: choose another folder as --out\.$"):
        targets(["album"], Path(out))


def test_no_pictures_and_a_file_for_several_are_said(album):
    Path("empty").mkdir()
    with pytest.raises(DipsopError, match=r"empty holds no pictures: name files that end in .*\.$"):
        targets(["empty"], Path("out"))
    with pytest.raises(DipsopError, match=r"^x\*\.png matches no file: check the pattern\.$"):
        targets(["album/a.png", "x*.png"], Path("out"))
    with pytest.raises(DipsopError, match=r"one\.png is named like one picture, .* name a folder as --out\.$"):
        targets(["album"], Path("one.png"))


# ---- the run ----------------------------------------------------------------------------------------------------


def test_every_good_picture_is_restored_every_bad_one_named_and_none_changed(album, capsys):
    before = listing(album)
    assert status("restore", "album", "--out", "out", *STEPS) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "3 restored, 0 skipped, 2 failed"
    assert "dipsop: album/cut.png is damaged or cut short: copy or export it again." in err
    assert "dipsop: album/sub/text.jpg is not a picture" in err
    assert "Traceback" not in err
    assert listing(album) == before
    files = {name for name, content in listing(Path("out")).items() if content}
    assert files == {MADE_FROM, "a.png", "sub/b.tif", "sub/deep er/c ü.bmp"}
    restored, noisy = (images.load(f / "a.png").samples for f in (Path("out"), album))
    assert 0.05 < (restored != noisy).mean() < 0.4


def test_a_result_of_another_picture_of_that_name_is_not_passed_off_as_this_ones(album, capsys):
    noisy_picture(Path("other/a.png"), seed=9)
    assert status("restore", "album/a.png", "album/sub", "--out", "out", *STEPS) == 1  # text.jpg
    capsys.readouterr()
    assert status("restore", "other", "--out", "out", *STEPS) == 1
    assert "out/a.png is there already, made from another picture" in capsys.readouterr().err
    os.utime("album/a.png", (0, 0))  # the same content under another date
    assert status("restore", "album/a.png", "--out", "out", *STEPS) == 0
    assert "skipped" in capsys.readouterr().out
    assert status("restore", "other", "--out", "out", "--overwrite", *STEPS) == 0
    assert status("restore", "other", "--out", "out", *STEPS) == 0
    (Path("out") / MADE_FROM).write_text("[not JSON")  # then a name is all there is to go by
    assert status("restore", "album/a.png", "--out", "out", *STEPS) == 0


def test_what_is_there_is_skipped_unless_told_otherwise(album, capsys):
    Path("out").mkdir()
    (Path("out") / "a.png").write_bytes(b"earlier")
    assert status("restore", "album/a.png", "album/sub/b.tif", "--out", "out", *STEPS, "--json") == 0
    assert (Path("out") / "a.png").read_bytes() == b"earlier"
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["in"], line["out"]) for line in lines] == [
        ("album/a.png", "out/a.png"),
        ("album/sub/b.tif", "out/b.tif"),
    ]
    assert lines[0]["skipped"] is True
    assert lines[1]["fraction_corrupted"] > 0
    assert status("restore", "album/a.png", "--out", "out", *STEPS, "--overwrite", "--quiet") == 0
    assert images.load(Path("out/a.png")).samples.shape == (24, 32, 3)


@pytest.mark.parametrize(
    ("given", "at_once", "tasks", "count", "each"),
    [
        (None, None, 9, 4, 2.0),  # four cores, 8 GiB
        (6 << 30, None, 9, 4, 1.5),
        (4 << 30, None, 9, 2, 2.0),
        (1 << 30, None, 9, 1, 1.0),
        (6 << 30, 3, 9, 3, 2.0),
        (2 << 30, 3, 9, 1, 2.0),
        (6 << 30, None, 2, 2, 3.0),
    ],
)
def test_processes_share_the_memory_that_may_be_taken(monkeypatch, given, at_once, tasks, count, each):
    monkeypatch.setattr(worker, "cores", lambda: 4)
    monkeypatch.setattr(memory, "free", lambda: int((8 << 30) / memory.SHARE) + 8)
    one = RestoreJob(
        source=Path("a"), out=Path("o"), preset="quick", config=PRESETS["quick"], device="cpu", memory=given
    )
    slots, job = folder._slots(FolderJob(pictures=[], each=one, at_once=at_once), tasks)
    assert [threads for _, threads in slots] == [4 // count] * count
    assert job.memory / 2**30 == pytest.approx(each, abs=0.01)


@pytest.mark.parametrize(("visible", "names"), [(None, ["0", "1", "0"]), ("3, GPU-5a", ["3", "GPU-5a", "3"])])
def test_processes_share_the_gpus_that_are_visible_and_the_memory_that_may_be_taken(monkeypatch, visible, names):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    one = RestoreJob(source=Path("a"), out=Path("o"), preset="quick", config=PRESETS["quick"], memory=6 << 30)
    slots, job = folder._slots(FolderJob(pictures=[], each=one, at_once=3), 9)
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment, _ in slots] == names
    assert job.memory == 2 << 30
    assert folder._slots(FolderJob(pictures=[], each=replace(one, memory=None)), 9)[1].memory is None


def test_files_named_like_pythons_modules_in_the_folder_of_work_are_not_run(album):
    for name in ("queue", "statistics", "dipsop"):
        Path(f"{name}.py").write_text("raise SystemExit('taken for a module')")
    assert status("restore", "album/a.png", "--out", "out/", "album/sub/b.tif", *STEPS, "--quiet") == 0


def test_a_process_finds_the_package_of_the_one_that_starts_it(tmp_path, monkeypatch):
    (tmp_path / "alone.py").write_text("""print('{"out": "here"}')""")
    monkeypatch.setattr(worker, "ROOT", str(tmp_path))  # as of a checkout that is not installed
    assert worker.outcome(worker.start({}, {}, "alone"), lambda said: None) == {"out": "here"}


def test_a_folder_gives_what_single_runs_give(album):
    assert status("restore", "album/a.png", "album/sub/b.tif", "--out", "out", *STEPS, "--quiet", "--jobs", 2) == 0
    assert status("restore", "album/a.png", "--out", "single.png", *STEPS, "--quiet") == 0
    assert Path("out/a.png").read_bytes() == Path("single.png").read_bytes()


@pytest.mark.parametrize(
    "option",
    [
        ["--truth", "album/a.png"],
        ["--protect", "album/a.png"],
        ["--record", "r.json"],
        ["--checkpoint", "c"],
        ["--preview", "p.png"],
    ],
)
def test_options_of_one_picture_are_refused_for_several(album, capsys, option):
    assert status("restore", "album", "--out", "out", *option) == 2
    assert option[0] in capsys.readouterr().err
    assert not Path("out").exists()


def long_run(album: Path, *options: str) -> AbstractContextManager["subprocess.Popen[str]"]:
    """A run over the folder that takes a while."""
    command = ["-m", "dipsop", "restore", "album", "--out", "out", "--steps", "120", "--device", "cpu"]
    return started([*command, *([] if "--dask" in options else ["--jobs", "1"]), *options], album.parent)


def alive_workers() -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            # Those of this test: others run beside it, each in a folder of its own.
            if b"dipsop.jobs.worker" in entry.read_bytes() and (entry.parent / "cwd").resolve() == Path.cwd().resolve():
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


def workers_gone() -> None:
    end = time.monotonic() + 20
    while alive_workers() and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive_workers()


def test_a_killed_run_goes_on_and_ends_the_same(album):
    with long_run(album) as process:
        until(Path("out/a.png").exists)
        process.kill()
        process.communicate(timeout=60)
        workers_gone()  # who started them is gone, so are they
    first = (Path("out/a.png").stat().st_mtime_ns, Path("out/a.png").read_bytes())
    with long_run(album, "--json") as again:
        out, _ = again.communicate(timeout=120)
    assert again.returncode == 1
    reports = {line["in"]: line for line in map(json.loads, out.splitlines())}
    assert reports["album/a.png"]["skipped"]
    assert (Path("out/a.png").stat().st_mtime_ns, Path("out/a.png").read_bytes()) == first
    restored = {name for name, content in listing(Path("out")).items() if content}
    assert restored == {MADE_FROM, "a.png", "sub/b.tif", "sub/deep er/c ü.bmp"}  # and no checkpoint is left
    options = ["--steps", "120", "--device", "cpu", "--jobs", "1", "--quiet"]
    assert run(["restore", "album/sub/b.tif", "album/a.png", "--out", "whole", *options]).returncode == 0
    assert Path("whole/b.tif").read_bytes() == Path("out/sub/b.tif").read_bytes()


def test_ctrl_c_ends_all_and_says_what_is_left(album):
    with long_run(album, "--steps", "100000") as process:
        until(Path("out").exists)
        time.sleep(4)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "left to do: give the same command again" in out
    assert "Traceback" not in err
    assert [name for name, content in listing(Path("out")).items() if content and not name.startswith(".")] == []


@pytest.mark.slow
def test_dask_shares_pictures_out_and_survives_a_lost_worker(tmp_path, monkeypatch):
    from distributed import LocalCluster

    monkeypatch.chdir(tmp_path)
    for k in range(4):
        noisy_picture(Path(f"album/{k}.png"), k)
    options = ["--steps", "400", "--device", "cpu", "--quiet"]
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        command = [sys.executable, "-m", "dipsop", "restore", "album", "--out", "out", *options]
        process = subprocess.Popen([*command, "--dask", cluster.scheduler_address], text=True, stderr=subprocess.PIPE)
        end = time.monotonic() + 120
        while not alive_workers() and time.monotonic() < end:
            time.sleep(0.05)
        os.kill(cluster.workers[0].pid, signal.SIGKILL)
        _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert {path.name for path in Path("out").glob("*.png")} == {f"{k}.png" for k in range(4)}
    assert status("restore", "album/2.png", "--out", "single.png", *options) == 0
    assert Path("out/2.png").read_bytes() == Path("single.png").read_bytes()


@pytest.mark.slow
def test_ctrl_c_ends_what_is_under_way_on_dask_too(album):
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=2, processes=True, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        with long_run(album, "--steps", "100000", "--dask", address) as process:
            end = time.monotonic() + 60
            while len(alive_workers()) < 2 and time.monotonic() < end:
                time.sleep(0.05)
            os.kill(process.pid, signal.SIGINT)
            out, err = process.communicate(timeout=60)
            assert process.returncode == 130, err
            assert "left to do: give the same command again" in out
            workers_gone()
            assert list(Path("out").rglob("*.dipsop-checkpoint"))


def test_a_dask_scheduler_that_does_not_answer_is_said(album, capsys, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("dipsop.jobs.folder.DASK_TIMEOUT", "0.5s")
    command = ["restore", "album/a.png", "album/sub/b.tif", "--out", "out", *STEPS]
    assert status(*command, "--dask", "tcp://127.0.0.1:9") == 1
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in capsys.readouterr().err
