"""The measurement of the rules measures what it says."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
from benchmarks import reports

from supreme import config
from supreme.settings.bench import Bench

pytestmark = pytest.mark.unit


def test_ways_are_measured_on_machine_reports_and_on_ptbxl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "REPORTS", 300)
    monkeypatch.setattr(reports, "POOL", 40)
    table = tmp_path / "ptb-xl" / "ptbxl_database.csv"
    table.parent.mkdir()
    table.write_text("ecg_id,report\n1,Sinusrhythmus\n2,Linksschenkelblock. Linkstyp\n3,Sinusrhythmus\n")
    recipe = config.Recipe(real=str(tmp_path), bench=Bench(repetitions=1))
    result = reports.compare_rules(recipe, nullcontext)
    loads = result["loads"]
    assert set(result["long_to_short"]) == set(reports.LONG)
    assert {name: (row["reports"], row["statements"], row["unique"]) for name, row in loads.items()} == {
        "simulated machine reports": (300, *_counts(loads)),
        "PTB-XL": (3, 4, 3),
        "PTB-XL, each report once": (2, 3, 3),
    }
    machine = loads["simulated machine reports"]
    assert machine["rules"] > machine["rules, every statement anew"] > machine["one regular expression"] > 0


def _counts(loads: dict) -> tuple[int, int]:
    row = loads["simulated machine reports"]
    assert 100 < row["unique"] < row["statements"]
    return row["statements"], row["unique"]
