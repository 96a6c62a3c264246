"""`-`: a picture from standard input, its result to standard output, and nothing else there."""

import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from command_line import QUICK, listing, status
from PIL import Image

from dipsop.errors import DipsopError
from dipsop.jobs import pipes
from dipsop.pictures import images

FILES = Path(__file__).parent / "files"


@pytest.fixture
def piped(here, monkeypatch, capfdbinary):
    """Run `dipsop restore` with bytes as standard input; give exit status, standard output and error."""
    temporary = here / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(here / "torch"))  # else torch has a folder of its own there

    def run(data, *arguments):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        code = status("restore", *arguments, *QUICK)
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        assert listing(temporary) == {}
        return code, out, err.decode()

    return run


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".webp"])
def test_what_goes_out_is_the_file_that_would_have_been_written(here, piped, suffix):
    images.save(Path(f"in{suffix}"), images.load(Path("noisy.png")))
    assert status("restore", f"in{suffix}", "--out", f"out{suffix}", "--quiet", *QUICK) == 0
    code, out, err = piped(Path(f"in{suffix}").read_bytes(), "-", "--out", "-")
    assert code == 0
    assert out == Path(f"out{suffix}").read_bytes()
    assert err.startswith("wrote      -\n")


def test_jpeg_comes_out_as_jpeg(here, piped):
    Image.open("noisy.png").save("in.jpg")
    code, out, _ = piped(Path("in.jpg").read_bytes(), "-", "--out", "-")
    assert code == 0
    assert Image.open(io.BytesIO(out)).format == "JPEG"


def test_one_end_alone_may_be_a_pipe(here, piped):
    noisy = Path("noisy.png").read_bytes()
    assert piped(noisy, "-", "--out", "a.png", "--quiet") == (0, b"", "")
    code, out, err = piped(b"", "noisy.png", "--out", "-", "--quiet")
    assert (code, err) == (0, "")
    assert out == Path("a.png").read_bytes()


def test_a_file_of_that_name_is_a_file(here, piped):
    Path("-").write_bytes(Path("noisy.png").read_bytes())
    assert piped(b"no picture", "./-", "--out", "a.png", "--quiet") == (0, b"", "")
    assert Path("a.png").exists()


def test_the_summary_goes_to_standard_error(here, piped):
    code, out, err = piped(Path("noisy.png").read_bytes(), "-", "--out", "-", "--json")
    assert code == 0
    assert json.loads(err)["out"] == "-"
    assert np.asarray(Image.open(io.BytesIO(out))).shape == (24, 32, 3)


def test_pages_go_through_a_pipe(here, piped):
    code, out, err = piped((FILES / "magick_two_pages.tif").read_bytes(), "-", "--out", "-")
    assert (code, err.splitlines()[0]) == (0, "wrote      -, 2 pages")
    Path("out.tif").write_bytes(out)
    assert images.page_count(Path("out.tif")) == 2


def test_notes_name_standard_input(here, piped):
    code, _, err = piped((FILES / "magick_cmyk.jpg").read_bytes(), "-", "--out", "out.png", "--json")
    assert code == 0
    assert err.startswith("note: standard input holds CMYK colours")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty: send a picture into it."),
        (b"garbage", "is not a picture that can be read: "),
        (b"\x89PNG\r\n\x1a\n" + bytes(90), "is damaged or cut short: "),
        ((FILES / "libheif.heic").read_bytes(), "is a HEIC file, which is not written: name a .png file as --out."),
    ],
)
def test_what_cannot_be_done_is_said_of_standard_input(here, piped, data, said):
    code, out, err = piped(data, "-", "--out", "-")
    assert (code, out) == (1, b"")
    assert err.startswith(f"dipsop: standard input {said}")
    assert err.count("\n") == 1
    assert "temporary" not in err


def test_too_much_is_refused_before_it_is_decoded(here, piped, monkeypatch):
    monkeypatch.setattr(pipes, "MOST_BYTES", 1000)
    code, out, err = piped(Path("noisy.png").read_bytes(), "-", "--out", "-")
    assert (code, out) == (1, b"")
    assert err == "dipsop: standard input is too long: save the picture, and name the file.\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_what_finds_no_room_is_a_sentence(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"picture")))
    with pytest.raises(DipsopError, match=r"^standard input could not be kept \(no space left on device\): "):
        pipes._receive(Path("/dev/full"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["-"],
        ["-", "noisy.png", "--out", "results"],
        ["noisy.png", "clean.png", "--out", "-"],
        ["-", "--out", "."],
        ["-", "--out", "a.png", "--record", "a.json"],
    ],
)
def test_what_a_pipe_cannot_be_is_a_bad_option(here, piped, arguments):
    before = listing(here)
    code, out, _ = piped(b"", *arguments)
    assert (code, out) == (2, b"")
    assert listing(here) == before


def test_a_terminal_is_refused_at_either_end(here, monkeypatch, capsys):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    assert status("restore", "-", "--out", "a.png", *QUICK) == 1
    assert "standard input is the keyboard: " in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert status("restore", "noisy.png", "--out", "-", *QUICK) == 1
    assert "standard output is a terminal: " in capsys.readouterr().err


def test_a_reader_that_leaves_ends_it_in_a_sentence(here):
    command = [sys.executable, "-m", "dipsop", "restore", "-", "--out", "-", *QUICK]
    pipes_of = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes_of) as process:
        process.stdout.close()
        process.stdin.write(Path("noisy.png").read_bytes())
        process.stdin.close()
        said = process.stderr.read().decode()
    assert said == "dipsop: standard output could not be written (broken pipe): name a file as --out.\n"
    assert process.returncode == 1
