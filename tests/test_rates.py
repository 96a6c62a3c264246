import math
from collections.abc import Callable

import pytest
import torch

from dipsop.sop import DiscrepantRates, SparseCorruption, alpha_for, effective_lambda


def rates(lr: float = 0.1, alpha: float = 5.0, init_scale: float = 1e-4) -> DiscrepantRates:
    return DiscrepantRates(lr=lr, alpha=alpha, init_scale=init_scale)


@pytest.mark.parametrize("init_scale", [1e-60, 1e-8, 0.5, 0.999])
@pytest.mark.parametrize("alpha", [1e-3, 1.0, 1e4])
def test_alpha_and_lambda_are_inverse(alpha: float, init_scale: float) -> None:
    assert alpha_for(effective_lambda(alpha, init_scale), init_scale) == pytest.approx(alpha, rel=1e-14)
    assert effective_lambda(alpha_for(alpha, init_scale), init_scale) == pytest.approx(alpha, rel=1e-14)


def test_lambda_has_the_published_value() -> None:
    assert effective_lambda(2.0, math.exp(-8)) == pytest.approx(2.0, rel=1e-15)
    assert rates(alpha=2.0, init_scale=math.exp(-8)).effective_lambda == pytest.approx(2.0, rel=1e-15)


def test_tensors_give_what_floats_give_entry_by_entry() -> None:
    alphas, starts = torch.tensor([0.1, 1.0, 30.0]).double(), torch.tensor([1e-8, 1e-4, 0.3]).double()
    lams = effective_lambda(alphas, starts)
    expected = [effective_lambda(a, s) for a, s in zip(alphas.tolist(), starts.tolist(), strict=True)]
    assert lams.tolist() == pytest.approx(expected, rel=1e-14)
    torch.testing.assert_close(alpha_for(lams, starts), alphas, rtol=1e-14, atol=0)
    torch.testing.assert_close(alpha_for(effective_lambda(alphas, 1e-4), 1e-4), alphas, rtol=1e-14, atol=0)


def test_larger_alpha_and_larger_start_make_corruption_cheaper() -> None:
    assert rates(alpha=10.0).effective_lambda < rates(alpha=5.0).effective_lambda
    assert rates(init_scale=1e-2).effective_lambda < rates(init_scale=1e-4).effective_lambda


def test_alpha_zero_makes_corruption_impossible() -> None:
    assert rates(alpha=0.0).effective_lambda == math.inf
    assert rates(alpha=0.0).corruption_rate == 0.0


def test_corruption_rate_is_alpha_times_lr() -> None:
    assert rates(lr=0.25, alpha=8.0).corruption_rate == 2.0


@pytest.mark.parametrize(
    ("name", "value"),
    [("lr", bad) for bad in (0.0, -1.0, math.inf, math.nan)]
    + [("alpha", bad) for bad in (-1.0, math.inf, math.nan)]
    + [("init_scale", bad) for bad in (0.0, 1.0, -0.1, 2.0, math.nan)],
)
def test_a_rate_out_of_range_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must .* got {value}"):
        rates(**{name: value})


@pytest.mark.parametrize("convert", [effective_lambda, alpha_for])
@pytest.mark.parametrize(("first", "init_scale"), [(0.0, 0.1), (-1.0, 0.1), (math.nan, 0.1), (1.0, 0.0), (1.0, 1.0)])
def test_converting_a_value_out_of_range_is_refused(
    convert: Callable[[float, float], float], first: float, init_scale: float
) -> None:
    with pytest.raises(ValueError, match="got"):
        convert(first, init_scale)


@pytest.mark.parametrize("step", ["gradient_step", "flow_step"])
def test_the_same_content_at_twice_the_size_gives_the_same_corruption_per_entry(step: str) -> None:
    observation = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fitted = 0.5 * torch.ones_like(observation)

    def corruption_of(y: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
        corruption = SparseCorruption.constant(torch.full_like(y, rates().init_scale))
        for _ in range(50):
            getattr(corruption, step)(f + corruption.value - y, rates().corruption_rate)
        return corruption.value

    small = corruption_of(observation, fitted)
    large = corruption_of(observation.tile(2, 2), fitted.tile(2, 2))
    assert small.abs().max().item() > 0.1
    torch.testing.assert_close(large, small.tile(2, 2), rtol=1e-14, atol=0)


def test_the_rate_belongs_to_the_sum_of_squares_and_not_to_the_mean() -> None:
    y = torch.rand(40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u = torch.full_like(y, 0.1, requires_grad=True)
    v = torch.full_like(y, 0.1, requires_grad=True)
    optimizer = torch.optim.SGD([u, v], lr=rates().corruption_rate)
    (0.5 * (u.square() - v.square() - y).square().sum()).backward()
    optimizer.step()
    corruption = SparseCorruption.constant(torch.full_like(y, 0.1))
    corruption.gradient_step(corruption.value - y, rates().corruption_rate)
    torch.testing.assert_close(corruption.u, u.detach(), rtol=1e-14, atol=0)
    torch.testing.assert_close(corruption.v, v.detach(), rtol=1e-14, atol=0)
