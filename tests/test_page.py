"""The page's server without a browser: who may ask, what comes in, what is computed, what goes."""

import base64
import errno
import json
import os
import re
import shlex
import signal
import struct
import subprocess
import sys
import time
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from command_line import started, status, until
from starlette.testclient import TestClient

from dipsop.commands import restore as command
from dipsop.errors import DipsopError
from dipsop.jobs import worker
from dipsop.page import choices, looks, server, sessions
from dipsop.page.choices import Choice
from dipsop.page.command import address_of, listen
from dipsop.page.fits import Fit, Fits
from dipsop.page.item import Item, tidy
from dipsop.page.server import STATIC, application
from dipsop.page.sessions import Tabs, free_name
from dipsop.pictures import images
from dipsop.pictures.noise import random_valued
from dipsop.pictures.picture import Picture
from dipsop.restoration.config import PRESETS, HeldOut

ADDRESS = "http://127.0.0.1:7860"
PATIENCE = 240  # seconds


def client(**options: Any) -> TestClient:
    """A browser on the server's own page."""
    return TestClient(application(**options), base_url=ADDRESS, headers={"origin": ADDRESS})


@pytest.fixture
def browser() -> Iterator[TestClient]:
    with client() as browser:
        browser.get("/")
        yield browser


def opened(browser: TestClient) -> str:
    return str(browser.post("/tabs").json()["tab"])


def noisy(dtype: type = np.uint8, side: int = 20) -> Picture:
    rows, columns = np.mgrid[:side, : side + 4]
    clean = np.stack([rows / side, columns / side / 2, (rows + columns) / side / 4], -1).astype(np.float32)
    values, _ = random_valued(clean / clean.max(), 0.1, seed=3)
    samples = np.rint(values * np.iinfo(dtype).max).astype(dtype)
    return Picture(samples=samples, dpi=(300.0, 300.0))


def png(tmp_path: Path, picture: Picture) -> bytes:
    images.save(tmp_path / "made.png", picture)
    return (tmp_path / "made.png").read_bytes()


def dropped(browser: TestClient, tab: str, name: str, data: bytes) -> dict[str, Any]:
    said: dict[str, Any] = browser.post(f"/tabs/{tab}/pictures", params={"name": name}, content=data).json()
    return said


def waited(browser: TestClient, tab: str, key: str, until: Any = None) -> dict[str, Any]:
    """Ask as the page does, until a picture is as wanted."""
    begin = time.monotonic()
    while time.monotonic() < begin + PATIENCE:
        said: dict[str, Any] = next(
            each for each in browser.get(f"/tabs/{tab}").json()["pictures"] if each["key"] == key
        )
        if until(said) if until else said["stage"] not in ("waiting", "running"):
            return said
        time.sleep(0.05)
    raise AssertionError(said)


# Choices and the command line


def test_the_defaults_are_those_of_the_command_line() -> None:
    assert choices.DEFAULT == command.DEFAULT
    assert Choice().config() == PRESETS[command.DEFAULT]
    assert Choice().strength in choices.STRENGTHS


@pytest.mark.parametrize("kind", choices.KINDS)
@pytest.mark.parametrize("preset", choices.WORDS_OF_PRESETS)
def test_every_choice_is_a_config_or_refused_in_a_sentence(kind: str, preset: str) -> None:
    if isinstance(PRESETS[preset], HeldOut) or kind == "any":
        assert type(Choice(kind=kind, preset=preset).config()) is type(PRESETS[preset])
    else:
        with pytest.raises(DipsopError, match=r"^dip looks for any kind"):
            Choice(kind=kind, preset=preset)


@pytest.mark.parametrize(
    "choice",
    [
        Choice(),
        Choice(kind="bright", strength=0.1, seed=7),
        Choice(kind="strokes", preset="best", steps=33),
        Choice(kind="pixels", strength=100.0),
        Choice(preset="dip", steps=9),
        Choice(again=True),
        Choice(again=True, preset="dip", seed=5),
    ],
)
@pytest.mark.parametrize("name", ["photo.png", "my photo's [1].JPG", "größe.tif", "noname"])
@pytest.mark.parametrize("protect", [False, True])
def test_the_command_line_that_is_shown_makes_the_same_job(
    choice: Choice, name: str, protect: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).touch()
    job = choices.job(choice, Path("source"), tmp_path, ".png", protect)
    assert (job.protect is not None) == (protect and not choice.again and choice.preset != "dip")
    called = choices.names(name, ".png")
    made: list[Any] = []
    monkeypatch.setattr(command, "_restore", lambda job, json, quiet: made.append(job) or 0)
    assert status(*shlex.split(choices.command_line(job, called))[1:]) == 0
    (typed,) = made
    assert (typed.config, typed.preset, typed.device) == (job.config, job.preset, job.device)
    for part in ("source", "out", "mask", "protect", "corruption_map", "record"):
        assert getattr(typed, part) == (None if getattr(job, part) is None else Path(called[part])), part


@pytest.mark.parametrize(
    "said",
    [{"kind": "rust"}, {"preset": "paper"}, {"strength": 0}, {"strength": "inf"}, {"steps": 0}, {"steps": "many"},
     {"seed": -1}, {"seed": 1e400}, {"strength": "nan"}, {"steps": [1]}],
)  # fmt: skip
def test_options_that_are_none_are_refused_in_a_sentence(said: dict[str, Any]) -> None:
    with pytest.raises(DipsopError, match=r"^the .*\.$"):
        choices.chosen(said)


def test_a_result_has_the_suffix_of_the_picture_where_that_says_its_format() -> None:
    def suffix(name: str, format: str, dtype: type = np.uint8, alpha: bool = False) -> str:
        plane = np.zeros((2, 2), dtype) if alpha else None
        return choices.suffix_of(name, Picture(samples=np.zeros((2, 2, 3), dtype), alpha=plane, format=format))

    assert suffix("a.JPEG", "JPEG") == ".JPEG"
    assert suffix("a.jpg", "PNG") == ".png"
    assert suffix("a", "TIFF") == ".tif"
    assert suffix("a.heic", "HEIC") == ".png"
    assert suffix("a.bmp", "BMP", alpha=True) == ".png"  # a BMP is read with its alpha, and written without one
    assert suffix("a.tif", "TIFF", np.float32) == ".tif"


# Names from outside


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("photo.png", "photo.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\old photo.tif", "old photo.tif"),
        ("a\0b\n.png", "ab.png"),
        ("-rf.png", "rf.png"),
        (".bashrc", "bashrc"),
        ("..", "picture"),
        ("", "picture"),
        ("\u202egnp.exe", "gnp.exe"),
        ('<img src="x">.png', "img src=x.png"),
        ("größe 日本.webp", "größe 日本.webp"),
        ("a" * 500 + ".png", "a" * 100 + ".png"),
        ("a." + "b" * 500, "a." + "b" * 10),
    ],
)
def test_a_name_from_outside_is_tidied(name: str, kept: str) -> None:
    assert tidy(name) == kept


def test_names_in_a_zip_are_numbered_where_they_meet() -> None:
    taken: set[str] = set()
    assert [free_name(name, taken) for name in ("a.png", "A.png", "a.png", "b")] == [
        "a.png",
        "A (2).png",
        "a (3).png",
        "b",
    ]


def test_no_name_from_outside_becomes_a_path(browser: TestClient, tmp_path: Path) -> None:
    tab = opened(browser)
    data = png(tmp_path, noisy())
    for name in ("../../../evil.png", "/etc/evil.png", "evil\0.png", "a/../../evil.png", "con.png"):
        said = dropped(browser, tab, name, data)
        assert said["stage"] == "ready"
    folder = folder_of(browser)
    assert not [path for path in folder.rglob("*") if "evil" in path.name or "con" in path.name]
    ours = re.compile(r"[0-9a-f]{16}|source|(first|thumb)\.png")
    assert all(ours.fullmatch(path.name) for path in folder.rglob("*"))


def folder_of(browser: TestClient) -> Path:
    """Where a server keeps what came in."""
    return Path(browser.app.state.tabs._folder)  # type: ignore[attr-defined]


# Who may ask


def test_the_page_asks_nothing_of_other_sites() -> None:
    texts = {path.name: path.read_text() for path in STATIC.iterdir()}
    assert {"index.html", "page.css", "page.js"} <= texts.keys()
    for name, text in texts.items():
        text = text.replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?:|[\"'(]//\w|@import|sendBeacon|eval\(|innerHTML", text), name


def test_every_answer_says_that_nothing_else_may_be_loaded(browser: TestClient) -> None:
    for path in ("/", "/static/page.js", "/about", "/nowhere"):
        policy = browser.get(path).headers["content-security-policy"]
        assert policy.startswith("default-src 'self';")
        assert "unsafe" not in policy
        assert "access-control-allow-origin" not in browser.get(path).headers


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "192.168.0.5:7860", "", "["]
)
def test_a_name_that_is_not_the_servers_is_refused(browser: TestClient, host: str) -> None:
    assert browser.get("/", headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "[::1]:7860", "LOCALHOST"])
def test_the_names_of_this_machine_are_taken(browser: TestClient, host: str) -> None:
    assert browser.get("/about", headers={"host": host}).status_code == 200


def test_where_others_may_ask_an_address_is_a_name_but_no_foreign_one() -> None:
    with client(host="0.0.0.0", password="sesame") as browser:
        browser.auth = ("me", "sesame")
        assert browser.get("/about", headers={"host": "192.168.0.5:7860"}).status_code == 200
        assert browser.get("/about", headers={"host": "evil.example"}).status_code == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "http://127.0.0.1:8000", "http://localhost:7860"]
)
def test_another_site_cannot_post(browser: TestClient, origin: str) -> None:
    assert browser.post("/tabs", headers={"origin": origin}).status_code == 403


def test_the_password_is_asked_of_everybody() -> None:
    with client(password="grün") as browser:
        for path in ("/", "/about", "/static/page.js"):
            refused = browser.get(path)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"].startswith("Basic")
        for wrong in ("Basic", "Basic !!", "Bearer x", basic("me", "blau"), basic("grün", ""), basic("", "grün ")):
            assert browser.get("/about", headers={"authorization": wrong}).status_code == 401
        assert browser.get("/about", headers={"authorization": basic("anybody", "grün")}).status_code == 200


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def test_the_pictures_of_one_visitor_are_not_there_for_another(browser: TestClient, tmp_path: Path) -> None:
    tab = opened(browser)
    key = dropped(browser, tab, "mine.png", png(tmp_path, noisy()))["key"]
    other = TestClient(browser.app, base_url=ADDRESS, headers={"origin": ADDRESS})
    other.get("/")
    theirs = opened(other)
    for place in (
        f"/tabs/{tab}",
        f"/tabs/{tab}/pictures/{key}/looks/first",
        f"/tabs/{theirs}/pictures/{key}/looks/first",
    ):
        assert other.get(place).status_code == 404
    assert other.post(f"/tabs/{tab}/close").status_code == 404
    assert browser.get(f"/tabs/{tab}/pictures/{key}/looks/first").status_code == 200


def test_a_visitor_without_cookies_gets_no_tab() -> None:
    with client() as browser:
        assert browser.post("/tabs").status_code == 404


# What comes in


def test_a_picture_is_shown_at_once(browser: TestClient, tmp_path: Path) -> None:
    tab = opened(browser)
    said = dropped(browser, tab, "deep.png", png(tmp_path, noisy(np.uint16)))
    assert (said["width"], said["height"], said["depth"], said["stage"]) == (24, 20, "uint16", "ready")
    for look in ("first", "before", "thumb"):
        (tmp_path / "shown.png").write_bytes(browser.get(f"/tabs/{tab}/pictures/{said['key']}/looks/{look}").content)
        assert images.load(tmp_path / "shown.png").samples.dtype == np.uint8
    for look in ("after", "found", "live", "source", "nothing"):
        assert browser.get(f"/tabs/{tab}/pictures/{said['key']}/looks/{look}").status_code == 404


def test_the_first_answer_to_a_large_picture_is_small_enough_to_be_there_at_once(tmp_path: Path) -> None:
    samples = np.zeros((1500, 2000, 1), np.uint8)
    samples[300, 500] = 255
    (tmp_path / "source").write_bytes(png(tmp_path, Picture(samples=samples)))
    looks.read(tmp_path / "source", tmp_path)
    height, width, _ = images.load(tmp_path / "first.png").samples.shape
    assert height * width <= looks.MOST_PIXELS_AT_ONCE
    assert abs(width / height - 2000 / 1500) < 0.01


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is empty"),
        (b"hello", "is not a picture that can be read"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "is damaged or cut short"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "is not a picture that can be read"),
    ],
)
def test_what_is_no_picture_stays_in_the_queue_with_a_sentence(browser: TestClient, data: bytes, sentence: str) -> None:
    tab = opened(browser)
    said = dropped(browser, tab, "../odd.png", data)
    assert said["stage"] == "refused"
    assert said["problem"].startswith("odd.png")
    assert sentence in said["problem"]
    assert "/" not in said["problem"]
    assert not list(folder_of(browser).rglob("source"))
    assert browser.post(f"/tabs/{tab}/pictures/{said['key']}/start", json={}).status_code == 422


def test_a_picture_is_refused_by_the_pixels_that_its_header_claims(browser: TestClient) -> None:
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)), (b"IDAT", b"\0" * 9), (b"IEND", b""))
    data = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    said = dropped(browser, opened(browser), "bomb.png", b"\x89PNG\r\n\x1a\n" + data)
    assert said["problem"].startswith("bomb.png claims")
    assert "more than 100 megapixels" in said["problem"]


def test_a_tab_does_not_tell_of_a_picture_that_is_still_being_read(browser: TestClient) -> None:
    tab = opened(browser)
    item = browser.app.state.tabs._tabs[tab].add("a.png")  # type: ignore[attr-defined]
    assert browser.get(f"/tabs/{tab}").json() == {"pictures": []}
    answer = browser.post(f"/tabs/{tab}/pictures/{item.key}/start", json={})
    assert (answer.status_code, answer.json()["error"]) == (422, "a.png is still being read: try again in a moment.")


@pytest.mark.parametrize("declared", [True, False])
def test_an_upload_is_bounded_whether_or_not_it_says_its_length(
    browser: TestClient, monkeypatch: pytest.MonkeyPatch, declared: bool
) -> None:
    monkeypatch.setattr(sessions, "MOST_BYTES", 3 << 20)
    tab = opened(browser)
    read = 0

    def body() -> Iterator[bytes]:
        nonlocal read
        for _ in range(64):
            read += 1 << 20
            yield b"\0" * (1 << 20)

    content: Any = b"\0" * (4 << 20) if declared else body()
    said = browser.post(f"/tabs/{tab}/pictures", params={"name": "big.png"}, content=content).json()
    assert said["problem"] == "big.png is larger than 3 MB: crop or scale it down."
    assert not [path for path in folder_of(browser).rglob("*") if path.is_file()]


def test_the_number_of_pictures_and_tabs_is_bounded(browser: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST_PICTURES", 1)
    monkeypatch.setattr(sessions, "MOST_TABS", 1)
    tab = opened(browser)
    dropped(browser, tab, "a.png", b"a")
    assert "1 pictures at most" in dropped(browser, tab, "b.png", b"b")["error"]
    assert "close one" in browser.post("/tabs").json()["error"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 9000, b"{" + b" " * 20_000 + b"}", b'{"kind": "rust"}'])
def test_options_that_cannot_be_read_are_refused_in_a_sentence(
    browser: TestClient, tmp_path: Path, body: bytes
) -> None:
    tab = opened(browser)
    key = dropped(browser, tab, "a.png", png(tmp_path, noisy()))["key"]
    answer = browser.post(f"/tabs/{tab}/pictures/{key}/start", content=body)
    assert answer.status_code in (413, 422)
    assert answer.json()["error"].endswith(".")


# The brush


def test_what_is_filled_again_is_what_was_found_and_missed_without_what_is_to_stay(tmp_path: Path) -> None:
    found, missed, stay = (np.zeros((4, 5, channels), bool) for channels in (3, 1, 1))
    found[0, 0, 0] = found[1, 1] = True
    missed[2, 2] = True
    stay[1, 1] = True
    for name, values in (("found", found), ("missed", missed), ("stay", stay)):
        images.save_values(tmp_path / f"{name}.png", values)
    mask = tmp_path / "mask.png"
    looks.save_mask(mask, [tmp_path / "found.png", tmp_path / "missed.png"], tmp_path / "stay.png", (4, 5, 3))
    assert ((images.load(mask).samples > 127) == ((found | missed) & ~stay)).all()
    with pytest.raises(DipsopError, match=r"mark it with the brush first\.$"):
        looks.save_mask(mask, [None, tmp_path / "nothing.png"], tmp_path / "stay.png", (4, 5, 3))


def test_what_is_painted_must_be_a_picture_of_the_same_size(browser: TestClient, tmp_path: Path) -> None:
    tab = opened(browser)
    key = dropped(browser, tab, "a.png", png(tmp_path, noisy()))["key"]
    place = f"/tabs/{tab}/pictures/{key}/brush"
    white = png(tmp_path, Picture(samples=np.full((20, 24, 1), 255, np.uint8)))
    assert browser.put(f"{place}/missed", content=white).status_code == 204
    assert browser.put(f"{place}/missed", content=b"").status_code == 204
    assert browser.put(f"{place}/stay", content=b"none").status_code == 422
    small = png(tmp_path, Picture(samples=np.full((5, 5, 1), 255, np.uint8)))
    misfit = browser.put(f"{place}/stay", content=small)
    assert (misfit.status_code, misfit.json()["error"]) == (
        422,
        "what was painted does not fit a.png: reload the page.",
    )
    assert browser.put(f"{place}/..", content=white).status_code in (404, 405)
    assert browser.put(f"{place}/source", content=white).status_code == 404
    assert browser.post(f"/tabs/{tab}/pictures/{key}/start", json={"again": True}).status_code == 422


# What is computed


def test_what_is_downloaded_is_what_the_command_line_writes_bit_for_bit(browser: TestClient, here: Path) -> None:
    tab = opened(browser)
    images.save(Path("deep.png"), noisy(np.uint16))
    said = dropped(browser, tab, "deep.png", Path("deep.png").read_bytes())
    place = f"/tabs/{tab}/pictures/{said['key']}"
    choice = {"steps": 5, "seed": 3, "strength": 10.0}
    line = browser.post(f"{place}/command", json=choice).json()["command"]
    assert line == (
        "dipsop restore deep.png --out deep.restored.png --strength 10 --steps 5 --seed 3 "
        "--corruption-map deep.found.png --record deep.record.json"
    )
    assert browser.post(f"{place}/start", json=choice).json()["stage"] in ("waiting", "running")
    broken = dropped(browser, tab, "broken.png", Path("deep.png").read_bytes()[:90])
    done = waited(browser, tab, said["key"])
    assert (done["stage"], done["problem"], done["result_command"]) == ("done", None, line)
    assert broken["stage"] == "refused"
    assert status(*shlex.split(line)[1:], "--quiet") == 0
    assert done["result"]["fraction_corrupted"] > 0.01
    for part, name in (("out", "deep.restored.png"), ("corruption_map", "deep.found.png")):
        answer = browser.get(f"{place}/files/{part}")
        assert answer.content == Path(name).read_bytes()
        assert name in answer.headers["content-disposition"]
    Path("page.json").write_bytes(browser.get(f"{place}/files/record").content)
    Path("deep.restored.png").rename("typed.png")
    assert status("restore", "--from-record", "page.json", "--json") == 0
    assert Path("deep.restored.png").read_bytes() == Path("typed.png").read_bytes()

    # Again, with the brush: the mask is taken home too, and the command line says so.
    painted = np.zeros((20, 24, 1), np.uint8)
    painted[2:5, 3:9] = 255
    assert browser.put(f"{place}/brush/missed", content=png(here, Picture(samples=painted))).status_code == 204
    assert browser.post(f"{place}/start", json={"again": True, "steps": 4}).status_code == 200
    again = waited(browser, tab, said["key"])
    assert again["stage"] == "done"
    Path("deep.mask.png").write_bytes(browser.get(f"{place}/files/mask").content)
    found = images.load(Path("deep.found.png")).samples > 127
    assert ((images.load(Path("deep.mask.png")).samples > 127) == (found | (painted > 127))).all()
    assert status(*shlex.split(again["result_command"])[1:], "--quiet") == 0
    assert browser.get(f"{place}/files/out").content == Path("deep.restored.png").read_bytes()

    packed = zipfile.ZipFile(BytesIO(browser.get(f"/tabs/{tab}/all.zip").content))
    assert packed.testzip() is None
    assert packed.namelist() == ["deep.restored.png", "deep.found.png", "deep.record.json", "deep.mask.png"]
    assert packed.read("deep.restored.png") == Path("deep.restored.png").read_bytes()
    assert not list(folder_of(browser).rglob("*.zip"))


def test_the_command_line_says_what_is_to_stay_where_the_brush_marked_it(browser: TestClient, tmp_path: Path) -> None:
    tab = opened(browser)
    place = f"/tabs/{tab}/pictures/{dropped(browser, tab, 'a.png', png(tmp_path, noisy(side=32)))['key']}"
    for stay, preset, said in (("false", "quick", False), ("true", "quick", True), ("true", "dip", False)):
        line = browser.post(f"{place}/command?stay={stay}", json={"preset": preset}).json()["command"]
        assert ("--protect a.stay.png" in line) == said


def test_stop_keeps_what_is_there_and_a_closed_tab_ends_its_fit(
    browser: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tab = opened(browser)
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(png(tmp_path, noisy(side=32)))
    said = dropped(browser, tab, "a.png", Path("a.png").read_bytes())
    place = f"/tabs/{tab}/pictures/{said['key']}"
    browser.post(f"{place}/start", json={"steps": 100_000})
    running = waited(browser, tab, said["key"], lambda said: said["stage"] == "running")
    assert "--steps 100000 " in running["command"]
    assert browser.post(f"{place}/stop").json()["stopping"]  # before its first step, most likely
    done = waited(browser, tab, said["key"])
    assert (done["stage"], done["result"]["reason"]) == ("done", "interrupted")
    Path("a.record.json").write_bytes(browser.get(f"{place}/files/record").content)
    assert done["result_command"] == "dipsop restore --from-record a.record.json"
    assert status(*shlex.split(done["result_command"])[1:], "--quiet") == 0
    assert browser.get(f"{place}/files/out").content == Path("a.restored.png").read_bytes()
    browser.post(f"{place}/start", json={"steps": 100_000})
    waited(browser, tab, said["key"], lambda said: said["stage"] == "running" and said["seconds_left"] is not None)
    item = browser.app.state.tabs._tabs[tab].items[said["key"]]  # type: ignore[attr-defined]
    assert browser.post(f"/tabs/{tab}/close").status_code == 204
    assert item.fit._process.returncode is not None
    assert list(folder_of(browser).iterdir()) == []
    assert browser.get(f"/tabs/{tab}").status_code == 404


# Fits take turns; here they are as long as a test wants.


class Slow:
    """Stands in for the work of a fit: notes who runs, and ends when it is let."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ran: list[str] = []
        self.let = Event()
        monkeypatch.setattr(Fit, "run", self._run_for(self))

    @staticmethod
    def _run_for(slow: "Slow") -> Any:
        def run(fit: Fit) -> None:
            slow.ran.append(fit.called["source"])
            assert slow.let.wait(PATIENCE)
            fit.stage = "done"

        return run


def asked(name: str, owner: str, tmp_path: Path) -> Fit:
    return Fit(choices.job(Choice(), tmp_path / "source", tmp_path, ".png", False), choices.names(name, ".png"), owner)


def test_one_fit_runs_at_a_time_and_owners_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    fits = Fits()
    all_of_them = [asked(f"a{k}", "a", tmp_path) for k in range(3)] + [asked("b0", "b", tmp_path)]
    fits.put(all_of_them[0])
    until(lambda: slow.ran == ["a0"])
    for fit in all_of_them[1:]:
        fits.put(fit)
    assert slow.ran == ["a0"]
    assert [fits.ahead_of(fit) for fit in all_of_them[1:]] == [1, 2, 3]
    slow.let.set()
    for fit in all_of_them:
        fit.wait(PATIENCE)
    assert slow.ran == ["a0", "b0", "a1", "a2"]
    fits.close()


def test_a_fault_in_one_fit_is_said_and_the_next_has_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("odd")

    monkeypatch.setattr(worker, "start", fails)
    fits = Fits()
    first, second = asked("first", "a", tmp_path), asked("second", "a", tmp_path)
    for fit in (first, second):
        fits.put(fit)
        fit.wait(PATIENCE)
        assert fit.stage == "failed"
        assert fit.problem == (
            "dipsop met a fault of its own (RuntimeError: odd): start it again, and report it if it comes back."
        )
    fits.close()


def test_a_run_that_ends_while_it_is_told_of_is_done_with_its_result(tmp_path: Path) -> None:
    class Ending(Fit):
        """Is done a moment after it was asked whether it is."""

        @property
        def stage(self) -> Any:
            self.asked = getattr(self, "asked", 0) + 1
            return "running" if self.asked == 1 else "done"

        @stage.setter
        def stage(self, stage: str) -> None:
            pass

    fit = asked("a.png", "a", tmp_path)
    item = Item("key", tmp_path, "a.png", about={"width": 1})
    item.fit = Ending(fit.job, fit.called, "a", report={"reason": "all steps taken"})
    fits = Fits()
    told = [item.told(fits) for _ in range(2)]
    assert [("result" in said, said["stage"]) for said in told] == [(False, "running"), (True, "done")]
    fits.close()


def test_a_fit_that_waits_is_withdrawn_by_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    fits = Fits()
    first, second = asked("first", "a", tmp_path), asked("second", "a", tmp_path)
    fits.put(first)
    until(lambda: slow.ran == ["first"])
    fits.put(second)
    fits.stop(second)
    assert second.stage == "withdrawn"
    slow.let.set()
    fits.close()
    assert slow.ran == ["first"]


def test_a_fit_that_fails_names_the_picture_as_its_owner_does(tmp_path: Path) -> None:
    fit = asked("old photo.png", "a", tmp_path)  # there is no such file
    fit.run()
    assert (fit.stage, fit.problem) == ("failed", "old photo.png does not exist: check the name.")


@pytest.mark.parametrize("part", ["source", "out", "corruption_map", "preview", "record", "mask"])
def test_no_sentence_tells_where_the_files_lie(tmp_path: Path, part: str) -> None:
    fit = asked("old photo.png", "a", tmp_path)
    job = replace(fit.job, mask=tmp_path / "mask.png", record=tmp_path / "r.json", preview=tmp_path / "live.png")
    fit = Fit(replace(job, corruption_map=tmp_path / "found.png"), choices.names("old photo.png", ".png"), "a")
    assert str(tmp_path) not in fit._in_words_of_its_owner(f"{getattr(fit.job, part)} could not be written.")


def test_a_full_disk_is_said_to_be_one(browser: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, tab = png(tmp_path, noisy()), opened(browser)
    key = dropped(browser, tab, "a.png", data)["key"]

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(server, "receive", full)
    painted = browser.put(f"/tabs/{tab}/pictures/{key}/brush/missed", content=data)
    sent = browser.post(f"/tabs/{tab}/pictures", params={"name": "b.png"}, content=data)
    for answer in (painted, sent):
        assert answer.status_code == 507
        assert "(no space left on device): free space there" in answer.json()["error"]
    assert [each["name"] for each in browser.get(f"/tabs/{tab}").json()["pictures"]] == ["a.png"]
    assert len(list(folder_of(browser).rglob("source"))) == 1


# What goes


def test_a_tab_that_gave_no_sign_for_long_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fits = Fits()
    tabs = Tabs(tmp_path, fits)
    old, new = tabs.open("me"), tabs.open("me")
    tabs.get(old, "me").add("a.png").source.write_bytes(b"a")
    tabs.get(old, "me").seen -= sessions.SECONDS_WITHOUT_SIGN + 1
    tabs.sweep()
    assert len(list(tmp_path.iterdir())) == 1
    tabs.get(new, "me")
    with pytest.raises(DipsopError, match="reload the page"):
        tabs.get(old, "me")
    fits.close()


def test_a_tab_that_sleeps_keeps_its_results_as_long_after_the_last_as_after_a_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = Fits()
    tabs = Tabs(tmp_path, fits)
    tab = tabs.get(tabs.open("me"), "me")
    tab.seen -= sessions.SECONDS_WITHOUT_SIGN + 1
    with monkeypatch.context() as busy:
        busy.setattr(sessions.Tab, "is_busy", lambda _: True)
        tabs.sweep()
    tabs.sweep()
    assert tab.folder.is_dir()
    fits.close()


def test_who_comes_by_a_link_from_elsewhere_keeps_the_name_that_the_tabs_are_under() -> None:
    with client() as browser:
        assert "samesite=lax" in browser.get("/").headers["set-cookie"].lower()


def test_a_picture_that_is_taken_away_leaves_nothing(browser: TestClient, tmp_path: Path) -> None:
    tab = opened(browser)
    said = dropped(browser, tab, "a.png", png(tmp_path, noisy()))
    assert browser.delete(f"/tabs/{tab}/pictures/{said['key']}").status_code == 204
    assert browser.get(f"/tabs/{tab}").json() == {"pictures": []}
    assert not [path for path in folder_of(browser).rglob("*") if path.is_file()]


def test_everything_goes_when_the_server_ends(tmp_path: Path) -> None:
    with client() as browser:
        browser.get("/")
        dropped(browser, opened(browser), "a.png", png(tmp_path, noisy()))
        folder = folder_of(browser)
        assert folder.exists()
    assert not folder.exists()


# The labels


def test_without_a_review_a_sentence_stands_in_its_tab(tmp_path: Path) -> None:
    with client() as browser:
        assert "--run" in browser.get("/about").json()["labels"]["sentence"]
    with client(run=tmp_path) as browser:
        assert "labels.html" in browser.get("/about").json()["labels"]["sentence"]


def test_the_review_of_a_run_is_served_in_a_sandbox_and_nothing_beside_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "labels_files").mkdir(parents=True)
    (run / "labels.html").write_text("<p>labels")
    (run / "labels_files" / "1.jpg").write_bytes(b"1")
    (run / "model.pt").write_bytes(b"secret")
    with client(run=run) as browser:
        address = browser.get("/about").json()["labels"]["address"]
        page = browser.get(address)
        assert page.text == "<p>labels"
        assert page.headers["content-security-policy"].startswith("sandbox allow-scripts allow-downloads")
        assert "allow-same-origin" not in page.headers["content-security-policy"]
        folder = address.rpartition("/")[0]
        assert browser.get(f"{folder}/labels_files/1.jpg").content == b"1"
        for outside in (
            "labels_files/../model.pt",
            "labels_files/%2e%2e/model.pt",
            "model.pt",
            "labels_files/..%2fmodel.pt",
        ):
            assert browser.get(f"{folder}/{outside}").status_code == 404
        assert browser.get("/labels/guess/labels.html").status_code == 404


# The command


def test_without_a_web_server_a_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert status("page", "--no-browser") == 1
    assert capsys.readouterr().err == "dipsop: the page needs a small web server: pip install 'dipsop[page]'.\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--host", "0.0.0.0"], 2, "say --password too"),
        (["--password", ""], 2, "choose one"),
        (["--run", "nowhere"], 1, "nowhere is not a folder"),
        (["--run", "x" * 300], 1, "is not a folder"),
        (["--host", "192.0.2.1", "--password", "x"], 1, "say another --host."),
        (["--host", "nosuch.invalid", "--password", "x"], 1, "say another --host."),
    ],
)
def test_what_cannot_be_served_is_said_in_a_sentence(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status("page", "--no-browser", *arguments) == code
    error = capsys.readouterr().err
    assert words in " ".join(re.sub("[│╭╮╰╯─]", " ", error).split())
    assert "Traceback" not in error


def test_a_port_that_is_taken_is_said_and_without_one_named_the_next_is_tried() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DipsopError, match=rf"port {port} cannot be listened at .*: say another --port"):
            listen("127.0.0.1", port)
    with listen("127.0.0.1", None) as first, listen("127.0.0.1", None) as second:
        assert first.getsockname()[1] != second.getsockname()[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_server_serves_and_leaves_nothing_behind_when_it_is_ended(tmp_path: Path, number: int) -> None:
    command = ["-m", "dipsop", "page", "--no-browser", "--port", "0"]
    with started(command, tmp_path, TMPDIR=str(tmp_path), PYTHONPATH=str(Path(__file__).parents[1])) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[4]
        with urllib.request.urlopen(f"{address}about", timeout=PATIENCE) as answer:
            assert json.loads(answer.read())["local"] is True
        assert [path.name[:12] for path in tmp_path.iterdir()] == ["dipsop-page-"]
        process.send_signal(number)
        out, error = process.communicate(timeout=PATIENCE)
    assert process.returncode in (0, -signal.SIGTERM if number == signal.SIGHUP else -number)
    assert (out, error) == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_the_server_outlives_its_terminal_where_nohup_asks_for_it(tmp_path: Path) -> None:
    code = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); import dipsop.__main__"
    environment = {"TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[1])}
    with started(["-c", code, "page", "--no-browser", "--port", "0"], tmp_path, **environment) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[4]
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        with urllib.request.urlopen(f"{address}about", timeout=PATIENCE) as answer:
            assert answer.status == 200


def test_the_address_to_open_is_one_that_a_browser_on_this_machine_has() -> None:
    assert address_of("127.0.0.1", 7860) == "http://127.0.0.1:7860/"
    assert address_of("0.0.0.0", 1) == "http://127.0.0.1:1/"
    assert address_of("::", 1) == "http://[::1]:1/"
    assert address_of("2001:db8::5", 1) == "http://[2001:db8::5]:1/"
