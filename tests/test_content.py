"""What print and drawings are, and the specks on them."""

import pytest
import torch

from dipsop.restoration.content import Content, alone, connected, is_drawn, levels_of_specks, scattered
from dipsop.sop import SparseCorruption


def test_a_drawing_is_told_from_a_photograph_and_from_a_drawing_with_noise():
    drawing = torch.full((1, 3, 64, 64), 0.9)
    drawing[..., ::8, :] = 0.1
    assert is_drawn(drawing)
    random = torch.Generator().manual_seed(6)
    assert not is_drawn((255 * drawing + 3 * torch.randn(drawing.shape, generator=random)).round() / 255)
    assert not is_drawn(torch.where(torch.rand(drawing.shape, generator=random) < 0.3, 0.5, drawing))
    assert not is_drawn(drawing[..., :1])


def test_the_few_values_that_a_network_leaves_of_a_drawing_are_content_but_for_those_that_lie_alone():
    y = torch.full((1, 3, 120, 120), 0.9)
    y[..., 60, :80] = 0.1
    y[:, 2, 20, 20] = 0.2
    found, marked = torch.zeros_like(y, dtype=torch.bool), torch.zeros_like(y[:, :1], dtype=torch.bool)
    found[:, 1, 60, 79] = found[:, 2, 20, 20] = True  # the end of a line, and a speck
    marked[..., 100, 100] = True
    assert alone(y, found).nonzero().tolist() == [[0, 0, 20, 20]]
    left = Content(y, marked).left_behind(found)
    assert (~left).nonzero().tolist() == [[0, 0, 100, 100], [0, 1, 100, 100], [0, 2, 20, 20], [0, 2, 100, 100]]
    noisy = y - 0.1 * torch.rand(y.shape, generator=torch.Generator().manual_seed(0))
    assert Content(noisy, marked).left_behind(found) is None
    found[:, 0, 90, 30] = True  # a false alarm, of the colour of all around it
    assert Content(y, marked).left_behind(found)[0, 0, 90, 30]
    found[..., 10, 5:30:5] = True  # 18 of 43,200 values are no longer few
    assert Content(y, marked).left_behind(found) is None


def test_specks_within_print_stay_however_few_are_found_beside_it_and_without_any_there_is_nothing_within():
    y = torch.full((1, 1, 120, 120), 0.9)
    y[..., 40:80:4, :] = 0.1
    content = Content(y, torch.zeros_like(y, dtype=torch.bool))
    content.remember(SparseCorruption(torch.zeros_like(y), 2.0 * (y < 0.5)))
    found = torch.zeros_like(y, dtype=torch.bool)
    found[..., 58, 60] = True
    assert content.left_behind(found).all()
    content.specks[0] = 0.1
    left = content.left_behind(found)
    assert left[..., :30, :].all()
    assert not left[..., 45:75, :].any()


@pytest.mark.parametrize(("row", "column"), [(0, 4), (7, 7), (3, 0), (3, 3)])
def test_a_pixel_at_the_border_has_the_neighbours_that_there_are(row, column):
    y = torch.full((1, 1, 8, 8), 0.9)
    y[..., row, column] = 0.1
    assert alone(y, y < 0.5).nonzero().tolist() == [[0, 0, row, column]]
    y[..., row, column - 1 if column else 1] = 0.5
    assert not alone(y, y < 0.2).any()


def test_strokes_are_connected_pieces_and_specks_are_not():
    found = torch.zeros(1, 3, 40, 40, dtype=torch.bool)
    found[:, 1, 10, 5:30] = True  # a stroke, found in one channel
    found[..., 25, 5::6] = True  # specks
    pieces = connected(found)
    assert pieces.shape == (1, 1, 40, 40)
    assert pieces[..., 8:13, 6:29].all()
    assert not pieces[..., 14:, :].any()


def test_pieces_are_the_same_in_bands(monkeypatch):
    found = torch.rand((1, 3, 90, 40), generator=torch.Generator().manual_seed(0)) < 0.03
    whole = connected(found)
    monkeypatch.setattr("dipsop.restoration.local_stats.BAND", 16 * 40)
    assert torch.equal(connected(found), whole)
    assert 0.1 < whole.float().mean() < 0.9


def speckled_page(ink, dark, share=0.02):
    """A page of paper 0.9, ink in its middle, and specks dark and white all over it; (page, its print, the specks)."""
    random = torch.Generator().manual_seed(3)
    page = torch.full((1, 1, 120, 120), 0.9)
    lines = torch.zeros_like(page, dtype=torch.bool)
    lines[..., 40:80, :] = True
    page[..., 40:80:4, :] = ink
    drawn = torch.rand(page.shape, generator=random)
    speckled = torch.where(drawn < share, dark, torch.where(drawn > 1 - share, 1.0, page))
    return speckled, lines, (drawn - 0.5).abs() > 0.5 - share


def test_levels_that_are_found_beside_print_and_are_as_rare_within_are_those_of_specks():
    y, lines, specks = speckled_page(ink=0.2, dark=0.0)
    odds, others = levels_of_specks(y, specks & ~lines, ~lines)
    assert odds.shape == (256,)
    assert odds.nonzero().flatten().tolist() == [0, 255]
    assert odds[[0, 255]].min() >= 1
    assert others == 0


def test_a_level_that_ink_has_is_not_that_of_specks():
    y, lines, specks = speckled_page(ink=0.0, dark=0.0)
    odds, others = levels_of_specks(y, specks & ~lines, ~lines)
    assert odds.nonzero().flatten().tolist() == [255]
    assert others == pytest.approx(0.02, abs=0.005)


def test_the_level_of_the_paper_is_not_that_of_specks():
    y, lines, specks = speckled_page(ink=0.2, dark=0.9)
    found = specks | (torch.rand(y.shape, generator=torch.Generator().manual_seed(4)) < 0.02)
    odds, others = levels_of_specks(y, found & ~lines, ~lines)
    assert odds.nonzero().flatten().tolist() == [255]
    assert others > 0.01


def test_levels_of_specks_are_the_same_in_bands(monkeypatch):
    y, lines, specks = speckled_page(ink=0.0, dark=0.0)
    whole = levels_of_specks(y, specks & ~lines, ~lines)
    monkeypatch.setattr("dipsop.restoration.local_stats.BAND", 16 * 120)
    odds, others = levels_of_specks(y, specks & ~lines, ~lines)
    torch.testing.assert_close(odds, whole[0])
    assert others == pytest.approx(whole[1])


def test_a_page_without_specks_has_no_levels_of_them():
    y, lines, _ = speckled_page(ink=0.2, dark=0.0, share=0.0)
    odds, others = levels_of_specks(y, torch.zeros_like(y, dtype=torch.bool), ~lines)
    assert not odds.any()
    assert others == 0


@pytest.mark.parametrize("share", [0.0005, 0.02, 0.3])
def test_what_falls_anywhere_is_told_from_what_lies_in_lines(share):
    random = torch.Generator().manual_seed(5)
    everywhere = torch.ones(1, 1, 200, 160, dtype=torch.bool)
    found = torch.rand(1, 3, 200, 160, generator=random) < share
    assert scattered(found, everywhere)
    half = everywhere.clone()
    half[..., :90, :] = False
    assert scattered(found & half, half)
    dots = torch.zeros_like(everywhere)
    dots[..., 20::30, ::4] = True
    assert not scattered(dots, everywhere)
    assert not scattered(dots.transpose(-1, -2), everywhere.transpose(-1, -2))


def test_specks_that_show_twice_as_well_in_half_of_a_picture_are_scattered_all_the_same():
    share = torch.full((1, 1, 300, 400), 0.02)
    share[..., :150, :] = 0.04
    found = torch.rand(share.shape, generator=torch.Generator().manual_seed(6)) < share
    assert scattered(found, torch.ones_like(found))
    assert scattered(torch.zeros_like(found), torch.ones_like(found))
