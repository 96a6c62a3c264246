"""The figure of the demonstration: PSNR against iteration, and what the weight of an explicit penalty does."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dipsop.jobs.curve import Curve
from dipsop.restoration.config import PENALTIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {"DIP-l2": "DIP, ℓ2", "DIP-l1": "DIP, ℓ1", "dip": "DIP with (u, v)"}


def figure(curves: Mapping[str, Curve]) -> "Figure":
    """Draw the curves of ℓ2, ℓ1, the best penalty and (u, v), and beside them what the weight of the penalty does."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = drawing.subplots(1, 2, width_ratios=(2, 1), sharey=True)
    best = max((f"penalty {weight:g}" for weight in PENALTIES), key=lambda name: curves[name].final)
    _draw_curves(left, {name: curves[name] for name in ("DIP-l2", "DIP-l1", best, "dip")})
    _draw_weights(right, curves)
    return drawing


def _draw_curves(panel: "Axes", curves: Mapping[str, Curve]) -> None:
    """PSNR against iteration, each with its peak marked."""
    for name, curve in curves.items():
        text = f"{label(name)}: peak {curve.peak:.1f} dB, final {curve.final:.1f} dB"
        (line,) = panel.plot(curve.steps, curve.psnr, label=text, linewidth=2 if name == "dip" else 1.2)
        panel.plot(curve.peak_step, curve.peak, "o", color=line.get_color())
    panel.set_xlabel("iteration")
    panel.set_ylabel("PSNR of the network's output, dB")
    panel.grid(alpha=0.3)
    panel.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False)


def _draw_weights(panel: "Axes", curves: Mapping[str, Curve]) -> None:
    """Peak and end against the weight of the penalty, between its limits ℓ1 and ℓ2."""
    names = ["DIP-l1", *(f"penalty {weight:g}" for weight in PENALTIES), "DIP-l2"]
    panel.plot([curves[name].peak for name in names], "o--", color="tab:gray", label="peak, picked by the truth")
    panel.plot([curves[name].final for name in names], "o-", color="tab:green", label="final")
    panel.axhline(curves["dip"].final, color="tab:red", label="DIP with (u, v), final")
    panel.set_xticks(range(len(names)), ["0 (ℓ1)", *(f"{weight:g}" for weight in PENALTIES), "∞ (ℓ2)"])
    panel.set_xlabel("weight λ of an explicit penalty λ·|s|")
    panel.grid(alpha=0.3)
    panel.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False)


def label(name: str) -> str:
    """What a method is called in the figure."""
    return LABELS.get(name) or f"DIP + {name.removeprefix('penalty ')}·|s|"
