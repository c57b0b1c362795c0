"""What a comparison says: better, not worse by more than a margin, worse, or that it cannot tell."""

from __future__ import annotations

from typing import Literal

from supreme.evaluation.compare import Comparison

#: Chance of calling two equal models different.
ALPHA = 0.05
Verdict = Literal["better", "not worse", "worse", "cannot tell"]


def verdict(comparison: Comparison, margin: float) -> Verdict:
    """The verdict about model A against model B.

    *Better* and *worse* need both the interval and the test; *not worse* means that the whole interval lies
    above minus the margin.
    """
    is_different = comparison.p_value < ALPHA
    if is_different and comparison.low > 0:
        return "better"
    if is_different and comparison.high < 0:
        return "worse"
    return "not worse" if is_within(comparison, margin) else "cannot tell"


def is_within(comparison: Comparison, margin: float) -> bool:
    """Whether A is not worse than B by more than the margin, as far as the interval tells."""
    return comparison.low >= -margin


def interval_text(comparison: Comparison) -> str:
    """`difference +0.012 [-0.003, +0.027]`."""
    return f"difference {comparison.difference:+.3f} [{comparison.low:+.3f}, {comparison.high:+.3f}]"


def sentence(comparison: Comparison, margin: float) -> str:
    """The verdict with the numbers behind it, and what the data could have shown."""
    decided = verdict(comparison, margin)
    head = {
        "better": "A is better than B",
        "worse": "A is worse than B"
        + (f", by less than {margin:g}" if is_within(comparison, margin) else ""),
        "not worse": f"A is not worse than B by more than {margin:g}; which is better cannot be told",
        "cannot tell": "Which is better cannot be told",
    }[decided]
    return f"{head}: {interval_text(comparison)}, p = {p_text(comparison.p_value)}. {power_text(comparison)}"


def power_text(comparison: Comparison) -> str:
    """The smallest difference that is seen with 80 %, and the patients that smaller ones take."""
    needed = ", ".join(f"{count:,} patients for {d}" for d, count in comparison.patients_needed.items())
    return (
        f"These {comparison.patients:,} patients show a true difference of "
        f"{comparison.smallest_difference:.3f} with a power of 80 %; it takes {needed}."
    )


def p_text(p_value: float) -> str:
    """Two digits, or `< 0.001`."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.2g}" if p_value < 0.1 else f"{p_value:.2f}"
