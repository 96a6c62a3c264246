"""Sparse over-parameterization, s = u∘u − v∘v learned at a discrepant rate: torch only, and nothing about pixels."""

from dipsop.sop.corruption import SparseCorruption
from dipsop.sop.rates import DiscrepantRates, alpha_for, effective_lambda

__all__ = ["DiscrepantRates", "SparseCorruption", "alpha_for", "effective_lambda"]
