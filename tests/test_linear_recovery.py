from collections.abc import Iterator
from pathlib import Path

import linear_recovery
import numpy as np
import pytest
import torch
from linear_recovery import (
    ALPHAS,
    INIT_SCALE,
    Comparison,
    Problem,
    descend,
    implicit_step,
    make_problem,
    solve_convex,
    sweep,
)

from dipsop.sop import SparseCorruption


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """On tensors this small a second thread costs up to ten times the time, and `main` does without it as well."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def problem() -> Problem:
    return make_problem(seed=0)


@pytest.fixture(scope="module")
def comparisons(problem: Problem) -> list[Comparison]:
    return sweep(problem, tolerance=1e-2)


def test_descent_coincides_with_the_convex_solution_within_one_percent_over_the_sweep(
    comparisons: list[Comparison],
) -> None:
    assert len(comparisons) == len(ALPHAS)
    assert max(c.explicit.relative_difference(c.convex) for c in comparisons) < 0.01
    assert max(c.implicit.relative_difference(c.convex) for c in comparisons) < 0.01


def test_each_part_coincides_by_itself(problem: Problem, comparisons: list[Comparison]) -> None:
    converged = descend(problem, ALPHAS, INIT_SCALE, "implicit", 1e-6)
    for descent, convex in zip(converged, (c.convex for c in comparisons), strict=True):
        assert np.linalg.norm(descent.s - convex.s) < 0.01 * np.linalg.norm(convex.s)
        assert np.linalg.norm(descent.theta - convex.theta) < 0.01 * np.linalg.norm(convex.theta)


def test_the_sweep_goes_from_all_corruption_to_hardly_any(comparisons: list[Comparison]) -> None:
    ordered = sorted(comparisons, key=lambda c: c.lam)
    norms = [np.abs(c.explicit.s).sum() for c in ordered]
    assert norms == sorted(norms, reverse=True)
    assert norms[0] > 10 * norms[-1]
    assert ordered[0].lam < 0.03
    assert ordered[-1].lam > 25


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_another_lambda_is_visibly_off(problem: Problem, comparisons: list[Comparison], factor: float) -> None:
    middle = [c for c in comparisons if 0.1 < c.lam < 10]
    off = [c.explicit.relative_difference(solve_convex(problem, factor * c.lam)) for c in middle]
    assert len(off) >= 5
    assert min(off) > 0.03
    assert max(off) > 0.3


def test_somewhere_in_the_sweep_the_corruption_is_found(problem: Problem, comparisons: list[Comparison]) -> None:
    best = min(comparisons, key=lambda c: c.explicit.relative_difference(problem))
    largest = np.argsort(np.abs(best.explicit.s))[-np.count_nonzero(problem.s) :]
    assert set(largest) == set(np.flatnonzero(problem.s))
    assert best.explicit.relative_difference(problem) < 0.15


def test_a_start_of_twice_the_logarithm_comes_twice_as_close(problem: Problem) -> None:
    lam = 1.5
    convex = solve_convex(problem, lam)
    far, near = (
        descend(problem, [-np.log(scale) / (2 * lam)], scale, "implicit", 1e-6)[0].relative_difference(convex)
        for scale in (1e-30, 1e-60)
    )
    assert far / near == pytest.approx(2, rel=0.15)


def test_descent_ends_where_theta_is_spanned_by_the_rows_and_the_residual_is_gone(problem: Problem) -> None:
    (solution,) = descend(problem, [50.0], INIT_SCALE, "implicit", 1e-6)
    nu = np.linalg.lstsq(problem.jacobian.T, solution.theta, rcond=None)[0]
    lam = -np.log(INIT_SCALE) / (2 * 50.0)
    np.testing.assert_allclose(problem.jacobian.T @ nu, solution.theta, atol=1e-9)
    np.testing.assert_allclose(problem.jacobian @ solution.theta + solution.s, problem.y, atol=1e-5)
    assert np.abs(nu).max() < 1.02 * lam
    assert np.sign(nu[np.abs(solution.s) > 0.1]).tolist() == np.sign(solution.s[np.abs(solution.s) > 0.1]).tolist()
    np.testing.assert_allclose(np.abs(nu[np.abs(solution.s) > 0.1]), lam, rtol=0.02)


@pytest.mark.parametrize("init_scale", [1e-70, 1e-6, 0.5])
@pytest.mark.parametrize("rate", [1e-3, 1.0, 3000.0])
def test_an_implicit_step_is_the_flow_by_the_residual_that_it_ends_at(init_scale: float, rate: float) -> None:
    unexplained = torch.linspace(-2, 2, 41, dtype=torch.float64)
    stepped, flowed = (SparseCorruption.constant(torch.full_like(unexplained, init_scale)) for _ in range(2))
    for _ in range(3):
        implicit_step(stepped, unexplained, torch.tensor(rate, dtype=torch.float64))
        flowed.flow_step(stepped.value - unexplained, rate)
        # A residual that is the difference of nearly equal numbers is known to so many digits, at this rate.
        torch.testing.assert_close(flowed.u.log(), stepped.u.log(), rtol=1e-11, atol=1e-11 * (1 + rate))
        torch.testing.assert_close(flowed.v.log(), stepped.v.log(), rtol=1e-11, atol=1e-11 * (1 + rate))


def test_the_example_prints_its_table_and_writes_its_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = make_problem(0, entries=16, parameters=20, rank=2, corrupted=2)
    monkeypatch.setattr(linear_recovery, "make_problem", lambda seed: small)
    monkeypatch.setattr(linear_recovery, "sweep", lambda problem: sweep(problem, ALPHAS[:3]))
    monkeypatch.setattr("sys.argv", ["linear_recovery.py", "--out", str(tmp_path / "plot.png")])
    linear_recovery.main()
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert len(capsys.readouterr().out.splitlines()) == 2 + 3
