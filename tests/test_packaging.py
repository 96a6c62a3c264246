"""What a package of dipsop holds; builds one, which asks a package registry."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import dipsop

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_wheel_holds_weights_types_and_the_licences_of_the_photographs(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    wheel = tmp_path / f"dipsop-{dipsop.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        package = {name for name in names if name.startswith("dipsop/")}
        licences = next(name for name in names if name.endswith("licenses/examples/train_start.csv"))
        assert archive.read(licences) == (ROOT / "examples" / "train_start.csv").read_bytes()
    tracked = subprocess.run(["git", "ls-files", "dipsop"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert package == set(tracked.stdout.split())
    assert {"dipsop/py.typed", "dipsop/restoration/pretrained.npz"} <= package
