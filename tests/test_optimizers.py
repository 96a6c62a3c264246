"""The optimizers of the fits and of the trainings."""

import copy
import functools

import pytest
import torch
from torch import nn

from dipsop.optimizers import OF_KERNELS, SGD, Adam, Muon, orthogonal


def network(*kernels):
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Conv2d(4, 4, kernel) for kernel in kernels))


def descended(model, make, steps=20, again_at=10):
    """The parameters after some steps, having gone on from a saved state on the way."""
    random = torch.Generator().manual_seed(0)
    optimizer = make(model.parameters())
    for k in range(steps):
        model(torch.randn(2, 4, 9, 9, generator=random)).square().sum().backward()
        if k == again_at:
            state = copy.deepcopy(optimizer.state())
            optimizer = make(model.parameters())
            optimizer.load(state)
        optimizer.step(1e-3 * (1 + k % 3))
    return list(model.parameters())


@pytest.mark.parametrize(
    ("optimizer", "pytorchs"),
    [
        (Adam, functools.partial(torch.optim.Adam, fused=True)),
        *(
            (functools.partial(SGD, **settings), functools.partial(torch.optim.SGD, **settings))
            for settings in (
                {},
                {"momentum": 0.9},
                {"momentum": 0.9, "weight_decay": 5e-4},
                {"momentum": 0.9, "weight_decay": 1e-4, "nesterov": True},
            )
        ),
    ],
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
    reached = descended(ours, optimizer)
    assert all(torch.equal(a, b) for a, b in zip(reached, theirs.parameters(), strict=True))


def test_gradient_descent_without_momentum_has_nothing_to_keep():
    """As in checkpoints of fits from before there was momentum, which can be gone on with."""
    optimizer = SGD(network(3).parameters())
    assert optimizer.state() == {}
    optimizer.load({})


@pytest.mark.parametrize("muon", [Muon, functools.partial(Muon, momentum=0.6, normalized=True)])
def test_muon_goes_on_from_its_state_bit_for_bit(muon):
    once, again = network(3, 1, 3), network(3, 1, 3)
    whole = descended(once, muon, again_at=None)
    assert all(torch.equal(a, b) for a, b in zip(whole, descended(again, muon), strict=True))


def test_muon_is_adam_for_all_but_large_kernels():
    one, other = network(1, 1), network(1, 1)
    reached = descended(one, Muon), descended(other, Adam)
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


def test_a_kernel_that_is_normalized_after_turns_by_the_rate_whatever_its_length():
    """Its length is given to it anew before every step, √outputs; so is no other parameter's."""
    turned = []
    for length in (0.1, 30.0):
        convolution = network(3)[0]
        kernel, bias = convolution.parameters()
        with torch.no_grad():
            kernel.mul_(length)
            bias.mul_(length)
        before = kernel.detach().clone()
        kernel.grad = torch.randn(kernel.shape, generator=torch.Generator().manual_seed(0))
        bias.grad = torch.zeros_like(bias)
        at_first = bias.detach().clone()
        Muon([kernel, bias], normalized=True).step(lr=0.01)
        assert torch.equal(bias, at_first)
        turned.append(kernel.detach() - 2 * before / before.norm())  # four outputs
    torch.testing.assert_close(*turned)
    singular = torch.linalg.svdvals(turned[0].flatten(1)) / (0.01 * OF_KERNELS)
    assert 0.6 < singular.min() < singular.max() < 1.3


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
