import pytest
import torch

from dipsop.sop import SparseCorruption

CPU = torch.device("cpu")


def random_corruption(shape: tuple[int, ...], init_scale: float = 0.3) -> SparseCorruption:
    corruption = SparseCorruption.random(shape, init_scale, torch.Generator().manual_seed(0), CPU)
    return SparseCorruption(corruption.u.double(), corruption.v.double())


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
    for step in ("gradient_step", "flow_step"):
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
    for step in ("gradient_step", "flow_step"):
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
