"""The optimizers of the fits."""

import copy
import functools

import pytest
import torch
from torch import nn

from dipsop.optimizers import OF_KERNELS, SGD, Adam, Muon, orthogonal


def network(*kernels):
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Conv2d(4, 4, kernel) for kernel in kernels))


def descended(model, optimizer, steps=20, again_at=10):
    """The parameters after some steps, having gone on from a saved state on the way."""
    random = torch.Generator().manual_seed(0)
    for k in range(steps):
        model(torch.randn(2, 4, 9, 9, generator=random)).square().sum().backward()
        if k == again_at:
            state = copy.deepcopy(optimizer.state())
            optimizer = type(optimizer)(model.parameters())
            optimizer.load(state)
        optimizer.step(1e-3 * (1 + k % 3))
    return list(model.parameters())


@pytest.mark.parametrize(
    ("optimizer", "pytorchs"), [(Adam, functools.partial(torch.optim.Adam, fused=True)), (SGD, torch.optim.SGD)]
)
def test_adam_and_sgd_are_pytorchs_own_bit_for_bit_and_go_on_from_their_state(optimizer, pytorchs):
    ours, theirs = network(3, 1, 3), network(3, 1, 3)
    reference = pytorchs(theirs.parameters())
    random = torch.Generator().manual_seed(0)
    for k in range(20):
        theirs(torch.randn(2, 4, 9, 9, generator=random)).square().sum().backward()
        reference.param_groups[0]["lr"] = 1e-3 * (1 + k % 3)
        reference.step()
        reference.zero_grad()
    reached = descended(ours, optimizer(ours.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(reached, theirs.parameters(), strict=True))


def test_muon_goes_on_from_its_state_bit_for_bit():
    once, again = network(3, 1, 3), network(3, 1, 3)
    whole = descended(once, Muon(once.parameters()), again_at=None)
    assert all(torch.equal(a, b) for a, b in zip(whole, descended(again, Muon(again.parameters())), strict=True))


def test_muon_is_adam_for_all_but_large_kernels():
    one, other = network(1, 1), network(1, 1)
    reached = descended(one, Muon(one.parameters())), descended(other, Adam(other.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(*reached, strict=True))


def test_a_step_of_muon_moves_a_kernel_equally_far_in_all_directions():
    """However weak the gradient is in some: singular values of the step, over the rate."""
    for memory_format in (torch.contiguous_format, torch.channels_last):
        convolution = nn.Conv2d(6, 8, 3).to(memory_format=memory_format)
        kernel, bias = convolution.parameters()
        nn.init.zeros_(kernel)
        bias.grad = torch.zeros_like(bias)
        optimizer = Muon([kernel, bias])
        gradient = torch.randn(8, 6, 3, 3, generator=torch.Generator().manual_seed(0))
        kernel.grad = gradient * torch.logspace(-2, 0, 8).view(8, 1, 1, 1)
        optimizer.step(lr=0.01)
        assert kernel.grad is None
        singular = torch.linalg.svdvals(kernel.detach().flatten(1)) / (0.01 * OF_KERNELS)
        assert 0.6 < singular.min() < singular.max() < 1.3
        assert (kernel * gradient).sum() < 0  # downwards


@pytest.mark.parametrize("shape", [(5, 40), (96, 864), (4, 4)])
def test_the_orthogonal_matrix_is_that_of_the_singular_vectors(shape):
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    s = s / s.norm()
    expected = s
    for _ in range(5):  # the polynomial, on each singular value by itself
        expected = 3.4445 * expected - 4.7750 * expected**3 + 2.0315 * expected**5
    torch.testing.assert_close(orthogonal(matrix.float()).double(), u @ expected.diag() @ vh, rtol=0, atol=2e-3)


def test_a_gradient_of_nothing_moves_nothing():
    assert torch.equal(orthogonal(torch.zeros(3, 27)), torch.zeros(3, 27))
