"""Random draws of a training step, each a pure function of (seed, purpose, step, rank)."""

from __future__ import annotations

import numpy as np
import torch

#: Purposes: the number that follows the seed in `seed_of`.
PHRASING, AUGMENT, DROPOUT, TASK = 1, 2, 3, 4


def seed_of(seed: int, *parts: int) -> int:
    """A 63-bit seed that differs for each combination of numbers."""
    return int(np.random.SeedSequence([seed, *parts]).generate_state(1, np.uint64)[0] >> 1)


def draw_phrasings(offsets: torch.Tensor, seed: int, step: int) -> torch.Tensor:
    """One random phrasing of each entity, as rows of the embeddings (Q,); the same on every worker."""
    generator = torch.Generator().manual_seed(seed_of(seed, PHRASING, step))
    counts = offsets[1:] - offsets[:-1]
    return offsets[:-1] + (torch.rand(len(counts), generator=generator) * counts).long()
