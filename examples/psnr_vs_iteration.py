"""Nothing to stop early: PSNR against iteration for deep image prior with ℓ2, with ℓ1, and with the sparse part.

All three start from the same network and fit the same picture, with 30 % of its values replaced by random ones. With ℓ2
and ℓ1 the clean picture is only passed by; with f(θ; z) + u∘u − v∘v at discrepant rates it is where the fit ends. The
same as `dipsop demo`, about three minutes on one core.

    python examples/psnr_vs_iteration.py --out psnr_vs_iteration.png

References
----------
You, Zhu, Qu, Ma, "Robust Recovery via Implicit Bias of Discrepant Learning Rates for Double Over-parameterization",
NeurIPS 2020.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from dipsop import iter_restore
from dipsop.restoration.demo import Curve, corrupted, figure, methods, psnr_curve, sample, table


def main(arguments: Sequence[str] | None = None) -> dict[str, Curve]:
    """Fit the three, print how they compare and draw it; return the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, help="of each fit")
    parser.add_argument("--side", type=int, help="of the crop of the sample, for a quicker look")
    parser.add_argument("--out", type=Path, default=Path("psnr_vs_iteration.png"), help="where the plot goes")
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)  # on a picture this small, several would mostly wait for each other
    clean = sample()[: options.side, : options.side]
    observed = corrupted(clean)
    curves = {}
    for name, config in methods(options.steps).items():
        curves[name] = psnr_curve(iter_restore(observed, config), clean)
    print(table(curves))
    figure(curves).savefig(options.out, dpi=150)
    return curves


if __name__ == "__main__":
    main()
