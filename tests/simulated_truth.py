"""What a simulated record really has, without its signal: a millisecond instead of ten."""

from __future__ import annotations

from functools import cache

import numpy as np

from supreme.records.simulated import DURATION_S
from supreme.records.simulator import beats, findings, rhythm, truth


@cache
def conditions(seed: int, number: int) -> frozenset[str]:
    """The conditions of a record of a seed."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, number])))
    patient = findings.draw(rng)
    activations = rhythm.draw(patient, DURATION_S, rng)
    heart = beats.Heart(patient, activations.rr_s, rng)
    return frozenset(truth.conditions(patient, activations, heart, DURATION_S))
