"""The demonstration from pictures to plot. Imported once a command has begun."""

from pathlib import Path

import torch
import typer

from dipsop.commands.device import pick_device
from dipsop.commands.display import Display
from dipsop.commands.inputs import load_truth
from dipsop.commands.options import DeviceName
from dipsop.commands.outputs import check_suffix
from dipsop.errors import DipsopError
from dipsop.files import reason, save_json, shown
from dipsop.restoration import images
from dipsop.restoration.demo import corrupted, figure, methods, psnr_curve, record, sample, table
from dipsop.restoration.fit import iter_restore
from dipsop.restoration.quality import Array
from dipsop.restoration.trace import save_figure

# Up to this many values several threads gain nothing, and on busy cores lose a lot by waiting for each other.
SMALL = 128 * 128 * 3


def run(
    image: Path | None, truth: Path | None, steps: int, out: Path, seed: int, device_name: DeviceName, quiet: bool
) -> None:
    """Fit the three, one after another, and write and print how they compare.

    Raises
    ------
    DipsopError
        If a file or the device is not as it must be.
    """
    observed, clean = pictures(image, truth, seed)
    device = pick_device(device_name)
    record_file, plot_file = out / "psnr_vs_iteration.json", out / "psnr_vs_iteration.png"
    make_folder(out)
    check_suffix(record_file, (".json",))
    check_suffix(plot_file, (".png",))
    if clean.size <= SMALL:
        torch.set_num_threads(1)
    configs, curves = methods(steps, seed), {}
    for name, config in configs.items():
        with Display(config.steps, title=name, quiet=quiet) as display:
            curves[name] = psnr_curve(display.watched(iter_restore(observed, config, device)), clean)
    save_json(record_file, record(curves, configs))
    save_figure(plot_file, figure(curves))
    if not quiet:
        typer.echo(f"{table(curves)}\nwrote {shown(plot_file)} and {shown(record_file)}")


def pictures(image: Path | None, truth: Path | None, seed: int) -> tuple[Array, Array]:
    """Return the corrupted picture and the clean one."""
    if image is not None and truth is not None:
        observed = images.load(image)
        return observed.values, load_truth(truth, observed)
    clean = sample() if image is None else images.load(image).values
    return corrupted(clean, seed), clean


def make_folder(path: Path) -> None:
    """Make the folder of the results, unless it is there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DipsopError(f"{shown(path)} cannot be made a folder ({reason(error)}): choose another name.") from None
