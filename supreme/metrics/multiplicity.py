"""Many comparisons at once: Holm's adjusted p-values, and groups of models that cannot be told apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Adjusted p-values that keep the family-wise error (Holm, 1979); NaN stays NaN and does not count."""
    p = np.asarray(p_values, np.float64)
    adjusted = np.full(p.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def indistinguishable(count: int, differ: Callable[[int, int], bool]) -> list[frozenset[int]]:
    """Largest groups of which no two members differ: insert and absorb (Piepho, 2004).

    An item can be in several groups: A may be like B and B like C where A and C differ.

    Args:
        differ: whether two of the items ``0 .. count - 1`` were told apart, for the first below the second.
    """
    groups = [frozenset(range(count))] if count else []
    for one in range(count):
        for other in range(one + 1, count):
            if differ(one, other):
                groups = _separate(groups, one, other)
    return sorted(groups, key=sorted)


def _separate(groups: list[frozenset[int]], one: int, other: int) -> list[frozenset[int]]:
    parts = [
        part
        for group in groups
        for part in ((group - {one}, group - {other}) if {one, other} <= group else (group,))
    ]
    unique = list(dict.fromkeys(parts))
    return [part for part in unique if not any(part < larger for larger in unique)]
