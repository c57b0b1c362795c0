"""The reading suite as a user starts it: what it tells, and that no way gives another signal. No timing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import ways
from benchmarks.data import Ecgs
from pipeline_runs import finish, result

from supreme.shards.codec import CODECS

pytestmark = [pytest.mark.ray, pytest.mark.slow]

WAYS = [
    "wfdb.rdsamp, DataLoader 2",
    *(f"memory map, DataLoader {workers}" for workers in (0, 2)),
    *(f"{codec} shards, {way}" for codec in CODECS for way in ("torch", "Ray Data")),
    "lz4 shards, DataLoader 2",
]


def test_the_reading_suite_compares_every_way(tmp_path: Path) -> None:
    small = ["bench.records=512", "bench.repetitions=1", "bench.s3=false", "bench.memory_records=[600,1200]"]
    done = finish("bench", "reading", f"root={tmp_path}", *small)
    found = result(done)
    assert (found["suite"], found["records"]) == ("reading", "simulated")
    rows = found["local"]
    assert set(WAYS) < set(rows)
    for name in WAYS:
        assert all(rows[name][key] > 0 for key in ("records_per_s", "processor_us", "cold_per_s")), name
        [line] = [line for line in done.stderr.splitlines() if f": {name} " in line]
        assert re.findall(r"\d+", line)[-1] == str(rows[name]["bytes"])
    assert rows[ways.REFERENCE]["to_reference"] == 1
    assert found["bytes_to_int16"]["simulated"]["none"] == 1
    size = found["bytes_to_int16"]["simulated"]
    assert size["delta"] < size["zstd-3"] < size["lz4"] < 0.45
    assert {name: list(peaks) for name, peaks in found["peak_megabytes"].items()} == {
        "shards, torch": ["600", "1,200"],
        "shards, Ray Data": ["600", "1,200"],
    }
    assert not list(tmp_path.iterdir())


def test_a_suite_that_does_not_exist_is_named_with_those_that_do(tmp_path: Path) -> None:
    done = finish("bench", "bench.suite=speed", f"root={tmp_path}")
    assert done.returncode == 2
    assert "bench.suite='speed' is none of" in done.stderr


def test_a_wrong_signal_and_a_lost_record_are_seen() -> None:
    signal_uv = np.random.default_rng(0).integers(-999, 999, (6, 12, 10), dtype=np.int16)
    ecgs = Ecgs("planted", 500, signal_uv)

    def read(numbers: range) -> Iterator[tuple[list[str], torch.Tensor]]:
        yield [f"bench/{number}" for number in numbers], torch.from_numpy(signal_uv[[n % 6 for n in numbers]])

    whole = ways.Way(lambda: read(range(12)), 12)
    ways.check("planted", whole, ecgs)
    with pytest.raises(ValueError, match="11 of 12 records"):
        ways.check("planted", replace(whole, read=lambda: read(range(11))), ecgs)
    changed = signal_uv.copy()
    changed[3, 5, 7] += 1
    with pytest.raises(ValueError, match="record 3 is not what was written"):
        ways.check("planted", whole, replace(ecgs, signal_uv=changed))
