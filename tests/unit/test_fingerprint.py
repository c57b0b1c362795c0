"""Fingerprints: the same recording is found again, another one is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from supreme import records
from supreme.ecg import to_microvolts
from supreme.records.simulated import SimulatedSource
from supreme.settings.data import Source
from supreme.shards.fingerprint import block_differences, fingerprints, same_recording, simhash_bits
from supreme.signal import resample

pytestmark = pytest.mark.unit

RATE_HZ = 500
N = 24


@pytest.fixture(scope="module")
def signals_uv() -> np.ndarray:
    source = SimulatedSource("simulated", N, 3, rate_hz=RATE_HZ)
    return np.stack([to_microvolts(source.read(entry).signal_mv) for entry in source.index()])


CHANGES = {
    "rounding": lambda x: (x + np.random.default_rng(0).integers(-1, 2, x.shape), RATE_HZ),
    "scale and offset": lambda x: (np.rint(x * 0.2 + 300).astype(np.int16), RATE_HZ),
    "100 Hz": lambda x: (to_microvolts(resample(x, RATE_HZ, 100)), 100),
    "400 Hz": lambda x: (to_microvolts(resample(x, RATE_HZ, 400)), 400),
    "first five seconds": lambda x: (x[..., : 5 * RATE_HZ], RATE_HZ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_the_same_recording(signals_uv: np.ndarray, change: str) -> None:
    copies, rate_hz = CHANGES[change](signals_uv)
    both = np.concatenate([fingerprints(signals_uv, RATE_HZ), fingerprints(copies, rate_hz)])
    groups = same_recording(both)
    assert len(np.unique(groups[:N])) == N
    np.testing.assert_array_equal(groups[:N], groups[N:])


def test_one_by_one_is_as_all_at_once(signals_uv: np.ndarray) -> None:
    alone = np.stack([block_differences(signal, RATE_HZ) for signal in signals_uv])
    np.testing.assert_array_equal(simhash_bits(alone), fingerprints(signals_uv, RATE_HZ))


@pytest.mark.parametrize("samples", [1, 7, 2499, 2500, 2501])
def test_short_and_empty_signals(samples: int) -> None:
    assert fingerprints(np.zeros((2, 12, samples), np.int16), RATE_HZ).shape == (2, 16)
    assert len(same_recording(np.empty((0, 16), np.uint8))) == 0


@pytest.mark.real
def test_cpsc2018_stands_in_cinc2021(realdata: Path) -> None:
    kinds = {"cpsc2018": "cpsc2018", "cinc2021": "cinc2021/training/cpsc_2018"}
    prints, ids = [], []
    for kind, folder in kinds.items():
        source = records.open_source(Source(kind=kind, uri=str(realdata / folder)), 0, RATE_HZ)
        for entry in source.index():
            record = source.read(entry)
            prints.append(fingerprints(to_microvolts(record.signal_mv)[None], record.rate_hz)[0])
            ids.append(entry.record_id.rpartition("/")[2])
    groups = same_recording(np.stack(prints))
    assert len(set(ids)) < len(ids)
    for one, group in zip(ids, groups, strict=True):
        assert {other for other, same in zip(ids, groups, strict=True) if same == group} == {one}
