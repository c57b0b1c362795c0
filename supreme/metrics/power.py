"""Power: the smallest difference that a test set shows, and how many patients a difference takes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True)
class Power:
    """Power of a two-sided paired test with one standard error, at patients like these."""

    standard_error: float
    patients: int
    alpha: float = 0.05
    target: float = 0.8

    @property
    def smallest_difference(self) -> float:
        """The smallest true difference that is detected with the target power."""
        return self._reach * self.standard_error

    def detects(self, difference: float) -> float:
        """Probability that a true difference is detected; ``alpha`` for none."""
        if self.standard_error == 0:
            return 1.0 if difference else self.alpha
        critical = float(stats.norm.isf(self.alpha / 2))
        shift = abs(difference) / self.standard_error
        return float(stats.norm.sf(critical - shift) + stats.norm.cdf(-critical - shift))

    def patients_for(self, difference: float) -> int:
        """Patients in whom a true difference is detected with the target power.

        Raises:
            ValueError: the difference is 0, which no number of patients shows.
        """
        if difference == 0:
            raise ValueError("a difference of 0 is detected with no number of patients")
        return max(2, math.ceil(self.patients * (self.smallest_difference / difference) ** 2))

    @property
    def _reach(self) -> float:
        return float(stats.norm.isf(self.alpha / 2) + stats.norm.ppf(self.target))
