"""The house rules that a tool can hold."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dipsop"
# Who may import whom: cli → restoration, classification → sop; errors below all.
BELOW = {"errors", "files", "precision", "dtype", "checkpoint"}
LAYERS = {
    "sop": {"sop", "errors"},
    "restoration": {"restoration", "sop", *BELOW},
    "classification": {"classification", "sop", *BELOW},
}


def imported_rooms(file):
    for node in ast.walk(ast.parse(file.read_text())):
        names = [node.module] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            if name and name.split(".")[0] == "dipsop" and "." in name:
                yield name.split(".")[1]


@pytest.mark.parametrize("room", LAYERS)
def test_imports_run_one_way(room):
    for file in (PACKAGE / room).glob("**/*.py"):
        assert set(imported_rooms(file)) <= LAYERS[room], file


def test_only_the_command_line_prints_or_exits():
    for file in PACKAGE.glob("*/*.py"):
        if file.parent.name == "commands":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("print", "exit"), file


@pytest.mark.parametrize("tool", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]], ids=" ".join)
def test_code_is_clean_by(tool):
    done = subprocess.run([sys.executable, "-m", *tool], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
