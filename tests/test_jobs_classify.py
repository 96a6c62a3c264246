"""A classify job as a script asks for it."""

import json

import pytest

from dipsop.classification import run_folder
from dipsop.classification.trainer import Epoch
from dipsop.errors import DataError
from dipsop.jobs import classify
from dipsop.jobs.classify import ClassifyJob
from dipsop.jobs.events import Begun, Done, Saving, Stopped, Underway, Written

SMALL = {"batch": 16, "lr": 0.05, "dtype": "float32", "epochs": 4}


def listened(job, until=None):
    """The events of a job, which is told to stop once so many epochs have been heard of."""
    heard = []
    for event in classify.run(job, lambda: sum(isinstance(one, Epoch) for one in heard) == until):
        heard.append(event)
    return heard


def test_a_script_runs_a_classify_job_with_a_listener_of_its_own(dirty, tmp_path, capsys):
    job = ClassifyJob(data=str(dirty), out=tmp_path / "run", recipe="fast", settings=SMALL, size=16, device="cpu")
    heard = listened(job)
    epoch = [*[Underway] * 5, Saving, Epoch]
    assert [type(event) for event in heard] == [Begun, *epoch * 4, Saving, Written, Written, Done]
    assert heard[0] == Begun(steps=4)
    assert [event.number for event in heard if isinstance(event, Epoch)] == [1, 2, 3, 4]
    assert heard[-3:-1] == [Written(tmp_path / "run" / name) for name in ("labels.csv", "labels.html")]
    assert len(heard[-3].path.read_text().splitlines()) == 81
    steps = [event for event in heard if isinstance(event, Underway)]
    assert [event.done for event in steps] == pytest.approx([(k + 1) / 20 for k in range(20)])
    assert [event.parts for event in steps[4:6]] == ["epoch 1/4", "epoch 2/4"]
    report = heard[-1].report
    assert report["epochs"] == 4
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["seconds"] == report["seconds"]

    part = ClassifyJob(data=str(dirty), out=tmp_path / "part", recipe="fast", settings=SMALL, size=16, device="cpu")
    heard = listened(part, until=2)
    assert [type(event) for event in heard] == [Begun, *epoch * 2, Stopped]
    assert heard[-1] == Stopped(completed=2, of=4)
    assert not (part.out / "labels.csv").exists()
    with pytest.raises(DataError, match="holds a run already"):
        listened(part)
    heard = listened(ClassifyJob(**vars(part) | {"resume": True}))
    assert [type(event) for event in heard] == [Begun, *epoch * 2, Saving, Written, Written, Done]
    assert next(event.done for event in heard if isinstance(event, Underway)) == pytest.approx(11 / 20)
    assert (part.out / "labels.csv").read_bytes() == (job.out / "labels.csv").read_bytes()
    assert capsys.readouterr() == ("", "")


def test_a_listener_that_leaves_while_an_epoch_is_saved_leaves_a_run_to_go_on_with(dirty, tmp_path):
    job = ClassifyJob(
        data=str(dirty), out=tmp_path / "run", recipe="fast", settings=SMALL, size=16, device="cpu", resume=True
    )
    events = classify.run(job)
    heard = [type(next(events)) for _ in range(14)]
    assert heard == [Begun, *[Underway] * 5, Saving, Epoch, *[Underway] * 5, Saving]
    events.close()
    assert [epoch.number for epoch in run_folder.load_checkpoint(job.out)[1]] == [1]
    assert [event.number for event in listened(job) if isinstance(event, Epoch)] == [2, 3, 4]


def test_a_stop_is_asked_before_the_results_are_written_and_not_after(dirty, tmp_path):
    job = ClassifyJob(
        data=str(dirty),
        out=tmp_path / "run",
        recipe="fast",
        settings=SMALL | {"epochs": 1},
        size=16,
        device="cpu",
        resume=True,
    )
    assert isinstance(listened(job, until=1)[-1], Stopped)
    assert listened(job, until=0) == [Begun(steps=1), Stopped(completed=1, of=1)]  # nothing left but the list
    saved = []
    for event in classify.run(job, lambda: bool(saved)):
        if isinstance(event, Saving):
            saved.append(event)
    assert isinstance(event, Done)


def test_a_noise_that_is_none_is_an_error_of_the_script(tmp_path):
    with pytest.raises(ValueError, match="no kind of label noise"):
        listened(ClassifyJob(data="cifar10", out=tmp_path / "run", noise="loud:0.1"))
