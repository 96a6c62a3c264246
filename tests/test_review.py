"""labels.html: what is in it, and, in a browser, what a person does with it."""

import base64
import csv
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from command_line import CLASSIFY, status
from PIL import Image
from test_classification_data import write_cifar10

from dipsop.classification import corrections, report, review
from dipsop.classification.dataset import Dataset


def content(page: Path):
    """The list in a page, and the pictures that are in it."""
    text = page.read_text(encoding="utf-8")
    return tuple(json.loads(re.search(rf"const {name} = (.*);", text)[1]) for name in ("RUN", "INSIDE"))


def size(packed):
    with Image.open(io.BytesIO(base64.b64decode(packed))) as image:
        assert image.format == "WEBP"
        return image.size


def listed(data, seed=0):
    """A list of the data, by chance."""
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(len(data.classes)), len(data.given))
    return report.suspects(probabilities, data.given, data.classes, data.names)


def coloured(count, classes=("cat", "dog"), **more):
    """Images of 8×8, each of a grey of its own."""
    images = np.repeat(np.arange(count, dtype=np.uint8), 3 * 64).reshape(count, 3, 8, 8)
    given = np.arange(count) % len(classes)
    return Dataset(images, given, None, classes, images[:0], given[:0], **more)


def test_a_run_of_a_folder_leaves_one_page_with_whole_pictures(dirty, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert status("classify", "--data", "data", "--out", "run", "--epochs", 1, "--quiet", *CLASSIFY) == 0
    run, pictures = content(tmp_path / "run" / "labels.html")
    rows = list(csv.DictReader((tmp_path / "run" / "labels.csv").read_text().splitlines()))
    assert run["samples"] == [row["sample"] for row in rows]
    assert [run["classes"][k] for k in run["given"]] == [row["given_label"] for row in rows]
    assert [run["classes"][k] for k in run["suggested"]] == [row["suggested_label"] for row in rows]
    assert run["score"] == pytest.approx([float(row["score"]) for row in rows], abs=1e-4)
    assert (run["data"], run["home"], run["version"]) == ("data", "../", 1)
    assert [size(packed) for packed in pictures] == [(20, 18)] * 80  # not the squares that were trained on
    assert not (tmp_path / "run" / "labels_files").exists()


def test_a_run_of_cifar_shows_the_images_by_their_index(tmp_path):
    write_cifar10(tmp_path)
    run = tmp_path / "run"
    assert status("classify", "--data", tmp_path, "--out", run, "--epochs", 1, "--batch", 8, "--quiet") == 0
    found, pictures = content(run / "labels.html")
    assert found["home"] is None
    assert sorted(map(int, found["samples"])) == list(range(len(pictures)))
    assert size(pictures[0]) == (32, 32)


def test_the_page_takes_nothing_from_outside(tmp_path):
    review.write(tmp_path, listed(coloured(4)), coloured(4), "data")
    text = (tmp_path / "labels.html").read_text()
    assert not re.search(r"https?:|//[a-z]|@import|\bfetch\(|XMLHttpRequest|WebSocket", text)
    assert not re.search(r"<(script|link|img|iframe)[^>]* (src|href)=\"(?!data:)", text)


def test_pictures_of_large_sets_lie_beside_the_page_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(review, "IN_PAGE", 10)
    monkeypatch.setattr(review, "CHUNK", 4)
    data = coloured(19)
    found = listed(data)
    (tmp_path / "labels_files").mkdir()
    (tmp_path / "labels_files" / "9.js").write_text("of the list before")
    review.write(tmp_path, found, data, "data")
    run, inside = content(tmp_path / "labels.html")
    assert (run["in_page"], run["chunk"], len(inside)) == (10, 4, 10)
    chunks = {path.name: path.read_text() for path in (tmp_path / "labels_files").iterdir()}
    assert sorted(chunks) == ["0.js", "1.js", "2.js"]
    pictures = list(inside)
    for number in range(3):
        called = re.fullmatch(rf"pictures\({number},(.*)\)\n", chunks[f"{number}.js"])
        pictures += json.loads(called[1])
    assert len(pictures) == 19
    for one, packed in zip(found, pictures, strict=True):
        with Image.open(io.BytesIO(base64.b64decode(packed))) as image:
            assert np.asarray(image).mean() == pytest.approx(int(one.sample), abs=3)


def test_pictures_that_have_gone_are_shown_as_they_were_seen_or_not_at_all(tmp_path):
    gone = tuple(tmp_path / f"{k}.png" for k in range(4))
    data = coloured(4, paths=gone)
    review.write(tmp_path, listed(data), data, "data")
    assert [size(packed) for packed in content(tmp_path / "labels.html")[1]] == [(8, 8)] * 4
    unread = Dataset(
        np.empty((4, 3, 0, 0), np.uint8), data.given, None, data.classes, data.test_images, data.given, gone
    )
    review.write(tmp_path, listed(unread), unread, "data")
    assert [size(packed) for packed in content(tmp_path / "labels.html")[1]] == [(64, 64)] * 4


def test_no_name_of_a_file_or_class_ends_the_script(tmp_path):
    data = coloured(2, classes=("</script><b>", "/*INSIDE*/"), paths=(Path("</script>"), Path("/*SCRIPT*/")))
    review.write(tmp_path, listed(data), data, "</script>")
    assert (tmp_path / "labels.html").read_text().count("</script>") == 1
    assert sorted(content(tmp_path / "labels.html")[0]["classes"]) == ["/*INSIDE*/", "</script><b>"]


def test_another_list_is_another_run(tmp_path):
    data = coloured(6)
    names = []
    for seed in (0, 0, 1):
        review.write(tmp_path, listed(data, seed), data, "data")
        names.append(content(tmp_path / "labels.html")[0]["run"])
    review.write(tmp_path, listed(data, 0), data, "data", ("dipsop classify --device cpu",), "corrections-2.csv")
    names.append(content(tmp_path / "labels.html")[0]["run"])
    assert names[0] == names[1] == names[3] != names[2]


def opened(browser, folder, data, saved_as="corrections.csv", **more):
    """The page of a list of that data; what it complains about fails the test that asks."""
    review.write(folder, listed(data), data, "data", (), saved_as)
    page = browser.new_context(viewport={"width": 1200, "height": 800}, **more).new_page()
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("console", lambda message: page.complaints.append(message.text))
    page.goto((folder / "labels.html").as_uri())
    page.wait_for_selector(".tile img[src]")
    return page


def pressed(page, keys):
    for key in keys.split():
        page.keyboard.press(key)


def saved(page, folder):
    with page.expect_download() as download:
        page.click("#save")
    assert download.value.suggested_filename == "corrections.csv"
    download.value.save_as(folder / "corrections.csv")
    return corrections.read(folder / "corrections.csv")


@pytest.mark.page
def test_keys_decide_and_what_was_decided_is_saved_as_csv(browser, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd = os.fsdecode(b'caf\xe9, "a".png')
    paths = [Path("photos & more", f"{k}#.png") for k in range(29)] + [Path(odd)]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (300, 200)).save(path)
    data = coloured(30, classes=("cat", "dog", "cow"), paths=tuple(paths))
    found = listed(data)
    page = opened(browser, tmp_path, data)
    page.wait_for_function("document.getElementById('picture').naturalWidth === 300")  # the file itself
    pressed(page, "k s c 3 ArrowRight ArrowLeft c u")
    last = next(k for k, one in enumerate(found) if one.sample == odd)
    page.click(f".tile >> nth={last}")
    pressed(page, "1")
    assert page.text_content("#count").startswith("5 of 30 looked at")
    given = [one.given for one in found]
    other = found[2].suggested
    told = {one.sample: (one.given, one.label) for one in saved(page, tmp_path)}
    expected = {found[0].sample: (given[0], given[0]), found[2].sample: (given[2], other)}
    expected |= {found[3].sample: (given[3], "cow"), odd: (found[last].given, "cat")}
    assert told == expected
    another = page.context.new_page()
    another.goto(page.url)
    page.evaluate("localStorage.clear()")  # as a browser that is slow to write it has it
    page.reload()
    for tab in (page, another):
        tab.wait_for_selector(".tile img[src]")
        assert tab.text_content("#count").startswith("5 of 30 looked at")
        assert tab.get_attribute(".tile >> nth=4", "aria-current") == "true"  # where it was left
    assert page.complaints == []


@pytest.mark.page
def test_two_tabs_keep_the_decisions_of_both(browser, tmp_path):
    data = coloured(6)
    page = opened(browser, tmp_path, data)
    another = page.context.new_page()
    another.goto(page.url)
    pressed(page, "k k")
    another.wait_for_function("document.getElementById('count').textContent.startsWith('2 of 6')")
    assert another.get_attribute(".tile >> nth=1", "data-state") == "keep"
    another.click(".tile >> nth=4")
    pressed(another, "k")
    page.wait_for_function("document.getElementById('count').textContent.startsWith('3 of 6')")
    pressed(page, "u")
    kept = {one.sample for one in saved(page, tmp_path)}
    found = listed(data)
    assert kept == {found[0].sample, found[4].sample}
    assert page.complaints == []


@pytest.mark.page
def test_a_key_that_is_held_decides_once_and_moves_on(browser, tmp_path):
    page = opened(browser, tmp_path, coloured(12))
    for key in ("k", "ArrowRight"):
        for _ in range(4):
            page.keyboard.down(key)  # a repeat, from the second on
        page.keyboard.up(key)
    assert page.text_content("#count").startswith("1 of 12 looked at")
    assert page.get_attribute(".tile >> nth=5", "aria-current") == "true"
    page.focus("#keep")
    for _ in range(4):
        page.keyboard.down("Enter")
    page.keyboard.up("Enter")
    assert page.text_content("#count").startswith("2 of 12 looked at")
    assert page.complaints == []


@pytest.mark.page
@pytest.mark.parametrize(("classes", "chosen"), [("0123456789", "7"), (["zero", *"123456789"], "6")])
def test_classes_that_are_called_by_a_digit_have_it_as_their_key(browser, tmp_path, classes, chosen):
    """Others have theirs in order: the seventh of them, "6", has the 7."""
    data = coloured(12, classes=tuple(classes))
    page = opened(browser, tmp_path, data)
    first = listed(data)[0].sample
    pressed(page, "7")
    (made,) = saved(page, tmp_path)
    assert (made.sample, made.label) == (first, chosen)
    assert page.complaints == []


@pytest.mark.page
def test_a_change_where_nothing_else_is_suggested_says_so(browser, tmp_path):
    data = coloured(12)
    page = opened(browser, tmp_path, data)
    for one in listed(data):
        if one.suggested == one.given:
            break
        pressed(page, "ArrowRight")
    pressed(page, "c")
    assert page.text_content("#said") == "Nothing else is suggested: name the class."
    assert page.text_content("#count").startswith("0 of 12 looked at")
    assert page.complaints == []


@pytest.mark.page
def test_a_pair_in_the_picture_of_confusion_filters_the_list(browser, tmp_path):
    data = coloured(200, classes=("cat", "dog", "cow"))
    found = listed(data)
    page = opened(browser, tmp_path, data)
    number = sum((one.given, one.suggested) == ("cat", "cow") for one in found)
    button = page.get_by_role("button", name=f"given cat, suggested cow: {number}", exact=True)
    assert button.text_content() == str(number)
    button.click()
    assert page.locator(".tile").count() == number
    assert page.text_content("#count").startswith(f"0 of {number} looked at here")
    pressed(page, "c")
    assert page.text_content("#count").startswith(f"1 of {number} looked at here")
    page.select_option("#state", "open")
    assert page.locator(".tile").count() == number - 1
    button.click()
    page.select_option("#state", "change")
    assert page.locator(".tile").count() == 1
    page.click("#clear")
    page.wait_for_function("document.querySelectorAll('.tile').length === 60")
    assert page.text_content("#which") == "page 1 of 4"
    assert page.complaints == []


@pytest.mark.page
def test_a_large_list_of_many_classes_turns_its_pages(browser, tmp_path, monkeypatch):
    monkeypatch.setattr(review, "IN_PAGE", 100)
    data = coloured(240, classes=tuple(f"class {k}" for k in range(30)))
    page = opened(browser, tmp_path, data)
    page.click("#later")
    page.click("#later")
    page.wait_for_function("[...document.querySelectorAll('.tile img')].every(image => image.naturalWidth === 8)")
    page.select_option("#others", "17")
    assert page.get_attribute(".tile >> nth=0", "data-state") == "change"
    assert page.text_content(".tile >> nth=0 >> .mark") == "class 17"
    assert page.locator("#pairs li").count() > 20
    assert page.complaints == []


@pytest.mark.page
def test_keys_decide_after_a_filter_was_chosen_by_pointer_and_stay_with_it_by_key(browser, tmp_path):
    data = coloured(40, classes=("cat", "dog", "cow"))
    page = opened(browser, tmp_path, data)
    page.click("#state")
    page.keyboard.press("Escape")
    page.evaluate("dispatchEvent(new PointerEvent('pointerdown'))")
    page.evaluate("document.querySelector('#state').focus()")
    page.select_option("#state", "open")
    assert page.evaluate("document.activeElement.tagName") == "BODY"
    pressed(page, "k")
    assert page.text_content("#count").startswith("1 of 40")
    page.focus("#given")
    page.keyboard.press("ArrowDown")
    assert page.input_value("#given") == "0"
    assert page.evaluate("document.activeElement.id") == "given"
    assert page.complaints == []


@pytest.mark.page
def test_arrows_pass_by_other_classes_and_enter_decides(browser, tmp_path):
    page = opened(browser, tmp_path, coloured(24, classes=tuple(f"class {k}" for k in range(12))))
    page.focus("#others")
    for _ in range(12):
        page.keyboard.press("ArrowDown")
    assert page.text_content("#count").startswith("0 of 24")
    page.keyboard.press("Enter")
    assert page.text_content(".tile >> nth=0 >> .mark") == "class 11"
    assert page.text_content("#count").startswith("1 of 24")
    assert page.complaints == []


@pytest.mark.page
def test_undo_goes_to_a_label_that_the_filters_hide(browser, tmp_path):
    data = coloured(30, classes=("cat", "dog", "cow"))
    found = listed(data)
    page = opened(browser, tmp_path, data)
    pressed(page, "ArrowRight ArrowRight ArrowRight c")
    other = next(name for name in ("cat", "dog", "cow") if name != found[3].given)
    page.select_option("#given", label=other)
    pressed(page, "u")
    page.wait_for_function("document.querySelectorAll('.tile').length === 30")
    page.wait_for_timeout(100)  # what a listener does later comes too late
    assert page.get_attribute(".tile >> nth=3", "aria-current") == "true"
    assert page.complaints == []


@pytest.mark.page
def test_nothing_is_cut_off_on_a_telephone(browser, tmp_path):
    data = coloured(80, classes=("an_unusually_long_name_of_a_class", "dog"))
    page = opened(browser, tmp_path, data, color_scheme="dark")
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(23, 24, 26)"
    assert page.complaints == []


@pytest.mark.page
def test_decisions_are_saved_under_the_name_of_their_round(browser, tmp_path):
    page = opened(browser, tmp_path, coloured(6), saved_as="corrections-2.csv")
    pressed(page, "k")
    with page.expect_download() as download:
        page.click("#save")
    assert download.value.suggested_filename == "corrections-2.csv"
    assert page.text_content("#said") == "1 decision saved as corrections-2.csv."
    assert "as corrections-2.csv, then" in page.inner_text("body")
    assert page.complaints == []


@pytest.mark.page
def test_a_frame_that_keeps_nothing_says_so(browser, tmp_path):
    data = coloured(6)
    review.write(tmp_path, listed(data), data, "data")
    (tmp_path / "around.html").write_text('<iframe src="labels.html" sandbox="allow-scripts" width="900" height="700">')
    page = browser.new_page()
    page.goto((tmp_path / "around.html").as_uri())
    frame = page.frame_locator("iframe")
    frame.locator("#keep").click()
    assert "This browser keeps nothing: save before you leave." in frame.locator("#said").text_content()
