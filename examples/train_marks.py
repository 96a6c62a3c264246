"""Train the network that sees marks: scratches, hairs, cracks, lettering, dust (dipsop/restoration/marks.py).

    python examples/train_marks.py PHOTOGRAPHS --pack PACKED
    python examples/train_marks.py PACKED --minutes 8 --checkpoint marks.pt --out dipsop/restoration/marks.npz

PHOTOGRAPHS holds the files that train_start.csv lists, as for train_start.py. PACKED gets them twice as large as they
are trained on, so that nothing of JPEG is left in them: a stroke that interrupts its traces would be too easy to see.
What marks may look like is damage.py's, and wear.py's on old prints (scans.py); they are drawn once, and laid over
crops in other places, colours and numbers for every batch. Half of the crops have none: what is content has to be
learned, too. It is for a GPU; on two cores a day of it is what minutes are there. It goes on from its checkpoint if
there is one, or from the weights at --out.
"""

import argparse
import functools
import itertools
import math
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from course import Course, options
from damage import crack, drawn_cover, dust, hair, letters, page, scratch
from numpy.typing import NDArray
from PIL import Image
from scans import aged, blurred, coin, normal, through_jpeg, uniform
from torch import Tensor, nn
from train_start import pictures
from wear import craquelure, flakes, fold, fracture

from dipsop.compute import DeviceName, pick_device, tune_process
from dipsop.optimizers import Adam
from dipsop.restoration.marks import Marks

LR, WARMUP, AVERAGING = 1.5e-3, 300, 0.998
CROP, BATCH = 192, 24
SHORTER = (320, 200)  # pixels: the shorter side of a photograph, at each of the sizes that it is trained in
COVER = 288  # the side of what is drawn, of which crops are laid over pictures
MOST_LAYERS = 16
DRAWERS = (scratch, scratch, hair, crack, letters, letters, dust, dust)
LETTERS = 2  # the pair of them
WEAR = (fracture, fracture, fracture, craquelure, fold, flakes, scratch, hair)  # over old prints, as many
KINDS = DRAWERS + WEAR
JOBS, PAGES = 4 * len(KINDS), 16  # in which they draw
PLAIN = 2 / 255  # a pixel that is changed by more is to be found, by less neither has to nor must not be
SPREAD = 0.12  # of the most that a pixel nearby is changed: what is changed by less is what blur and JPEG carry there
DRAWN, AGED = 0.3, 0.35  # shares of crops that are page or drawing, and old prints
GREY = 0.12


def pack(photographs: Path, out: Path) -> None:
    """Write all listed pictures at twice the size that they are trained in, drawn ones as they are, to two folders."""
    for kind in ("photograph", "drawn"):
        (out / kind).mkdir(parents=True, exist_ok=True)
        for number, sizes in enumerate(pictures(photographs, kind)):
            picture = Image.fromarray(sizes[-1])
            least = min(picture.size)
            if kind == "photograph":
                picture = _shrunk(picture, min(1.0, 2 * SHORTER[0] / least))
                picture.save(out / kind / f"{number:03}.jpg", quality=80)
            else:
                side = min(640, least)
                left, top = (picture.size[0] - side) // 2, (picture.size[1] - side) // 2
                picture.crop((left, top, left + side, top + side)).save(out / kind / f"{number:03}.webp", quality=90)


def _shrunk(picture: Image.Image, factor: float) -> Image.Image:
    size = tuple(max(1, round(side * factor)) for side in picture.size)
    return picture.resize(size, Image.Resampling.LANCZOS)  # type: ignore[arg-type]


class Crops:
    """Square crops out of pictures of any size, all of them on the device.

    Parameters
    ----------
    pictures : list of uint8 arrays (H, W, 3), CROP or larger each
    device : torch.device
    """

    def __init__(self, pictures: list[NDArray[np.uint8]], device: torch.device) -> None:
        sizes = torch.tensor([p.shape[:2] for p in pictures])
        starts = torch.cumsum(torch.cat([torch.zeros(1, dtype=torch.long), sizes.prod(1)]), 0)[:-1]
        self.pixels = torch.from_numpy(np.concatenate([p.reshape(-1, 3) for p in pictures])).to(device)
        self.sizes, self.starts, self.device = sizes.to(device), starts.to(device), device

    def draw(self, count: int) -> Tensor:
        """Return crops (count, 3, CROP, CROP) in [0, 1], turned, in other light, some grey, some with grain."""
        device = self.device
        which = torch.randint(len(self.starts), (count,), device=device)
        height, width = self.sizes[which].unbind(1)
        rows, columns = (self._places(length) for length in (height, width))
        at = self.starts[which, None, None] + rows[:, :, None] * width[:, None, None] + columns[:, None, :]
        crops = (self.pixels[at].float() / 255).permute(0, 3, 1, 2)
        crops = torch.where(coin(count, 0.5, device), crops, crops.transpose(2, 3))
        crops = torch.where(coin(count, 0.5, device), crops, crops[:, torch.randperm(3).tolist()])
        light = (0.25 * normal(count, device)).exp() * crops.clamp(min=1e-4) ** (0.35 * normal(count, device)).exp()
        crops = torch.where(coin(count, 0.3, device), (light + 0.1 * normal(count, device)).clamp(0, 1), crops)
        grain = uniform(count, device).square() * 0.03 * torch.randn_like(crops)
        crops = torch.where(coin(count, 0.3, device), (crops + grain).clamp(0, 1), crops)
        return torch.where(coin(count, GREY, device), crops.mean(1, keepdim=True), crops)

    def _places(self, lengths: Tensor) -> Tensor:
        """Rows or columns (N, CROP) of crops, in either direction."""
        first = (torch.rand(len(lengths), device=self.device) * (lengths - CROP + 1)).long()
        along = torch.arange(CROP, device=self.device)
        along = torch.where(torch.rand(len(lengths), 1, device=self.device) < 0.5, along, CROP - 1 - along)
        return first[:, None] + along


def covers(seed: int, count: int) -> NDArray[np.uint8]:
    """Draw so many things of one kind, each alone: how much of every pixel they cover, (count, COVER, COVER)."""
    random, drawer = np.random.default_rng(seed), KINDS[seed % len(KINDS)]
    drawn = [drawn_cover(random, COVER, COVER, drawer) for _ in range(count)]
    return np.rint(255 * np.stack(drawn)).astype(np.uint8)


def pages(seed: int, count: int) -> list[NDArray[np.uint8]]:
    """Make so many pieces of print, drawing, chart or screenshot."""
    random = np.random.default_rng(seed)
    return [np.rint(255 * page(random, COVER)).astype(np.uint8) for _ in range(count)]


class Lessons:
    """Batches of (y, label, weight): crops with marks laid over them, or noise, or nothing."""

    def __init__(self, packed: Path, device: torch.device, processes: int, layers: int) -> None:
        self.device = device
        files = {kind: sorted((packed / kind).iterdir()) for kind in ("photograph", "drawn")}
        self.each = max(1, layers // JOBS)
        with _several(processes) as pool:
            made = pool.map(covers, range(JOBS), itertools.repeat(self.each))
            printed = pool.map(pages, range(PAGES), itertools.repeat(20))
            photographs = list(itertools.chain(*pool.map(_sizes, files["photograph"])))
            drawn = list(itertools.chain(*pool.map(_as_is, files["drawn"]), *printed))
            bank = np.concatenate(list(made))
        self.photographs, self.drawn = Crops(photographs, device), Crops(drawn, device)
        self.covers = torch.from_numpy(bank).to(device)

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return y (BATCH, 3, CROP, CROP), where marks are, and how much every pixel counts, (BATCH, 1, CROP, CROP)."""
        drawn, old = round(DRAWN * BATCH), round(AGED * BATCH)
        prints, paper = aged(self.photographs.draw(old))
        clean = torch.cat([prints, self.photographs.draw(BATCH - old - drawn), self.drawn.draw(drawn)])
        count = (torch.rand(BATCH, device=self.device) * math.log(1 + MOST_LAYERS)).exp().floor()
        # On print marks are few, and mostly there are none.
        share = torch.full((BATCH,), 0.55, device=self.device)
        share[-drawn:] = 0.25
        count = torch.where(torch.rand(BATCH, device=self.device) < share, count, 0)
        lettered = torch.arange(BATCH, device=self.device) < BATCH - drawn
        y, covered = self._marked(clean, count, paper, lettered)
        y, clean = self._as_scanned(*self._noisy(y, clean), old)
        changed = (y - clean).abs().amax(1, keepdim=True)
        # Blur and JPEG carry a mark beyond the pixels that it covers. Under noise, or a faint one, nobody can tell.
        near = (F.max_pool2d(covered, 5, 1, 2) > 0) & (changed > PLAIN)
        label = near & (changed > SPREAD * F.max_pool2d(changed, 5, 1, 2))
        unsure = ((covered > 0) & (changed <= 2 * PLAIN)) | (near & ~label)
        return y, label.float(), 1 - unsure.float()

    def _marked(self, clean: Tensor, count: Tensor, paper: Tensor, lettered: Tensor) -> tuple[Tensor, Tensor]:
        """Lay so many covers over every crop. Returns that, and how much of every pixel is covered at most.

        Letters only where a crop may be lettered: over print they are print. Wear over old prints, which come first,
        and mostly of the colour of their paper.
        """
        y, covered = clean, torch.zeros_like(clean[:, :1])
        colour = self._colours(paper)
        old = torch.arange(BATCH, device=self.device) < len(paper)
        # A crease that has kept its layer is seen by its relief alone: a little lighter or darker than what it crosses.
        is_relief = coin(BATCH, 0.2, self.device) & old[:, None, None, None]
        usual = torch.randint(len(DRAWERS), (BATCH,), device=self.device)  # of one kind, mostly
        for layer in range(MOST_LAYERS):
            other = torch.randint_like(usual, len(DRAWERS))
            kind = torch.where(torch.rand(BATCH, device=self.device) < 0.8, usual, other)
            kind = torch.where(lettered | (kind // 2 != LETTERS), kind, kind + 2)
            kind = torch.where(old, kind + len(DRAWERS), kind)
            job = kind + len(KINDS) * torch.randint_like(kind, JOBS // len(KINDS))
            which = job * self.each + torch.randint_like(kind, self.each)
            cover = self._cover(which) * (layer < count)[:, None, None, None]
            colour = torch.where(coin(BATCH, 0.6, self.device), colour, self._colours(paper))
            grain = coin(BATCH, 0.3, self.device) * 0.04 * uniform(BATCH, self.device) * torch.randn_like(covered)
            laid = torch.where(is_relief, y + 0.15 * normal(BATCH, self.device), colour)
            y = y + cover * ((laid + grain).clamp(0, 1) - y)
            covered = torch.maximum(covered, cover)
        # Light that falls on a rim throws a shadow beside it.
        rim = covered[old] - covered[old].roll(tuple(int(by) for by in torch.randint(-1, 2, (2,))), (2, 3))
        shadow = coin(len(paper), 0.4, self.device) * 0.4 * uniform(len(paper), self.device)
        return torch.cat([(y[old] - shadow * rim.clamp(min=0)).clamp(0, 1), y[len(paper) :]]), covered

    def _cover(self, which: Tensor) -> Tensor:
        first = torch.randint(COVER - CROP + 1, (2, len(which), 1), device=self.device)
        along = torch.arange(CROP, device=self.device)
        rows, columns = (f + torch.where(torch.rand_like(f.float()) < 0.5, along, CROP - 1 - along) for f in first)
        upright = torch.rand(len(which), 1, 1, device=self.device) < 0.5
        across = torch.where(upright, rows[:, :, None], rows[:, None, :])
        down = torch.where(upright, columns[:, None, :], columns[:, :, None])
        return self.covers[which[:, None, None], across, down][:, None].float() / 255

    def _colours(self, paper: Tensor) -> Tensor:
        """Whitish as the base of a print, dark as dirt, or anything: (BATCH, 3, 1, 1)."""
        kind, grey = uniform(BATCH, self.device), uniform(BATCH, self.device)
        any_ = torch.rand(BATCH, 3, 1, 1, device=self.device)
        whitish, dark = 1 - 0.3 * grey**2 - 0.1 * any_**2, 0.3 * grey**2 + 0.1 * any_**2
        colours = torch.where(kind < 0.25, whitish, torch.where(kind < 0.42, dark, any_))
        old = slice(len(paper))
        bleached = coin(len(paper), 0.5, self.device) * uniform(len(paper), self.device)
        bare = ((paper + bleached * (1 - paper)) * (1 + 0.08 * normal(len(paper), self.device))).clamp(0, 1)
        worn = torch.where(kind[old] < 0.8, bare, dark[old])
        return torch.cat([worn, colours[len(paper) :]])

    def _noisy(self, y: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
        """Replace values or pixels of a quarter of the crops, in both: noise is no mark."""
        share = 10 ** (-3 + 2.7 * uniform(BATCH, self.device)) * coin(BATCH, 0.25, self.device)
        drawn = torch.rand_like(y)
        drawn = torch.where(coin(BATCH, 0.5, self.device), drawn[:, :1], drawn)
        values = torch.rand_like(y)
        values = torch.where(coin(BATCH, 0.4, self.device), values.round(), values)
        hit = drawn < share
        return torch.where(hit, values, y), torch.where(hit, values, clean)

    def _as_scanned(self, y: Tensor, clean: Tensor, old: int) -> tuple[Tensor, Tensor]:
        """Blur and sharpen some, take some through JPEG, with their marks; all have levels of 1/255.

        Of the first so many, which are old prints, more.
        """
        both, count = torch.cat([y, clean]), len(y)
        sigma, quality = 0.3 + 0.6 * uniform(count, self.device), 60 + 37 * uniform(count, self.device)
        scanned = (torch.arange(count, device=self.device) < old).float()[:, None, None, None]
        is_blurred = uniform(count, self.device) < 0.25 + 0.25 * scanned
        is_jpeg = uniform(count, self.device) < 0.3 + 0.3 * scanned
        sharper = (uniform(count, self.device) < 0.4 * scanned) * 2 * uniform(count, self.device)
        both = torch.where(_twice(is_blurred), blurred(both, _twice(sigma)), both)
        both = (both + _twice(sharper) * (both - blurred(both, _twice(sigma)))).clamp(0, 1)
        both = torch.where(_twice(is_jpeg), through_jpeg(both, _twice(quality)), both)
        y, clean = ((255 * both.clamp(0, 1)).round() / 255).chunk(2)
        return y, clean


def _several(processes: int) -> Executor:
    """Processes that draw side by side, or with 0 a thread of this one."""
    if processes == 0:
        return ThreadPoolExecutor(1)
    return ProcessPoolExecutor(processes, mp_context=get_context("spawn"))


def _twice(of_each: Tensor) -> Tensor:
    return of_each.repeat(2, 1, 1, 1)


def _sizes(file: Path) -> list[NDArray[np.uint8]]:
    """A photograph at half the size that it has there at most, and smaller."""
    with Image.open(file) as opened:
        picture = opened.convert("RGB")
    least = min(picture.size)
    sides = [side for side in SHORTER if side <= 0.72 * least] or [least]
    sizes = [np.asarray(_shrunk(picture, side / least)) for side in sides]
    return [size for size in sizes if min(size.shape[:2]) >= CROP]


def _as_is(file: Path) -> list[NDArray[np.uint8]]:
    with Image.open(file) as opened:
        picture = np.asarray(opened.convert("RGB"))
    return [picture] if min(picture.shape[:2]) >= CROP else []


def loss(marks: nn.Module, y: Tensor, label: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy of the pixels that count."""
    return F.binary_cross_entropy_with_logits(marks(y), label, weight, reduction="sum") / weight.sum()


def course(checkpoint: Path | None, weights: Path, device: torch.device) -> Course:
    """Return the training of the marks, new or to go on."""
    marks = Marks().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    adam = functools.partial(Adam, beta2=0.99)
    return Course(marks, adam, checkpoint, weights, warmup=WARMUP, averaging=AVERAGING)


def step(course: Course, lessons: Lessons, lr: float) -> Tensor:
    """Take one step; returns the loss."""
    value = loss(course.network, *lessons.draw())
    course.learn(value, lr)
    return value.detach()


def main() -> None:
    """Pack, or train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--pack", type=Path, help="write what is to be trained on there, and no more")
    options(parser, minutes=8, lr=LR, out="marks.npz")
    parser.add_argument("--layers", type=int, default=20_000, help="things to draw")
    parser.add_argument("--processes", type=int, default=2, help="to draw them")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    a = parser.parse_args()
    tune_process()
    if a.pack:
        pack(a.pictures, a.pack)
        return
    device_name: DeviceName = a.device
    device = pick_device(device_name)
    torch.backends.cudnn.benchmark = True  # all batches are of one shape
    torch.manual_seed(a.seed)
    begin = time.monotonic()
    lessons = Lessons(a.pictures, device, a.processes, a.layers)
    print(f"drawn in {time.monotonic() - begin:.0f} s", flush=True)
    training = course(a.checkpoint, a.out, device)
    training.train(functools.partial(step, training, lessons), 60 * a.minutes, a.lr, a.out, held=1 / 3)


if __name__ == "__main__":
    main()
