"""The page in a browser, as a person uses it: Debian's chromium, headless. Run with `pytest -m page`.

With DIPSOP_PAGE_SCREENSHOT=images/page.webp in the environment, the README's picture is made anew, in some minutes.
"""

import json
import os
import re
import shlex
import shutil
import time
from base64 import b64encode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import started, status, until
from PIL import Image

from dipsop.pictures import images
from dipsop.pictures.picture import Picture

ROOT = Path(__file__).parents[1]
PATIENCE = 60  # seconds
pytestmark = pytest.mark.page

# What a drop is to the page: files that another program hands over.
DROP = """files => {
    const held = new DataTransfer();
    for (const [name, data] of files)
        held.items.add(new File([Uint8Array.from(atob(data), c => c.charCodeAt(0))], name));
    document.dispatchEvent(new DragEvent("drop", {dataTransfer: held, bubbles: true, cancelable: true}));
}"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server of its own, with a run of `dipsop classify` to look through: its address, and where it keeps files."""
    folder = tmp_path_factory.mktemp("server")
    run = tmp_path_factory.mktemp("run")
    (run / "labels_files").mkdir()
    images.save(run / "labels_files" / "1.png", Picture(samples=np.full((5, 7, 3), 200, np.uint8)))
    (run / "labels.html").write_text(
        "<img src='labels_files/1.png'><p id=said></p><script>let words = '';"
        "addEventListener('load', () => { said.textContent = document.images[0].naturalWidth + words; })</script>"
        "<script src='labels_files/2.js'></script>"
    )
    (run / "labels_files" / "2.js").write_text("words = ' wide';")
    arguments = ["-m", "dipsop", "page", "--no-browser", "--port", "0", "--run", str(run)]
    with started(arguments, ROOT, TMPDIR=str(folder)) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[4], folder


@pytest.fixture
def tab(browser: Any, served: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A tab of a browser of its own, on the page, which asks nothing elsewhere and has nothing to complain of."""
    monkeypatch.chdir(tmp_path)
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    context.set_default_timeout(1000 * PATIENCE)
    tab, complaints = opened(context, served[0])
    yield tab
    for page in context.pages:  # which closes its tab on the server too, as the whole browser at once does not
        page.close()
    context.close()
    assert [text for text in complaints if not text.startswith("Canvas2D")] == []  # that is what `colours` does


def opened(context: Any, address: str) -> tuple[Any, list[str]]:
    tab = context.new_page()
    complaints: list[str] = []
    tab.on("console", lambda said: said.type in ("error", "warning") and complaints.append(said.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda asked: asked.url.startswith((address, "blob:", "data:")) or complaints.append(asked.url))
    tab.goto(address)
    until(lambda: tab.text_content("#private"))
    return tab, complaints


def noisy(name: str, dtype: type = np.uint8, side: int = 40) -> Path:
    """A part of the astronaut with a tenth of its values replaced."""
    clean = images.load(ROOT / "images" / "astronaut.png").values[80 : 80 + side, 190 : 198 + side]
    draw = np.random.default_rng(list(name.encode()))
    values = np.where(draw.random(clean.shape) < 0.1, draw.random(clean.shape), clean)
    samples = np.rint(values * np.iinfo(dtype).max).astype(dtype)
    images.save(Path(name), Picture(samples=samples, dpi=(300.0, 300.0)))
    return Path(name)


def drop(tab: Any, *paths: Path) -> None:
    tab.evaluate(DROP, [[path.name, b64encode(path.read_bytes()).decode()] for path in paths])


def steps(tab: Any, number: int) -> None:
    """Choose how many steps a fit takes; before there is a picture, the options are out of sight."""
    tab.evaluate("steps => { document.getElementById('steps').value = steps }", number)


def saved(tab: Any, part: str) -> Path:
    """Download a part of the result, under the name that it is offered by."""
    with tab.expect_download() as waiting:
        tab.click(f"#downloads [data-part={part}]")
    path = Path(waiting.value.suggested_filename)
    waiting.value.save_as(path)
    return path


def typed(tab: Any) -> list[str]:
    """Arguments of the command line that the page shows."""
    command = shlex.split(tab.text_content("#command"))
    assert command[0] == "dipsop"
    return command[1:]


def colours(tab: Any, share: float) -> np.ndarray:  # type: ignore[type-arg]
    """What the canvas shows in a column, at a share of its width."""
    script = """share => { const c = document.getElementById("canvas");
        return [...c.getContext("2d").getImageData(Math.round(share * c.width), 0, 1, c.height).data] }"""
    return np.array(tab.evaluate(script, share)).reshape(-1, 4)


def test_a_picture_is_dropped_watched_stopped_and_saved(tab: Any) -> None:
    steps(tab, 100_000)
    begin = time.monotonic()
    drop(tab, noisy("photo.png", np.uint16))
    until(lambda: tab.text_content("#tag-after") == "First look")
    until(lambda: len(np.unique(colours(tab, 0.6), axis=0)) > 5)
    assert time.monotonic() < begin + 3
    first = colours(tab, 0.6)
    until(lambda: tab.text_content("#tag-after") == "So far")
    until(lambda: not np.array_equal(colours(tab, 0.6), first))
    assert 0 < float(tab.get_attribute("#progress progress", "value")) < 1
    assert re.search(r"\d (s|min|h).* left", tab.text_content("#left"))
    tab.click("#stop")
    tab.wait_for_selector("#queue li.done")
    assert "stopped early" in tab.text_content("#summary")
    assert re.fullmatch(r"photo\.png: .* found", tab.text_content("#said"))
    picture, record = saved(tab, "out"), saved(tab, "record")
    assert picture.name == "photo.restored.png"
    kept = images.load(picture)
    assert (kept.samples.dtype, kept.dpi) == (np.uint16, pytest.approx((300.0, 300.0), abs=0.1))
    on_page = picture.read_bytes()
    assert status("restore", "--from-record", record, "--quiet") == 0  # which takes as many steps
    assert picture.read_bytes() == on_page


def test_what_is_saved_is_what_the_command_line_beside_it_writes(tab: Any) -> None:
    steps(tab, 6)
    tab.evaluate("document.getElementById('strength').value = 0.1")
    drop(tab, noisy("photo.tif"))
    tab.wait_for_selector("#queue li.done")
    on_page = {path.name: path.read_bytes() for path in (saved(tab, "out"), saved(tab, "corruption_map"))}
    assert on_page.keys() == {"photo.restored.tif", "photo.found.png"}
    for name in on_page:
        Path(name).unlink()
    assert status(*typed(tab), "--quiet") == 0
    assert {name: Path(name).read_bytes() for name in on_page} == on_page

    # The brush: something that was missed, and something that is to stay; then again.
    picture = images.load(Path("photo.tif"))
    middle = middle_of(tab)
    for way in ("missed", "stay"):
        tab.click(f"[name=brush][value={way}] + span")
        tab.mouse.move(middle[0] - 90, middle[1] + (70 if way == "stay" else -70))
        tab.mouse.down()
        tab.mouse.move(middle[0] + 90, middle[1] + (70 if way == "stay" else -70), steps=4)
        tab.mouse.up()
    tab.click("[name=brush][value=erase] + span")
    tab.mouse.click(*middle)
    tab.click("#undo")
    tab.click("#again")
    tab.wait_for_selector("#downloads [data-part=mask]")
    assert tab.is_checked("[name=brush][value='']")  # the strokes are out of the way of what is under them
    again, mask = saved(tab, "out"), saved(tab, "mask")
    on_page = {again.name: again.read_bytes()}
    found, filled = (images.load(Path(name)).samples > 127 for name in ("photo.found.png", mask.name))
    row, column, off = found.shape[0] / 2, found.shape[1] // 2, 7000 / int(tab.text_content("#zoom").split()[0])
    assert filled[int(row - off), column].all()
    assert not filled[int(row + off), column].any()
    assert (found & ~filled).any()
    assert (filled & ~found).any()
    changed = images.load(again).samples != picture.samples
    assert not (changed & ~filled).any()
    Path(again).unlink()
    assert "--mask" in typed(tab)
    assert status(*typed(tab), "--quiet") == 0
    assert Path(again).read_bytes() == on_page[again.name]


def test_start_anew_starts_one_run_and_shows_an_option_that_cannot_be(tab: Any) -> None:
    steps(tab, 3)
    drop(tab, noisy("photo.png"))
    tab.wait_for_selector("#queue li.done")
    started_by_click: list[str] = []
    tab.on("request", lambda asked: asked.url.endswith("/start") and started_by_click.append(asked.url))
    number = "() => document.querySelector('#downloads [data-part=out]')?.href"
    before = tab.evaluate(number)
    tab.click("#start")
    until(lambda: tab.evaluate(number) not in (before, None))
    assert len(started_by_click) == 1
    steps(tab, -1)
    assert not tab.is_visible("#steps")
    tab.click("#start")
    until(lambda: tab.is_visible("#steps"))
    assert len(started_by_click) == 1


def middle_of(tab: Any) -> tuple[float, float]:
    box = tab.locator("#canvas").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_a_broken_file_among_several_is_harmless_and_all_results_come_as_a_zip(tab: Any) -> None:
    steps(tab, 3)
    good, other = noisy("good.png"), noisy("<b>other.png")
    broken = Path("broken.png")
    broken.write_bytes(good.read_bytes()[:500])
    drop(tab, good, broken, other)
    until(lambda: tab.locator("#queue li.done").count() == 2)
    (sentence,) = tab.locator("#queue li.bad .open span").all_text_contents()
    assert sentence == "broken.png is damaged or cut short: copy or export it again."
    with tab.expect_download() as waiting:
        tab.click("#zip")
    waiting.value.save_as("all.zip")
    shutil.unpack_archive("all.zip", "all")
    assert {"good.restored.png", "good.found.png", "good.record.json", "bother.restored.png"} <= set(os.listdir("all"))
    assert json.loads(Path("all", "good.record.json").read_text())["job"]["source"] == "good.png"
    names = ["good.png", "broken.png", "bother.png"]
    assert tab.locator("#queue .open strong").all_text_contents() == names
    tab.focus("#queue li.bad .away")
    tab.keyboard.press("Enter")
    until(lambda: tab.locator("#queue li").count() == 2)
    assert tab.evaluate("document.activeElement.querySelector('strong').textContent") == "bother.png"


def test_why_a_picture_was_not_started_stays_to_be_read(tab: Any, served: tuple[str, Path]) -> None:
    mine, _ = opened(tab.context, served[0])  # whose console has the refusal
    steps(mine, 0)
    drop(mine, noisy("photo.png"))
    until(lambda: mine.locator("#queue li").count() == 1 and mine.is_visible("#trouble"))
    mine.wait_for_timeout(3000)  # it asks how things are meanwhile
    assert mine.text_content("#trouble") == "The steps must be a number from 1 to 1000000."
    mine.click("#trouble")
    assert not mine.is_visible("#trouble")


def test_two_tabs_do_not_mix_and_a_closed_one_leaves_nothing(tab: Any, served: tuple[str, Path]) -> None:
    address, folder = served
    steps(tab, 100_000)
    drop(tab, noisy("mine.png"))
    tab.wait_for_selector("#queue li.running")
    other, complaints = opened(tab.context, address)
    drop(other, noisy("theirs.png"))
    other.wait_for_selector("#queue li.waiting")
    assert "waits for one other" in other.text_content("#queue")
    assert other.locator("#queue strong").all_text_contents() == ["theirs.png"]
    assert tab.locator("#queue strong").all_text_contents() == ["mine.png"]
    (mine,) = [path for path in folder.rglob("*/*/source") if path.read_bytes() == Path("mine.png").read_bytes()]
    tab.close()
    until(lambda: not mine.parent.parent.exists())
    other.wait_for_selector("#queue li.running")
    other.close()
    until(lambda: not list(folder.rglob("source")))
    assert complaints == []


def next_focus(tab: Any) -> str:
    """Press the tabulator, and say what has the focus then."""
    focus = "document.activeElement.id"
    before = tab.evaluate(focus)
    tab.keyboard.press("Tab")
    until(lambda: tab.evaluate(focus) != before)
    return str(tab.evaluate(focus))


def test_the_page_is_used_by_keyboard(tab: Any) -> None:
    choosers: list[Any] = []
    tab.on(
        "filechooser", lambda chooser: choosers.append(chooser)
    )  # long before: the browser must know that it is not to open a dialogue
    assert [next_focus(tab), next_focus(tab)] == ["tab-pictures", "choose"]  # the two tabs of the page are one stop
    steps(tab, 3)
    tab.keyboard.press("Enter")
    until(lambda: tab.evaluate("true") and choosers)  # an event is heard while something is asked
    choosers[0].set_files(noisy("photo.png"))
    tab.wait_for_selector("#queue li.done")
    tab.focus("#canvas")
    before = float(tab.input_value("#wipe"))
    tab.keyboard.press("ArrowRight")
    assert float(tab.input_value("#wipe")) > before
    tab.keyboard.press("1")
    until(lambda: tab.text_content("#zoom") == "100 %")
    for _ in range(9):
        tab.keyboard.press("+")
    until(lambda: int(tab.text_content("#zoom").split()[0]) > 3000)
    left = colours(tab, 0.1)  # single pixels, with edges as sharp as they are
    assert len(np.unique(left[left[:, 3] > 0], axis=0)) < 30
    tab.keyboard.press("0")
    tab.check("[name=brush][value=missed]", force=True)
    tab.focus("#canvas")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Enter")
    assert tab.is_enabled("#again")
    assert tab.is_enabled("#undo")
    unnamed = """[...document.querySelectorAll("button, input, select, a, canvas")].filter(
        each => each.checkVisibility() && ![each.textContent, each.labels?.[0]?.textContent, each.ariaLabel].some(
            words => words?.trim())).length"""
    assert tab.evaluate(unnamed) == 0
    tab.click("#tab-labels")
    until(lambda: tab.frame_locator("#labels iframe").locator("#said").text_content() == "7 wide")
    tab.keyboard.press("ArrowLeft")
    assert tab.is_visible("#canvas")


def test_the_page_fits_a_narrow_window_and_is_dark_where_the_system_is(tab: Any) -> None:
    steps(tab, 3)
    drop(tab, noisy("photo.png"))
    tab.wait_for_selector("#queue li.done")
    ground = "getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).map(Number)"
    assert min(tab.evaluate(ground)) > 200
    tab.emulate_media(color_scheme="dark")
    tab.set_viewport_size({"width": 360, "height": 740})
    assert max(tab.evaluate(ground)) < 60
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    tab.screenshot(path="narrow.png", full_page=True)
    assert images.load(Path("narrow.png")).samples.mean() < 100


@pytest.mark.skipif("DIPSOP_PAGE_SCREENSHOT" not in os.environ, reason="made where DIPSOP_PAGE_SCREENSHOT names a file")
def test_the_picture_of_the_readme_is_made(tab: Any) -> None:
    tab.set_default_timeout(3_600_000)
    steps(tab, int(os.environ.get("DIPSOP_PAGE_STEPS", 400)))
    drop(tab, ROOT / "images" / "astronaut_random_valued_30.png", ROOT / "images" / "astronaut_scratched.png")
    tab.wait_for_selector("#queue li.done")
    until(lambda: tab.text_content("#tag-after") == "After")
    tab.mouse.move(0, 0)
    time.sleep(1)
    path = ROOT / os.environ["DIPSOP_PAGE_SCREENSHOT"]
    shot = Image.open(BytesIO(tab.screenshot())).convert("RGB")
    shot.save(path, quality=84, method=6)  # WebP: noise packs badly as PNG
    assert path.stat().st_size < 144_000
