import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dipsop.restoration.networks import PredictorUNet, SkipUNet, _Conv, _Convolved, _Doubled, _Halved, convolved


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 70), (33, 64), (100, 37)])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_skip_unet_covers_any_size_and_channel_count(height, width, channels):
    network = SkipUNet(4, channels, [8] * 5, skip_width=4)
    z = torch.rand(1, 4, *network.input_size(height, width))
    picture = network(z)
    assert picture.shape[:2] == (1, channels)
    assert picture.shape[2] >= height
    assert picture.shape[3] >= width
    assert 0 <= picture.min() <= picture.max() <= 1


@pytest.mark.parametrize("border", ["zeros", "reflect"])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2)])
def test_beyond_the_border_a_convolution_sees_zeros_or_the_picture_reflected(kernel, stride, border):
    x = torch.rand(1, 4, 7, 6)
    ours = _Conv(4, 5, kernel, stride, border)
    torchs = nn.Conv2d(4, 5, kernel, stride, padding=kernel // 2, padding_mode=border)
    torchs.load_state_dict(ours.state_dict())
    assert torch.allclose(ours(x), torchs(x), atol=1e-6)


def test_skip_unet_has_the_published_number_of_parameters():
    # Counted layer by layer from the published description (denoising: width 128, skips 4, z of 32 channels).
    def unit(inputs, outputs, kernel):
        return inputs * outputs * kernel**2 + outputs + 2 * outputs

    expected = 128 * 3 + 3
    for finer in (32, 128, 128, 128, 128):
        expected += unit(finer, 4, 1) + unit(finer, 128, 3) + unit(128, 128, 3)
        expected += 2 * 132 + unit(132, 128, 3) + unit(128, 128, 1)
    network = SkipUNet(32, 3, [128] * 5, skip_width=4)
    assert sum(p.numel() for p in network.parameters()) == expected


def test_skip_unet_has_five_scales_of_free_widths():
    network = SkipUNet(3, 3, [4, 6, 8, 10, 12], skip_width=2)
    assert network.multiple == 32
    coarsest = []
    network.downs[-1].register_forward_hook(lambda module, inputs, output: coarsest.append(output.shape))
    network(torch.rand(1, 3, 64, 96))
    assert coarsest == [(1, 12, 2, 3)]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 24), (64, 64), (31, 7)])
def test_predictor_starts_as_zero_and_keeps_any_size(height, width):
    network = PredictorUNet(8, 2, (8, 8, 8, 8))
    out = network(torch.rand(2, 8, height, width))
    assert out.shape == (2, 2, height, width)
    assert out.abs().max() == 0


def test_predictor_learns_through_every_parameter():
    network = PredictorUNet(4, 1, (8, 12, 16))
    nn.init.normal_(network.last.weight)
    network(torch.rand(1, 4, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize(
    ("fast", "plain"),
    [(_Halved.apply, lambda x: F.avg_pool2d(x, 2)), (_Doubled.apply, lambda x: F.interpolate(x, scale_factor=2))],
)
def test_halving_and_doubling_have_the_gradients_of_pytorchs_own(fast, plain):
    x = torch.randn(2, 3, 8, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    gradients = []
    for operation in (fast, plain):
        y = operation(x)
        gradients.append(torch.autograd.grad((y * torch.arange(y.numel()).view_as(y)).sum(), x)[0])
    torch.testing.assert_close(*gradients)
    assert torch.equal(fast(x), plain(x))


@pytest.mark.parametrize(
    ("shape", "outputs", "kernel", "stride", "padding"),
    [
        ((1, 36, 64, 48), 32, 3, 1, 0),
        ((2, 32, 33, 47), 16, 3, 1, 1),
        ((3, 16, 7, 5), 5, 3, 1, 1),
        ((1, 8, 3, 3), 4, 3, 1, 0),
        ((1, 32, 66, 50), 32, 3, 2, 0),
        ((2, 16, 13, 600), 8, 3, 2, 1),
        ((2, 16, 5, 1200), 8, 5, 1, 2),
        ((2, 16, 9, 7), 8, 1, 1, 0),
        ((1, 16, 1, 1), 8, 5, 1, 2),
    ],
)
def test_our_convolution_has_the_gradients_of_pytorchs_own(shape, outputs, kernel, stride, padding):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(outputs, shape[1], kernel, kernel, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(outputs, dtype=torch.float64, requires_grad=True)
    gradients = []
    for operation in (F.conv2d, _Convolved.apply):
        y = operation(x.contiguous(memory_format=torch.channels_last), weight, bias, stride, padding)
        rising = torch.arange(y.numel(), dtype=torch.float64).view_as(y) / y.numel()
        gradients.append(torch.autograd.grad((y * rising).sum(), (x, weight, bias)))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("capability", "autocast", "own"),
    [("AVX2", False, True), ("AVX512", False, False), ("DEFAULT", False, False), ("AVX2", True, False)],
)
def test_the_backward_is_our_own_in_float32_on_avx2_alone(monkeypatch, capability, autocast, own):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    x = torch.rand(1, 16, 8, 8).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", enabled=autocast):
        y = convolved(x, torch.rand(4, 16, 3, 3, requires_grad=True), None, padding=1)
    assert ("_Convolved" in type(y.grad_fn).__name__) == own
