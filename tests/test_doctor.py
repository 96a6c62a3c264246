"""What `dipsop doctor` says of an installation."""

import importlib.metadata as metadata
import json

import numpy as np
import pytest
import torch
from command_line import status

import dipsop
from dipsop.jobs import doctor


def test_the_report_names_versions_and_machine_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("doctor", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["dipsop"] == dipsop.__version__
    assert said["libraries"]["numpy"] == np.__version__
    assert said["threads"] == torch.get_num_threads()
    assert 0 < said["memory_free"] <= said["memory"]
    assert said["gflops"] > 0


def test_a_person_reads_a_line_for_each_thing(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("doctor") == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert {"dipsop", "libraries", "system", "processor", "memory", "GPU", "computes", "[dask]"} <= lines.keys()
    assert "GFLOP/s" in lines["computes"]


def without(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one package be as if it were not installed."""
    there = metadata.version

    def version(package: str) -> str:
        if package == missing:
            raise metadata.PackageNotFoundError(package)
        return there(package)

    monkeypatch.setattr(metadata, "version", version)


def test_an_extra_names_the_packages_that_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    without("distributed", monkeypatch)
    assert doctor.report()["extras"]["dask"] == ["distributed"]


def test_a_checkout_that_was_not_installed_has_a_report_too(monkeypatch: pytest.MonkeyPatch) -> None:
    without("dipsop", monkeypatch)
    assert doctor.report()["extras"] == {}
