"""The theorem made visible: the pair of rates alone amounts to an ℓ1 weight.

A signal of four dimensions is seen through a linear map that is over-parameterized, and a few entries are corrupted:

    y = Jθ* + s*.

Gradient descent on ½‖Jθ + u∘u − v∘v − y‖² is run to zero loss, with nothing that asks for a sparse s: θ from 0, u and v
from a tiny γ and α times as fast as θ. It ends where a convex solver puts the minimum of

    min ½‖θ‖² + λ‖s‖₁   such that   y = Jθ + s,        λ = −log γ / (2α),

over three decades of α. Why: let r be the residual and ν = −∫r over the run. Every step of θ is along −Jᵀr and every
step of log u, log v along ∓r, so whatever happens on the way,

    θ = Jᵀν,    u = γ·exp(+2αν),    v = γ·exp(−2αν).

The first is one optimality condition of the convex problem, with ν its dual variable. The other is |ν| ≤ λ, with
ν = λ·sign(s) where s ≠ 0. Indeed u is of order one where ν = −log γ / (2α) = λ; short of that, s is as good as 0 for a
tiny γ; and since |ν| = λ + log|s| / (4α) where s ≠ 0, the solutions differ by a share of order 1 / log γ.

Two ways to step are compared. The explicit one is plain descent, short steps in which r stands still: tens of thousands
of them, since s is stiff. (`gradient_step` agrees with the `flow_step` used here to first order and needs still
shorter ones.) The implicit one (`implicit_step`) lets r follow s, is stable at any α and arrives at the same place in a
few hundred.

    python examples/linear_recovery.py --out linear_recovery.png

References
----------
Liu, Zhu, Qu, You, "Robust Training under Label Noise by Over-parameterization", ICML 2022: the theorem. You, Zhu, Qu,
Ma, "Robust Recovery via Implicit Bias of Discrepant Learning Rates for Double Over-parameterization", NeurIPS 2020: its
forerunner, where a low-rank matrix stands in for θ.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from dipsop.sop import SparseCorruption, effective_lambda

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Vector = NDArray[np.float64]
Step = Literal["explicit", "implicit"]

INIT_SCALE = 1e-70  # γ; float64 holds v∘v down to γ⁴
ALPHAS = tuple(np.geomspace(3, 3000, 13).tolist())  # λ from 27 down to 0.027


@dataclass(frozen=True)
class Problem:
    """y = Jθ* + s*: map (entries, parameters), observation y and its two parts."""

    jacobian: Vector
    y: Vector
    theta: Vector
    s: Vector


@dataclass(frozen=True)
class Solution:
    """A pair (θ, s), and the largest |Jθ + s − y| that it leaves."""

    theta: Vector
    s: Vector
    residual: float

    def relative_difference(self, other: "Solution | Problem") -> float:
        """‖(θ, s) − (θ, s)'‖ / ‖(θ, s)'‖, both parts in one vector."""
        mine, theirs = np.concatenate([self.theta, self.s]), np.concatenate([other.theta, other.s])
        return float(np.linalg.norm(mine - theirs) / np.linalg.norm(theirs))


@dataclass(frozen=True)
class Comparison:
    """What descent with the ratio α ended at, by either way to step, and the convex solution at λ = −log γ / (2α)."""

    alpha: float
    lam: float
    explicit: Solution
    implicit: Solution
    convex: Solution


def make_problem(seed: int, entries: int = 48, parameters: int = 64, rank: int = 4, corrupted: int = 5) -> Problem:
    """Draw J with `rank` singular values of 1 and the others of 0.2, θ* among the former, and a sparse s*."""
    rng = np.random.default_rng(seed)
    left, _, right = np.linalg.svd(rng.standard_normal((entries, parameters)), full_matrices=False)
    jacobian = left * np.where(np.arange(entries) < rank, 1.0, 0.2) @ right
    theta = 2 * rng.standard_normal(rank) @ right[:rank]
    s = np.zeros(entries)
    where = rng.choice(entries, corrupted, replace=False)
    s[where] = rng.choice([-1, 1], corrupted) * rng.uniform(1, 2, corrupted)
    return Problem(jacobian, jacobian @ theta + s, theta, s)


def descend(
    problem: Problem, alphas: Sequence[float], init_scale: float, step: Step, tolerance: float = 3e-3
) -> list[Solution]:
    """Run gradient descent with discrepant rates for all α side by side, until every |r| is below the tolerance."""
    jacobian, y = torch.from_numpy(problem.jacobian), torch.from_numpy(problem.y)
    alpha = torch.tensor(alphas, dtype=torch.float64)[:, None]
    # The loss bends by 1 along θ and by up to 4α|s| along s: the explicit step must stay short for both.
    lr = 1 / (1 + 4 * alpha * y.abs().max()) if step == "explicit" else torch.ones_like(alpha)
    theta = torch.zeros(len(alphas), jacobian.shape[1], dtype=torch.float64)
    corruption = SparseCorruption.constant(torch.full((len(alphas), len(y)), init_scale, dtype=torch.float64))
    while True:
        unexplained = y - theta @ jacobian.T
        if step == "implicit":
            implicit_step(corruption, unexplained, alpha * lr)
        residual = corruption.value - unexplained
        if residual.abs().max() <= tolerance:
            break
        if step == "explicit":
            corruption.flow_step(residual, alpha * lr)
        theta -= lr * (residual @ jacobian)  # by the residual that moves s, or the two would part
    largest = residual.abs().amax(1).tolist()
    return [Solution(*parts) for parts in zip(theta.numpy(), corruption.value.numpy(), largest, strict=True)]


def implicit_step(corruption: SparseCorruption, unexplained: torch.Tensor, rate: torch.Tensor, rounds: int = 8) -> None:
    """Take the flow over one unit of time in which r follows s: a step by the residual that it ends at.

    The product uv = γ² does not move under the flow and τ = log(v/u) grows by 4ηr, r = u² − v² − (y − Jθ). So

        u = γ·exp(−τ/2),   v = γ·exp(+τ/2),   τ + 8ηγ²·sinh τ = τ₀ − 4η(y − Jθ),

    monotone in τ and solved by Newton's method, entry by entry; 8 rounds reach float64 precision.
    """
    product = corruption.u * corruption.v
    drive = (corruption.v / corruption.u).log() - 4 * rate * unexplained
    pull, weight = drive.abs(), 4 * rate * product  # both sides are odd in τ: solve for |τ|
    # Either term alone would carry τ too far, so the start lies beyond the root on a convex branch: no overshoot.
    tau = torch.minimum(pull, torch.asinh(pull / (2 * weight)))
    for _ in range(rounds):
        up, down = weight * torch.exp(tau), weight * torch.exp(-tau)
        tau = tau - (tau + up - down - pull) / (1 + up + down)
    half = torch.copysign(tau, drive) / 2
    corruption.u.copy_(product.sqrt() * torch.exp(-half))
    corruption.v.copy_(product.sqrt() * torch.exp(half))


def solve_convex(problem: Problem, lam: float) -> Solution:
    """Let Clarabel, an interior-point solver, find min ½‖θ‖² + λ‖s‖₁ such that y = Jθ + s."""
    cvxpy = import_module("cvxpy")
    theta, s = cvxpy.Variable(problem.theta.size), cvxpy.Variable(problem.s.size)
    cost = 0.5 * cvxpy.sum_squares(theta) + lam * cvxpy.norm1(s)
    cvxpy.Problem(cvxpy.Minimize(cost), [problem.jacobian @ theta + s == problem.y]).solve(solver="CLARABEL")
    left = np.abs(problem.jacobian @ theta.value + s.value - problem.y).max()
    return Solution(theta.value, s.value, float(left))


def sweep(
    problem: Problem, alphas: Sequence[float] = ALPHAS, init_scale: float = INIT_SCALE, tolerance: float = 3e-3
) -> list[Comparison]:
    """Solve the problem by descent and by convex programming for every ratio of rates α."""
    lams = [effective_lambda(alpha, init_scale) for alpha in alphas]
    explicit = descend(problem, alphas, init_scale, "explicit", tolerance)
    implicit = descend(problem, alphas, init_scale, "implicit", tolerance)
    convex = [solve_convex(problem, lam) for lam in lams]
    return [Comparison(*row) for row in zip(alphas, lams, explicit, implicit, convex, strict=True)]


def draw(comparisons: Sequence[Comparison], truth: Problem) -> "Figure":
    """Draw ‖s‖₁, ‖θ‖, the distance to the truth and the relative difference against λ."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    (sparse, signal), (recovery, difference) = figure.subplots(2, 2)
    lams = [c.lam for c in comparisons]
    for axes, label, measure in (
        (sparse, "‖s‖₁", lambda a: np.abs(a.s).sum()),
        (signal, "‖θ‖", lambda a: np.linalg.norm(a.theta)),
        (recovery, "distance to (θ*, s*), relative", lambda a: a.relative_difference(truth)),
    ):
        axes.plot(lams, [measure(c.convex) for c in comparisons], "-", color="0.7", linewidth=5, label="convex solver")
        axes.plot(lams, [measure(c.explicit) for c in comparisons], "o", label="descent, explicit steps")
        axes.plot(lams, [measure(c.implicit) for c in comparisons], "kx", label="descent, implicit steps")
        axes.set(title=label, xscale="log")
    difference.plot(lams, [100 * c.explicit.relative_difference(c.convex) for c in comparisons], "o")
    difference.plot(lams, [100 * c.implicit.relative_difference(c.convex) for c in comparisons], "kx")
    difference.set(title="descent against convex solver, % (1 % is dashed)", xscale="log", yscale="log")
    difference.axhline(1, color="0.7", linestyle="--")
    sparse.legend()
    figure.supxlabel("λ = −log γ / (2α)")
    return figure


def main() -> None:
    """Print the sweep as a table and draw it."""
    parser = argparse.ArgumentParser(description="Discrepant rates against the convex problem they amount to.")
    parser.add_argument("--out", type=Path, default=Path("linear_recovery.png"), help="plot (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the problem (default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)  # on tensors this small a second thread only costs
    problem = make_problem(options.seed)
    comparisons = sweep(problem)
    print(f"γ = {INIT_SCALE:g}\n{'α':>8} {'λ':>8} {'‖s‖₁':>8} {'‖θ‖':>8} {'explicit':>9} {'implicit':>9}")
    for c in comparisons:
        norms = f"{np.abs(c.convex.s).sum():8.3f} {math.hypot(*c.convex.theta):8.3f}"
        explicit, implicit = (part.relative_difference(c.convex) for part in (c.explicit, c.implicit))
        print(f"{c.alpha:8.1f} {c.lam:8.3f} {norms} {explicit:9.3%} {implicit:9.3%}")
    draw(comparisons, problem).savefig(options.out)


if __name__ == "__main__":
    main()
