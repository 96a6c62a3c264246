import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import lambertw
from torch import Tensor

from dipsop.sop import SparseCorruption

RATES = np.geomspace(1e-3, 1e4, 15).tolist()
INIT_SCALES = [1e-8, 1e-6, 1e-4, 1e-2, 0.1, 0.5]
EXCESSES = [0.0, *(sign * size for size in (1e-12, 1e-6, 1e-3, 0.03, 0.1, 0.3, 0.7, 1.0) for sign in (-1, 1))]
CPU = torch.device("cpu")


def random_corruption(shape: tuple[int, ...], init_scale: float = 0.3) -> SparseCorruption:
    corruption = SparseCorruption.random(shape, init_scale, torch.Generator().manual_seed(0), CPU)
    return SparseCorruption(corruption.u.double(), corruption.v.double())


def swept(start_at: float = 0.0, dtype: torch.dtype = torch.float64) -> tuple[SparseCorruption, Tensor, Tensor]:
    """One entry for each of INIT_SCALES × RATES × EXCESSES, each on its orbit uv = γ² at s = start_at."""
    axes = (torch.tensor(a, dtype=torch.float64) for a in (INIT_SCALES, RATES, EXCESSES))
    init_scale, rate, excess = (axis.flatten() for axis in torch.meshgrid(*axes, indexing="ij"))
    half = torch.asinh(start_at / (2 * init_scale**2)) / 2
    u, v = init_scale * torch.exp(half), init_scale * torch.exp(-half)
    return SparseCorruption(u.to(dtype), v.to(dtype)), rate.to(dtype), excess.to(dtype)


def settled_by_brentq(u: float, v: float, rate: float, excess: float) -> float:
    start, product = math.log(v / u), u * v

    def imbalance(tau: float) -> float:
        return tau - start + 8 * rate * product * math.sinh(tau) + 4 * rate * excess

    far = math.asinh((abs(start) / (4 * rate) + abs(excess)) / (2 * product)) + 1
    return -2 * product * math.sinh(brentq(imbalance, -far, far, xtol=1e-300, rtol=1e-15))


def test_value_is_u_squared_minus_v_squared() -> None:
    corruption = SparseCorruption(torch.tensor([2.0, 1.0, 0.5]), torch.tensor([1.0, 3.0, 0.5]))
    assert corruption.value.tolist() == [3.0, -8.0, 0.0]


def test_odds_are_the_larger_square_whatever_the_signs() -> None:
    corruption = SparseCorruption(torch.tensor([2.0, -1.0, -0.5, torch.inf]), torch.tensor([1.0, -3.0, 0.5, 0.0]))
    assert corruption.odds.tolist() == [4.0, 9.0, 0.25, torch.inf]


def test_a_part_of_the_entries_moves_in_the_whole_and_the_others_stay() -> None:
    together, alone = random_corruption((3, 8, 5)), random_corruption((3, 8, 5))
    before = random_corruption((3, 8, 5))
    residual = torch.randn((3, 8, 5), generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    together[..., 2:5, :].flow_step(residual[..., 2:5, :], 0.3)
    alone.flow_step(residual, 0.3)
    for part, whole, start in ((together.u, alone.u, before.u), (together.v, alone.v, before.v)):
        assert torch.equal(part[:, 2:5], whole[:, 2:5])
        assert torch.equal(part[:, :2], start[:, :2])
        assert torch.equal(part[:, 5:], start[:, 5:])


def test_constant_start_is_exactly_zero_and_leaves_its_argument_alone() -> None:
    start = torch.tensor([1e-6, 1e-3, 0.1])
    corruption = SparseCorruption.constant(start)
    assert corruption.value.tolist() == [0.0] * 3
    corruption.flow_step(torch.ones(3), 1.0)
    assert start.tolist() == torch.tensor([1e-6, 1e-3, 0.1]).tolist()
    assert not torch.equal(corruption.u, corruption.v)


def test_random_start_has_the_scale_it_is_given_and_repeats_with_its_seed() -> None:
    first, second = (SparseCorruption.random((20_000,), 0.01, torch.Generator().manual_seed(3), CPU) for _ in range(2))
    assert torch.equal(first.u, second.u)
    assert torch.equal(first.v, second.v)
    for factor in (first.u, first.v):
        assert factor.std().item() == pytest.approx(0.01, rel=0.03)
        assert abs(factor.mean().item()) < 0.0003
    assert abs(torch.corrcoef(torch.stack([first.u, first.v]))[0, 1].item()) < 0.03


def test_factors_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one shape, got \(3,\) and \(4,\)"):
        SparseCorruption(torch.ones(3), torch.ones(4))


@pytest.mark.parametrize(
    ("shape", "observed"),
    [
        pytest.param((7,), (7,), id="a label per sample"),
        pytest.param((5, 10), (5, 10), id="a label per sample and class"),
        pytest.param((5, 1), (5, 10), id="shared by classes"),
        pytest.param((1, 3, 4, 6), (1, 3, 4, 6), id="a value per pixel and channel"),
        pytest.param((1, 1, 4, 6), (1, 3, 4, 6), id="shared by channels"),
    ],
)
def test_gradient_step_follows_autograd_and_shared_entries_sum_the_residual(
    shape: tuple[int, ...], observed: tuple[int, ...]
) -> None:
    corruption = random_corruption(shape)
    outer = torch.randn(observed, generator=torch.Generator().manual_seed(1), dtype=torch.float64)  # f − y
    u, v = (factor.clone().requires_grad_() for factor in (corruption.u, corruption.v))
    (0.5 * (outer + u.square() - v.square()).square().sum()).backward()
    corruption.gradient_step(outer + corruption.value, 0.1)
    torch.testing.assert_close(corruption.u, u.detach() - 0.1 * u.grad, rtol=1e-13, atol=0)
    torch.testing.assert_close(corruption.v, v.detach() - 0.1 * v.grad, rtol=1e-13, atol=0)


def test_a_rate_per_entry_is_that_rate_on_its_entry() -> None:
    residual, rates = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64), [0.1, 1.0, 20.0]
    for step in ("gradient_step", "flow_step", "settle"):
        together = random_corruption((3,))
        getattr(together, step)(residual, torch.tensor(rates, dtype=torch.float64))
        for i, rate in enumerate(rates):
            alone = random_corruption((3,))
            getattr(alone, step)(residual, rate)
            torch.testing.assert_close(together.u[i], alone.u[i], rtol=1e-14, atol=0)
            torch.testing.assert_close(together.v[i], alone.v[i], rtol=1e-14, atol=0)


def test_flow_steps_have_the_closed_form() -> None:
    init_scale, rate = 1e-3, 0.7
    residuals = torch.randn(40, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64) / 4
    corruption = SparseCorruption.constant(torch.full((6,), init_scale, dtype=torch.float64))
    for residual in residuals:
        corruption.flow_step(residual, rate)
    total = residuals.sum(0)
    exact = {"rtol": 1e-12, "atol": 0.0}
    torch.testing.assert_close(corruption.u, init_scale * torch.exp(-2 * rate * total), **exact)
    torch.testing.assert_close(corruption.v, init_scale * torch.exp(2 * rate * total), **exact)
    torch.testing.assert_close(corruption.value, -2 * init_scale**2 * torch.sinh(4 * rate * total), **exact)


def test_a_flow_step_is_the_limit_of_many_tiny_gradient_steps() -> None:
    residual, rate = torch.tensor([0.5, -0.3, 0.01], dtype=torch.float64), 0.8
    flow = random_corruption((3,))
    flow.flow_step(residual, rate)
    errors = []
    for steps in (100, 1000):
        gradient = random_corruption((3,))
        for _ in range(steps):
            gradient.gradient_step(residual, rate / steps)
        errors.append((gradient.value - flow.value).abs().max().item())
    assert errors[1] < 1e-3 * flow.value.abs().max().item()
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.05)


def test_a_coarse_residual_lowers_neither_the_type_nor_the_precision_of_the_factors() -> None:
    coarse = torch.tensor([0.3, -0.7, 0.1]).bfloat16()
    for step in ("gradient_step", "flow_step", "settle"):
        given, exact = (SparseCorruption.constant(torch.full((3,), 0.2)) for _ in range(2))
        getattr(given, step)(coarse, 0.37)
        getattr(exact, step)(coarse.float(), 0.37)
        assert given.u.dtype == torch.float32
        assert torch.equal(given.u, exact.u)
        assert torch.equal(given.v, exact.v)


def test_a_shared_entry_sums_in_the_precision_of_the_factors() -> None:
    residual = torch.tensor([[1.0, -1.0, 1e-12]], dtype=torch.float64)
    corruption = SparseCorruption.constant(torch.ones(1, 1, dtype=torch.float64))
    corruption.flow_step(residual, 1.0)
    assert corruption.v.item() - 1 == pytest.approx(2e-12, rel=1e-3)


@pytest.mark.parametrize("start_at", [0.0, 0.02, 1.0, -1.0])
def test_settle_finds_the_root_that_brentq_finds(start_at: float) -> None:
    corruption, rate, excess = swept(start_at)
    u, v = corruption.u.clone(), corruption.v.clone()
    corruption.settle(excess, rate)
    columns = (column.tolist() for column in (u, v, rate, excess))
    expected = torch.tensor([settled_by_brentq(*row) for row in zip(*columns, strict=True)], dtype=torch.float64)
    # u∘u − v∘v itself cancels where both are large: hence γ² in the tolerance.
    assert ((corruption.value - expected).abs() <= 1e-12 * expected.abs() + 1e-14 * u * v).all()


@pytest.mark.parametrize("start_at", [0.0, 0.02, 1.0, -1.0])
def test_settle_solves_its_implicit_equation_to_float_precision(start_at: float) -> None:
    corruption, rate, excess = swept(start_at)
    before = torch.log(corruption.v / corruption.u)
    corruption.settle(excess, rate)
    after, drive = torch.log(corruption.v / corruption.u), 4 * rate * (corruption.value - excess)
    terms = (before, after, 4 * rate * corruption.u.square(), 4 * rate * corruption.v.square(), 4 * rate * excess)
    largest = torch.stack([term.abs() for term in terms]).amax(0).clamp(min=1)
    assert ((after - before - drive).abs() / largest).max().item() < 1e-14


@pytest.mark.parametrize("start_at", [0.0, 0.02, 1.0, -1.0])
def test_more_rounds_of_settle_change_nothing(start_at: float) -> None:
    by_default, rate, excess = swept(start_at)
    patient, _, _ = swept(start_at)
    by_default.settle(excess, rate)
    patient.settle(excess, rate, rounds=60)
    torch.testing.assert_close(by_default.u, patient.u, rtol=1e-13, atol=0)
    torch.testing.assert_close(by_default.v, patient.v, rtol=1e-13, atol=0)


@pytest.mark.parametrize("start_at", [0.0, 0.02, 1.0, -1.0])
def test_settle_in_float32_is_finite_and_accurate(start_at: float) -> None:
    fine, rate, excess = swept(start_at)
    coarse, coarse_rate, coarse_excess = swept(start_at, torch.float32)
    fine.settle(excess, rate)
    coarse.settle(coarse_excess, coarse_rate)
    assert coarse.u.dtype == torch.float32
    assert torch.isfinite(coarse.u).all()
    assert torch.isfinite(coarse.v).all()
    torch.testing.assert_close(coarse.value.double(), fine.value, rtol=3e-5, atol=1e-6)


def test_settle_is_odd_and_leaves_zero_at_zero() -> None:
    corruption, rate, excess = swept()
    mirrored, _, _ = swept()
    corruption.settle(excess, rate)
    mirrored.settle(-excess, rate)
    assert torch.equal(corruption.value, -mirrored.value)
    assert (corruption.value[excess == 0] == 0).all()
    assert (corruption.value.abs() <= excess.abs() * (1 + 1e-12) + 1e-16).all()


def test_settle_keeps_the_signs_and_the_product_of_the_factors() -> None:
    corruption = random_corruption((1000,), 1e-3)
    u, v = corruption.u.clone(), corruption.v.clone()
    corruption.settle(torch.linspace(-1, 1, 1000, dtype=torch.float64), 50.0)
    torch.testing.assert_close(corruption.u * corruption.v, u * v, rtol=1e-12, atol=0)
    assert torch.equal(corruption.u.sign(), u.sign())


def test_a_short_settle_is_a_flow_step() -> None:
    excess = torch.tensor([0.6, -0.4, 0.1], dtype=torch.float64)
    settled, flowed = random_corruption((3,)), random_corruption((3,))
    residual = flowed.value - excess
    settled.settle(excess, 1e-5)
    flowed.flow_step(residual, 1e-5)
    torch.testing.assert_close(settled.value, flowed.value, rtol=0, atol=1e-8)


def test_settling_again_and_again_explains_the_whole_excess() -> None:
    excess = torch.tensor([0.6, -0.4, 0.05], dtype=torch.float64)
    corruption = SparseCorruption.constant(torch.full((3,), 1e-6, dtype=torch.float64))
    for _ in range(500):
        corruption.settle(excess, 10.0)
    torch.testing.assert_close(corruption.value, excess, rtol=1e-6, atol=0)


@pytest.mark.parametrize("init_scale", [1e-10, 1e-6, 1e-3])
@pytest.mark.parametrize("lam", [0.02, 0.1, 0.5])
def test_settle_from_the_start_is_the_soft_threshold_rounded_off_by_no_more_than_lambert(
    init_scale: float, lam: float
) -> None:
    rate = -math.log(init_scale) / (2 * lam)
    excess = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    corruption = SparseCorruption.constant(torch.full_like(excess, init_scale))
    corruption.settle(excess, rate)
    soft = torch.nn.functional.softshrink(excess, lam)
    distance = (corruption.value - soft).abs()
    rounding = lambertw(4 * rate).real / (4 * rate)
    assert distance.max().item() <= rounding * (1 + 1e-9)
    assert distance[(excess.abs() - lam).abs() < 1e-9].min().item() == pytest.approx(rounding, rel=1e-3)
    assert corruption.value[excess.abs() <= lam / 2].abs().max().item() < init_scale


def test_settle_serves_a_shared_entry_by_the_mean_at_n_times_the_rate() -> None:
    rate, excess = 3.0, torch.tensor([[0.5, 0.1, 0.6]], dtype=torch.float64)
    corruption = SparseCorruption.constant(torch.full((1, 1), 0.05, dtype=torch.float64))
    corruption.settle(excess.mean(1, keepdim=True), 3 * rate)
    driven = SparseCorruption.constant(torch.full((1, 1), 0.05, dtype=torch.float64))
    driven.flow_step(corruption.value - excess, rate)  # by the residual at the step's end, summed over the three
    torch.testing.assert_close(driven.value, corruption.value, rtol=1e-12, atol=0)
