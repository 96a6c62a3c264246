"""Jobs, run by a script with a listener of its own."""

from pathlib import Path

import numpy as np
import pytest

import dipsop
from dipsop.errors import DipsopError, ImageError
from dipsop.jobs import events, fitting, folder, restore
from dipsop.jobs.folder import FolderJob
from dipsop.jobs.job import RestoreJob, from_dict
from dipsop.pictures import images
from dipsop.pictures.picture import Picture
from dipsop.restoration.fit import Step

SMALL = dipsop.HeldOut(steps=5, rounds=2, crop=16, widths=(8, 8), flips=1)


def job(**more):
    return RestoreJob(
        **{"source": Path("noisy.png"), "out": Path("out.png"), "preset": "quick", "config": SMALL, **more}
    )


def test_a_script_runs_a_restore_job_with_a_listener_of_its_own(here, capsys):
    heard = []
    for event in restore.run(job(corruption_map=Path("map.png"), preview=Path("p.png"))):
        heard.append("step" if isinstance(event, Step) else event)
    steps = ["step"] * 5
    heard = [event for k, event in enumerate(heard) if k == 0 or not isinstance(event, events.Preview)]  # every 3 s
    assert heard[:-1] == [
        events.Preview(Path("p.png")),
        events.Begun(5),
        *steps,
        events.Finishing(stopped=False),
        events.Written(Path("out.png")),
        events.Written(Path("map.png")),
    ]
    report = heard[-1].report
    assert report["steps"] == 5
    assert images.load(Path("out.png")).samples.shape == (24, 32, 3)
    changed = images.load(Path("out.png")).samples != images.load(Path("noisy.png")).samples
    assert changed.mean() > 0
    assert changed.mean() == pytest.approx(report["fraction_corrupted"], abs=0.03)
    assert capsys.readouterr() == ("", "")


def test_a_preview_that_cannot_be_written_on_the_way_does_not_end_the_work(here, monkeypatch):
    asked = []

    def fails(*_):
        asked.append(1)
        raise DipsopError("p.png could not be written (no space left on device): free space.")

    monkeypatch.setattr(fitting, "_save_preview", fails)
    monkeypatch.setattr(fitting, "SECONDS_BETWEEN_PREVIEWS", 0.0)
    heard = list(restore.run(job(preview=Path("p.png"))))
    notes = [event.sentence for event in heard if isinstance(event, events.Noted)]
    assert len(asked) > 1
    assert notes == ["p.png could not be written (no space left on device): free space. The restoration goes on."]
    assert Path("out.png").exists()


def test_a_checkpoint_that_cannot_be_written_is_told_beside_a_preview_and_does_not_lose_the_result(here, monkeypatch):
    def fails(*what):
        raise DipsopError(f"{'state' if len(what) == 4 and isinstance(what[0], fitting.Work) else 'p.png'} is full.")

    monkeypatch.setattr(fitting, "_save_preview", fails)
    monkeypatch.setattr(fitting.Work, "save", fails)
    monkeypatch.setattr(fitting, "SECONDS_BETWEEN_PREVIEWS", 0.0)
    monkeypatch.setattr(fitting, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    taken = []
    for event in restore.run(job(preview=Path("p.png"), checkpoint=Path("state")), lambda: len(taken) == 3):
        if isinstance(event, Step):
            taken.append(event)
    assert event.report["notes"] == [f"{name} is full. The restoration goes on." for name in ("p.png", "state")]
    assert Path("out.png").exists()


def test_what_is_protected_stays_where_the_output_of_the_network_is_wanted(here):
    images.save_values(Path("stay.png"), np.eye(24, 32, dtype=bool))
    for _ in restore.run(job(protect=Path("stay.png"), network_output=True)):
        pass
    same = images.load(Path("out.png")).samples == images.load(Path("noisy.png")).samples
    assert same[np.eye(24, 32, dtype=bool)].all()
    assert same.mean() < 0.5


def test_a_job_that_is_told_to_stop_writes_the_result_so_far(here):
    taken = []
    for event in restore.run(job(), lambda: len(taken) == 2):
        if isinstance(event, Step):
            taken.append(event)
    assert event.report["steps"] == 2
    assert event.report["reason"] == "interrupted"
    assert Path("out.png").exists()


def test_a_job_that_is_told_to_stop_takes_the_last_round_and_says_where_it_goes_on_from(here):
    taken, heard = [], []
    for event in restore.run(job(checkpoint=Path("state")), lambda: len(taken) == 2):
        (taken if isinstance(event, Step) else heard).append(event)
    assert taken[-1]._fit._rounds_taken == SMALL.rounds
    assert events.Noted("state is kept: the same command with --resume goes on from there.") in heard
    whole, begun = Path("whole.png"), Path("out.png")
    list(restore.run(job(out=whole)))
    list(restore.run(job(checkpoint=Path("state"), resume=True)))  # from before that round
    assert begun.read_bytes() == whole.read_bytes()


def test_a_stop_in_the_very_last_step_interrupts_nothing(here):
    taken = []
    for event in restore.run(job(checkpoint=Path("state")), lambda: len(taken) == 5):
        if isinstance(event, Step):
            taken.append(event)
    assert event.report["reason"] == "all steps taken"
    assert not Path("state").exists()


@pytest.mark.parametrize(("last", "written"), [(4, False), (5, True)])
def test_a_stop_in_the_last_step_does_not_lose_one_of_many_that_is_finished(here, last, written):
    taken = []
    for event in restore.run(job(of_many=True, checkpoint=Path("state")), lambda: len(taken) == last):
        if isinstance(event, Step):
            taken.append(event)
    assert isinstance(event, events.Done if written else events.Stopped)
    assert Path("out.png").exists() == written
    assert Path("state").exists() != written


def test_what_cannot_be_read_raises_before_anything_is_begun(here):
    with pytest.raises(ImageError, match="does not exist"):
        next(restore.run(job(source=Path("no.png"))))
    assert not Path("out.png").exists()


def test_where_the_mask_is_known_no_lambda_is_told(here):
    images.save_values(Path("mask.png"), np.indices((24, 32)).sum(0)[..., None] % 7 == 0)
    *_, done = restore.run(job(mask=Path("mask.png")))
    assert done.report["effective_lambda"] is None
    *_, done = restore.run(job())
    assert done.report["effective_lambda"] > 0


def test_what_was_rubbed_out_of_a_mask_is_none(here):
    """An editor leaves it transparent, and of any colour."""
    alpha = np.zeros((24, 32), np.uint8)
    alpha[4:9, 5:11] = 255
    images.save(Path("mask.png"), Picture(samples=np.full((24, 32, 3), 255, np.uint8), alpha=alpha))
    *_, done = restore.run(job(mask=Path("mask.png")))
    assert done.report["fraction_corrupted"] == pytest.approx(5 * 6 / (24 * 32))


def test_of_many_pictures_every_one_ends_in_an_event(here, capsys):
    Path("album").mkdir()
    for name in ("a.png", "b.png"):
        Path("album", name).write_bytes(Path("noisy.png").read_bytes())
    Path("album/cut.png").write_bytes(Path("noisy.png").read_bytes()[:99])
    Path("out").mkdir()
    Path("out/b.png").write_bytes(b"earlier")
    heard = list(folder.run(FolderJob(pictures=["album"], each=job(out=Path("out"), device="cpu"), at_once=1)))
    ends = {type(e): e.source.name for e in heard if isinstance(e, events.Restored | events.Skipped | events.Failed)}
    assert ends == {events.Restored: "a.png", events.Skipped: "b.png", events.Failed: "cut.png"}
    assert heard[-1] == events.Done({"restored": 1, "skipped": 1, "failed": 1, "left": 0})
    assert capsys.readouterr() == ("", "")


def test_pictures_under_way_are_left_with_a_checkpoint_when_it_is_told_to_stop(here):
    Path("album").mkdir()
    Path("album/a.png").write_bytes(Path("noisy.png").read_bytes())
    long = dipsop.HeldOut(steps=100_000, rounds=1, crop=16, widths=(8, 8), flips=1)
    heard = []
    job_of_many = FolderJob(pictures=["album"], each=job(out=Path("out"), config=long, device="cpu"), at_once=1)
    for event in folder.run(job_of_many, lambda: any(isinstance(e, events.Progress) for e in heard)):
        heard.append(event)
    assert heard[-1].report["left"] == 1
    assert [path.name for path in Path("out").iterdir()] == [".a.png.dipsop-checkpoint"]


def test_a_job_comes_back_from_json_as_it_was():
    for config in dipsop.PRESETS.values():
        whole = job(config=config, mask=Path("m.png"), memory=1 << 30)
        assert from_dict(whole.as_dict()) == whole
