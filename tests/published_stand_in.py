"""Stands in for the published denoising.py in tests: the same equations under the same names, written anew.

y = f(θ; z + noise) + g∘g − h∘h; θ, g and h descend the mean of the squared error, θ at the rate 1, g and h at 500.
"""

import argparse

import numpy as np
import skimage as sk
import torch
import torchvision  # noqa: F401  (theirs wants it, too)
from PIL import Image
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--num_iter", type=int)
parser.add_argument("--width", type=int)
parser.add_argument("--nlevel", type=float, default=0.5)
args = parser.parse_args()
dtype = torch.cuda.FloatTensor


def unit(inputs, outputs, kernel, stride=1):
    convolution = nn.Conv2d(inputs, outputs, kernel, stride)
    return nn.Sequential(nn.ReflectionPad2d(kernel // 2), convolution, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2))


class Scale(nn.Module):
    """A skip beside all coarser scales, merged: the network of Ulyanov et al. from one of its scales down."""

    def __init__(self, inputs, width, coarser):
        super().__init__()
        self.skip = unit(inputs, 4, 1)
        self.down = nn.Sequential(unit(inputs, width, 3, stride=2), unit(width, width, 3))
        self.coarser = Scale(width, width, coarser - 1) if coarser else nn.Identity()
        self.upsample = nn.Upsample(scale_factor=2, mode="bilinear")
        self.merge = nn.Sequential(nn.BatchNorm2d(4 + width), unit(4 + width, width, 3), unit(width, width, 1))

    def forward(self, x):
        beside = self.skip(x)
        return self.merge(torch.cat([beside, self.upsample(self.coarser(self.down(x)))], 1))


clean = np.asarray(Image.open("data/denoising/F16.png"), np.float32).transpose(2, 0, 1) / 255
noisy = sk.util.random_noise(clean, mode="s&p", amount=args.nlevel)
img_noisy_torch = torch.from_numpy(noisy)[None].type(dtype)
net = nn.Sequential(Scale(32, args.width, 4), nn.Conv2d(args.width, 3, 1), nn.Sigmoid()).type(dtype)
net_input = (0.1 * torch.rand(1, 32, *clean.shape[1:])).type(dtype)
r_img_cor_p_torch = (1e-5 * torch.randn_like(img_noisy_torch)).requires_grad_()
r_img_cor_n_torch = (1e-5 * torch.randn_like(img_noisy_torch)).requires_grad_()
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(net.parameters(), lr=1)
optimizer_c = torch.optim.SGD([r_img_cor_p_torch, r_img_cor_n_torch], lr=500)

for iterator in range(args.num_iter):  # noqa: B007  (the line at which the example cuts theirs)
    f = net(net_input + torch.randn_like(net_input) / 30)
    loss = criterion(f + r_img_cor_p_torch**2 - r_img_cor_n_torch**2, img_noisy_torch)
    optimizer.zero_grad()
    optimizer_c.zero_grad()
    loss.backward()
    optimizer.step()
    optimizer_c.step()
