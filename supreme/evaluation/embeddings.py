"""Embeddings of records, made once and probed often."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Embeddings:
    """One vector a record."""

    record_ids: tuple[str, ...]
    values: np.ndarray
    """`(N, D)` float32."""
