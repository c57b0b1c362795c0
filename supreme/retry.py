"""How long to wait before trying again."""

from __future__ import annotations

import random


def backoff_s(failures: int, first_s: float, longest_s: float) -> float:
    """Seconds to wait after so many failures in a row: doubling from ``first_s``, with jitter."""
    return min(first_s * 2.0 ** (failures - 1), longest_s) * random.uniform(0.5, 1.0)
