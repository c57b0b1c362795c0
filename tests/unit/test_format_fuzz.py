"""Damaged and hostile ECG files end in the project's own error, soon, and without much memory."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import format_mutants
import numpy as np
import pytest
from wfdb_writer import ecg_mv

from supreme.ecg import BadRecord
from supreme.records import Entry
from supreme.records.ecg_files import EcgReader
from supreme.records.formats import read_ecg
from supreme.records.formats.arrays import open_array
from supreme.records.wfdb_files import WfdbReader
from supreme.records.wfdb_header import MAX_VALUES

pytestmark = pytest.mark.unit

GOOD = format_mutants.good_files()
MUTANTS, MOST_SECONDS, MOST_BYTES = 150, 5.0, 600_000_000


#: Why the bombs are refused that only one guard stops.
REASONS = {
    **dict.fromkeys(
        ("billion laughs", "UTF-16 laughs", "external entity", "parameter entity"), "unsafe_header"
    ),
    **dict.fromkeys(("deep XML", "many elements"), "unsafe_header"),
    **dict.fromkeys(("endless LZW", "SCP of many samples", "DICOM of many samples"), "too_large"),
    "deflated DICOM": "unsupported",
}


def _is_refused(content: bytes, reason: str = "") -> bool:
    """Whether a file is refused; one that is read has a bounded signal of numbers."""
    try:
        ecg = read_ecg(content)
    except BadRecord as error:
        return not reason or error.reason == reason
    assert ecg.signal_mv.dtype == np.float32
    assert ecg.signal_mv.size <= MAX_VALUES
    assert len(ecg.leads) == len(ecg.signal_mv)
    assert np.isfinite(ecg.rate_hz)
    return False


@pytest.mark.parametrize("form", GOOD)
def test_a_damaged_file_is_refused_or_read(form: str) -> None:
    refused = 0
    for mutant in format_mutants.mutants(GOOD[form], MUTANTS, seed=7):
        start = time.process_time()
        refused += _is_refused(mutant)
        assert time.process_time() - start < MOST_SECONDS
    assert not _is_refused(GOOD[form])
    assert refused > MUTANTS / 5, "the damage must reach the reader"


@pytest.mark.parametrize("bomb", (BOMBS := format_mutants.bombs()))
def test_a_bomb_is_defused(bomb: str) -> None:
    start = time.process_time()
    tracemalloc.start()
    try:
        refused = _is_refused(BOMBS[bomb], REASONS.get(bomb, ""))
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused or "1e300" in bomb or "blocks" in bomb
    assert most_bytes < MOST_BYTES
    assert time.process_time() - start < 6 * MOST_SECONDS


def test_damaged_arrays_are_refused_or_read(tmp_path: Path) -> None:
    """`.npy` only: a damaged HDF5 file is the affair of its library."""
    np.save(tmp_path / "x.npy", ecg_mv(2.0, 400)[:1].astype(np.float32))
    content, path = (tmp_path / "x.npy").read_bytes(), tmp_path / "mutant.npy"
    (tmp_path / "mutant.toml").write_text('leads = ["I"]\nrate_hz = 400\nunit = "mV"\n')
    reader, entry = EcgReader(WfdbReader()), Entry("x", "", "x", source_uri=f"{path}/0")
    refused = 0
    for mutant in format_mutants.mutants(content[:128], 200, seed=3):
        path.write_bytes(mutant + content[128:])
        open_array.cache_clear()
        try:
            assert reader.read(entry).signal.size <= MAX_VALUES
        except BadRecord:
            refused += 1
    assert refused > 40
