"""The house rules that a tool can hold."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dipsop"
FILES = sorted(PACKAGE.rglob("*.py"))

# Who may import whom: cli → commands, page → jobs → restoration, classification → pictures, sop → the five of BASE.
# A room is a folder of the package, or a module beside the folders; "dipsop" is what the package itself exports.
BASE = {"files", "checkpoint", "compute", "errors", "optimizers"}
FITS = {"restoration", "classification", "pictures", "sop", *BASE}
ABOVE = {"jobs", *FITS, "dipsop"}
BELOW = {
    "errors": set[str](),
    "files": {"errors"},
    "compute": {"errors"},
    "checkpoint": {"errors", "files"},
    "optimizers": set[str](),
    "sop": {"errors"},
    "pictures": BASE,
    "restoration": {"pictures", "sop", *BASE},
    "classification": {"pictures", "sop", *BASE},
    "dipsop": FITS,
    "jobs": {*FITS, "dipsop"},
    "commands": ABOVE,
    "page": ABOVE,
    "cli": {"commands", "page", *ABOVE},
    "__main__": {"cli"},
}

# Who may print and exit, and what counts as that.
SPEAKERS = {"commands", "page", "cli", "__main__"}
SPEECH = {"print", "exit", "quit", "sys.exit", "os._exit", "os.abort", "typer.echo", "typer.secho"}
SPEAKING_LIBRARIES = {"typer", "click", "rich", "starlette", "uvicorn"}
# A worker is a process of its own, and leaves it where nobody listens any more.
EXCEPTIONS = {("jobs/worker.py", "os._exit")}


def room_of(file: Path) -> str:
    """The room that a file of the package is in."""
    first = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "dipsop" if first == "__init__" else first


def dotted(node: ast.expr) -> str:
    """A name as it is written, os.path.join; empty where it is none."""
    if isinstance(node, ast.Name):
        return node.id
    inside = dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{inside}.{node.attr}" if inside else ""


def imports(source: str, file: Path) -> Iterator[str]:
    """Every name that a file of the package imports, in full, wherever in the file and however it is written."""
    package = ("dipsop", *file.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and dotted(node.func).split(".")[-1] in ("import_module", "__import__"):
            yield from (str(a.value) for a in node.args if isinstance(a, ast.Constant))


def imported_rooms(source: str, file: Path) -> set[str]:
    """The rooms that a file of the package imports from, its own among them."""
    rooms = set()
    for name in imports(source, file):
        package, _, inside = name.partition(".")
        if package == "dipsop":
            first = inside.split(".")[0]
            rooms.add(first if first in BELOW else "dipsop")
    return rooms


def way_back(source: str, file: Path) -> set[str]:
    """The rooms that a file imports from and may not."""
    room = room_of(file)
    own = {room} if (PACKAGE / room).is_dir() else set()
    return imported_rooms(source, file) - BELOW[room] - own


def speech(source: str, file: Path) -> set[str]:
    """What prints or exits in a file, by the name of the call or of the import."""
    said = {name for name in imports(source, file) if name.split(".")[0] in SPEAKING_LIBRARIES or name in SPEECH}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            said |= {dotted(node.func)} & SPEECH
        elif isinstance(node, ast.Raise) and node.exc is not None:
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            said |= {dotted(raised)} & {"SystemExit", "builtins.SystemExit"}
    return {name for name in said if (file.relative_to(PACKAGE).as_posix(), name) not in EXCEPTIONS}


def test_every_file_is_in_a_room_that_has_a_place_in_the_order() -> None:
    assert {room_of(file) for file in FILES} <= BELOW.keys()
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.rglob("*.py"))}
    assert folders <= {room_of(file) for file in FILES}


def test_the_order_has_no_way_back() -> None:
    TopologicalSorter(BELOW).prepare()  # raises CycleError


@pytest.mark.parametrize("room", sorted(BELOW))
def test_imports_run_one_way(room: str) -> None:
    back = {str(file.relative_to(PACKAGE)): way_back(file.read_text(), file) for file in FILES if room_of(file) == room}
    assert {file: rooms for file, rooms in back.items() if rooms} == {}


@pytest.mark.parametrize(
    ("file", "source", "rooms"),
    [
        ("pictures/a.py", "from dipsop.restoration.fit import restore", {"restoration"}),
        ("pictures/a.py", "from dipsop.restoration import fit", {"restoration"}),
        ("pictures/a.py", "import dipsop.restoration.fit as fit", {"restoration"}),
        ("pictures/a.py", "import os, dipsop.jobs", {"jobs"}),
        ("pictures/a.py", "from dipsop import restoration", {"restoration"}),
        ("pictures/a.py", "from dipsop import restore", {"dipsop"}),
        ("pictures/a.py", "import dipsop", {"dipsop"}),
        ("pictures/a.py", "from ..restoration.fit import restore", {"restoration"}),
        ("pictures/a.py", "from .. import jobs", {"jobs"}),
        ("pictures/a.py", "def f():\n    from dipsop.sop import rates", {"sop"}),
        ("pictures/a.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from dipsop.sop import a", {"sop"}),
        ("pictures/a.py", "from importlib import import_module\nimport_module('dipsop.cli')", {"cli"}),
        ("restoration/a.py", "from dipsop.classification import report", {"classification"}),
        ("restoration/deep/a.py", "from ...jobs import job", {"jobs"}),
        ("restoration/__init__.py", "from ..jobs import job", {"jobs"}),
        ("classification/a.py", "from dipsop.commands.options import DeviceName", {"commands"}),
        ("jobs/a.py", "from dipsop.commands import options", {"commands"}),
        ("jobs/a.py", "from dipsop.cli import main", {"cli"}),
        ("commands/a.py", "from dipsop.cli import main", {"cli"}),
        ("commands/a.py", "from dipsop.page import build", {"page"}),
        ("sop/a.py", "from dipsop.files import shown", {"files"}),
        ("errors.py", "from dipsop.files import shown", {"files"}),
        ("errors.py", "from . import files", {"files"}),
        ("files.py", "from dipsop.checkpoint import save_state", {"checkpoint"}),
        ("__init__.py", "from dipsop.jobs import job", {"jobs"}),
        ("pictures/a.py", "from . import decode\nfrom .decode import a\nfrom dipsop.pictures import b", set()),
        ("pictures/a.py", "import os\nfrom dipsop import files, errors\nfrom ..compute import Dtype", set()),
        ("jobs/a.py", "import dipsop\nfrom dipsop import restore\nfrom dipsop.classification import report", set()),
        ("cli.py", "from dipsop import __version__\nfrom dipsop.commands.demo import demo", set()),
        ("files.py", "import dipsopper\nfrom .errors import DipsopError", set()),
    ],
)
def test_the_check_of_the_order_sees_every_way_to_import(file: str, source: str, rooms: set[str]) -> None:
    assert way_back(source, PACKAGE / file) == rooms


@pytest.mark.parametrize("file", [file for file in FILES if room_of(file) not in SPEAKERS], ids=str)
def test_only_commands_and_the_page_print_or_exit(file: Path) -> None:
    assert speech(file.read_text(), file) == set()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("print('a')", {"print"}),
        ("def f():\n    exit(1)", {"exit"}),
        ("quit()", {"quit"}),
        ("import sys\nsys.exit(1)", {"sys.exit"}),
        ("from sys import exit as leave\nleave()", {"sys.exit"}),
        ("import os\nos._exit(1)", {"os._exit"}),
        ("raise SystemExit", {"SystemExit"}),
        ("raise SystemExit(2) from None", {"SystemExit"}),
        ("import typer", {"typer"}),
        ("import typer\ntyper.echo('a')", {"typer", "typer.echo"}),
        ("def f():\n    from rich.console import Console", {"rich.console.Console"}),
        ("import uvicorn", {"uvicorn"}),
        ("from starlette.responses import Response", {"starlette.responses.Response"}),
        ("from importlib import import_module\nimport_module('rich.progress')", {"rich.progress"}),
        ("try:\n    pass\nexcept SystemExit:\n    raise", set()),
        ("import sys, os, richer\nsys.exception()\nos.getpid()\nprinted(1)\nself.exit()", set()),
    ],
)
def test_the_check_of_speech_sees_every_way_to_print_or_exit(source: str, said: set[str]) -> None:
    assert speech(source, PACKAGE / "jobs" / "a.py") == said


def test_a_worker_may_end_its_own_process_and_no_more() -> None:
    worker = PACKAGE / "jobs" / "worker.py"
    assert speech("import os, sys\nos._exit(1)", worker) == set()
    assert speech("import os, sys\nsys.exit(1)\nprint(1)", worker) == {"sys.exit", "print"}


# In restoration every file is one idea of the method: two of 14 had come to hold two.
@pytest.mark.parametrize(("room", "most"), [("commands", 14), ("restoration", 16), ("page", 12)])
def test_a_room_stays_small_enough_to_be_seen_at_once(room: str, most: int) -> None:
    assert 0 < sum(room_of(file) == room for file in FILES) <= most


@pytest.mark.parametrize("tool", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]], ids=" ".join)
def test_code_is_clean_by(tool: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *tool], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
