"""When corruption leaves in the preset dip, and what (u, v) follow then."""

import math

import numpy as np
import pytest
import torch

import dipsop
from dipsop.pictures.noise import salt_and_pepper
from dipsop.pictures.quality import psnr
from dipsop.restoration import release
from dipsop.restoration.release import FOUND, Release
from dipsop.sop import SparseCorruption

Y = torch.zeros(1, 3, 24, 24)


def held_back(shared=False, y=Y):
    return Release(y, 0.2, 1e-5, shared, torch.Generator().manual_seed(0))


def released_at(errors):
    """The step of release of a fit whose output is off by so much everywhere, of twice as many steps."""
    held = held_back()
    for taken, error in enumerate(errors):
        f = torch.full_like(Y, error)
        held.drive(f, f, torch.zeros_like(Y), taken, taken / (2 * len(errors)))
        if held.step is not None:
            return held.step
    return None


def test_values_held_out_do_not_pull_at_theta_before_the_release():
    held = held_back()
    residual = torch.ones_like(Y)
    share = 1 - held.loss_residual(residual).mean().item()
    assert share == pytest.approx(release.HELD_OUT, abs=0.015)
    held.step = 50
    assert torch.equal(held.loss_residual(residual), residual)


@pytest.mark.parametrize("turn", [60, 120, 300])
def test_release_comes_soon_after_the_held_out_error_has_stopped_falling(turn):
    step = released_at([0.1 + 0.3 * abs(1 - k / turn) for k in range(2 * turn)])
    assert turn < step < 1.2 * turn + release.BETWEEN_QUESTIONS


def test_release_waits_while_the_error_falls_but_not_beyond_half_the_budget():
    falling = [0.4 * 0.99**k for k in range(300)]
    assert released_at(falling) is None
    held = held_back()
    f = torch.full_like(Y, 0.1)
    for taken in range(9):
        held.drive(f, f, torch.zeros_like(Y), taken, taken / 10)
    assert held.step == 5


def test_a_release_goes_on_from_its_state():
    errors = [0.1 + 0.3 * abs(1 - k / 100) for k in range(200)]
    f, steps = torch.full_like(Y, 1.0), []
    for kept_after in (None, 55, 103):
        held = held_back()
        for taken, error in enumerate(errors):
            if taken == kept_after:
                before, held = held, held_back()
                held.load(before.state())
            held.drive(error * f, error * f, torch.zeros_like(Y), taken, taken / 400)
        steps.append((held.step, held.progress, held.bounds.sum().item()))
    assert 100 < steps[0][0] < 130
    assert steps[0] == steps[1] == steps[2]


@pytest.mark.parametrize("steps", range(1, 11))
@pytest.mark.parametrize("side", [1, 2, 16])
def test_short_fits_and_tiny_pictures_stay_finite(steps, side):
    y = np.random.default_rng(0).random((side, side, 3), dtype=np.float32)
    *_, last = dipsop.iter_restore(y, dipsop.WholeImage(steps=steps, width=4))
    assert np.abs(last.restoration().sparse_corruption).max() < 1.5


def follow(held, f, steps, at):
    """Let (u, v) follow a network that stands still at f, to the end of the budget; returns s after every step."""
    held.step, course = at, []
    corruption = SparseCorruption.constant(torch.full_like(held.y, 1e-5))
    for taken in range(at, at + steps):
        s = corruption.value
        corruption.flow_step(held.drive(f, f + s - held.y, s, taken, taken / (at + steps)), 1.0)
        course.append(corruption.value)
    return course


def test_what_is_off_by_the_bound_or_more_leaves_together_within_the_window():
    f = torch.zeros_like(Y)
    f[..., ::2, ::2] = 0.3
    f[..., ::2, ::4] = -0.9  # far off, and no faster for it
    held = held_back()
    course = follow(held, f, 40, at=200)  # the window: 30 steps
    assert course[20].abs().max() < FOUND
    assert (course[33].abs() > FOUND)[f != 0].all()
    assert (course[33][f == 0] == 0).all()
    torch.testing.assert_close(course[39][f != 0], -f[f != 0], atol=1e-5, rtol=0)  # f + s = y
    assert all((s.abs() <= f.abs() + 1e-5).all() for s in course)  # on the way nothing goes too far


def test_what_is_off_by_half_the_bound_leaves_when_progress_has_come_twice_as_far():
    held = held_back()
    course = follow(held, torch.full_like(Y, 0.1), 2000, at=100)
    left = next(k for k, s in enumerate(course) if s.abs().max() > FOUND)
    progress = 1 + release.PACE * math.log((100 + left) / 115)
    found_at = math.log(FOUND**0.5 / 1e-5) / math.log(release.THROWN / 1e-5)  # what is off by the bound is found there
    assert progress == pytest.approx(2 * found_at, rel=0.03)


def test_lambda_is_the_least_error_that_has_left_by_now():
    held = held_back()
    assert held.effective_lambda() == math.inf
    follow(held, torch.full_like(Y, 0.05), 600, at=200)
    assert held.effective_lambda() == pytest.approx(0.2 / held.progress, rel=0.05)


@pytest.mark.parametrize(("steps", "at"), [(100, 20), (600, 50), (600, 300), (1500, 200), (4500, 200)])
def test_in_the_end_lambda_depends_neither_on_the_budget_nor_on_the_release(steps, at):
    held = held_back()
    follow(held, torch.full_like(Y, 0.05), steps - at, at)
    assert held.progress == pytest.approx(release.IN_THE_END, rel=0.015)


def test_a_fit_too_short_for_that_ends_before_since_nothing_leaves_faster_than_in_the_window():
    held = held_back()
    follow(held, torch.full_like(Y, 0.05), 40, at=20)
    assert held.progress == pytest.approx(3.76, abs=0.03)


def test_a_time_limit_that_draws_near_faster_than_steps_said_does_not_throw_everything_at_once():
    held = held_back()
    held.step, f, arrived = 100, torch.full_like(Y, 0.05), [0.0]
    for taken in range(100, 160):
        held.drive(f, f, torch.zeros_like(Y), taken, 0.2 if taken < 130 else 0.99)
        arrived.append(held.progress)
    assert max(np.diff(arrived)) <= 1 / 15 + 1e-9


def test_channels_that_share_leave_together_each_with_its_sign():
    y, off = torch.rand(Y.shape, generator=torch.Generator().manual_seed(1)), torch.zeros_like(Y)
    off[:, 0], off[:, 1], off[:, 2] = 0.9, -0.9, 0.03  # by itself, the last would leave much later
    apart, together = (follow(held_back(shared, y), y + off, 80, at=200)[34] for shared in (False, True))
    assert apart[:, 2].abs().max() < FOUND
    torch.testing.assert_close(together, -off, atol=1e-3, rtol=0)


def test_what_the_network_comes_near_to_is_let_go_and_what_it_stays_away_from_is_not():
    y = torch.rand(Y.shape, generator=torch.Generator().manual_seed(1))
    held, corruption = held_back(y=y), SparseCorruption.constant(torch.full_like(Y, 1e-5))
    held.step, away = 100, torch.zeros_like(Y)
    away[..., ::4, :] = 0.5
    for taken in range(100, 400):
        if taken == 251:  # the network has learned more
            away[..., ::4, ::2] *= 0.9 * release.LET_GO / held.progress * held.bounds[..., ::4, ::2] / 0.5
            away[..., ::4, 1::2] *= 1.1 * release.LET_GO / held.progress * held.bounds[..., ::4, 1::2] / 0.5
        s = corruption.value
        corruption.flow_step(held.drive(y + away, away + s, s, taken, taken / 400), 1.0)
        if taken == 250:
            assert ((corruption.value.abs() > FOUND) == (away > 0)).all()
        if taken == 255:
            found = corruption.value.abs() > FOUND
    assert not found[..., ::4, ::2].any()
    assert found[..., ::4, 1::2].all()


def test_a_level_at_which_corruption_is_found_often_is_likely_to_be_corruption():
    y = torch.randint(256, (1, 3, 128, 128), generator=torch.Generator().manual_seed(1)) / 255
    found = torch.rand(y.shape, generator=torch.Generator().manual_seed(2)) < 0.5
    alike = release._by_level(y, found)
    assert (alike - 1).abs().max() < 0.15  # any value alike: no level says much
    torch.testing.assert_close(release._by_level(y, torch.zeros_like(found)), torch.ones_like(y))  # nothing is known
    salt = torch.where(found, 1.0, y)
    factor = release._by_level(salt, found)
    assert factor[salt == 1].max() == 0.25
    assert factor[salt < 0.99].min() > 1.3


def test_where_the_network_is_off_everywhere_to_be_off_means_less():
    distance = torch.full((1, 1, 40, 40), 0.01)
    distance[..., 20:] = 0.03
    distance[..., 5, 5] = 1.0  # one value that is far off does not make its surroundings uncertain
    relative = release._relative(distance)
    assert relative[..., 35].mean() == pytest.approx(1.5, rel=0.05)
    assert relative[..., 12].mean() == pytest.approx(0.5, rel=0.05)
    assert relative[..., 6, 6].item() < 0.8


def test_dip_holds_half_the_values_of_a_picture_and_ends_at_its_peak():
    from skimage.data import astronaut

    clean = astronaut()[40:136, 170:266].astype(np.float32) / 255
    y, _ = salt_and_pepper(clean, 0.5, seed=0)
    course = []
    for step in dipsop.iter_restore(y, dipsop.WholeImage(steps=400, width=16)):
        if step.iteration % 20 == 0:
            course.append(psnr(step.network_output(), clean))
    found, off = step.restoration().corrupted, np.abs(y - clean) > 0.1
    assert course[-1] > max(course) - 0.1
    assert course[-1] > 24
    assert found[off].mean() > 0.97
    assert found[y == clean].mean() < 0.06
