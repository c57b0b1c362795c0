"""Measurements of two data sets: planted differences are found by name and condition."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from wfdb_writer import write_ptbxl

from supreme import config
from supreme.config import ConfigError
from supreme.evaluation import distributions
from supreme.evaluation.distributions import ALL, MeasuredDataset, compare, measure
from supreme.evaluation.handmade_features import FEATURES, features
from supreme.evaluation.textbook_signs import SIGNS, auroc_of
from supreme.records.simulated import SimulatedSource
from supreme.reporting import distributions_page
from supreme.settings.data import Source

pytestmark = pytest.mark.unit

RNG = np.random.default_rng(0)


def dataset(name: str, records: int = 200) -> MeasuredDataset:
    """Noise; every fourth record has a long QT interval by its codes."""
    values = RNG.standard_normal((records, len(FEATURES))).astype(np.float32)
    conditions = tuple(frozenset({"long_qt"} if n % 4 == 0 else {"normal_ecg"}) for n in range(records))
    return MeasuredDataset(name, values, conditions)


def test_a_planted_difference_stands_first_in_its_condition_alone() -> None:
    one, other = dataset("one"), dataset("other")
    at = FEATURES.index("qt_s")
    shifted = other.values.copy()
    shifted[::4, at] += 5
    result = compare(one, replace(other, values=shifted))
    rows = {row.condition: row for row in result.conditions}
    assert list(rows) == [ALL, "long_qt", "normal_ecg"]
    assert rows["long_qt"].records == (50, 50)
    first = rows["long_qt"].measurements[0]
    assert (first.measurement, first.distance > 0.9) == ("qt_s", True)
    assert first.second[1] - first.first[1] == pytest.approx(5, abs=0.6)
    assert rows["normal_ecg"].measurements[0].distance < 0.35
    assert rows[ALL].measurements[0].measurement == "qt_s"


def test_what_is_not_measured_in_enough_records_is_left_out() -> None:
    one, other = dataset("one"), dataset("other", 40)
    values = one.values.copy()
    values[19:, 3] = np.nan
    result = compare(replace(one, values=values), other)
    assert [row.condition for row in result.conditions] == [ALL, "normal_ecg"], "ten have a long QT"
    measured = [row.measurement for row in result.conditions[0].measurements]
    assert FEATURES[3] not in measured
    assert len(measured) == len(FEATURES) - 1


def test_simulated_records_of_two_seeds_measure_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributions, "MAX_RECORDS", 120)
    source = Source(kind="simulated", records=1000)
    one, other = measure(source, 0, 100), measure(source, 1, 100)
    assert len(one.values) == 120
    (everything, *_) = compare(one, other).conditions
    assert everything.mean_distance < 0.13
    assert compare(one, one).conditions[0].mean_distance == 0


def test_codes_are_read_as_conditions_and_the_page_is_made_once(tmp_path: Path) -> None:
    rows = [{"ecg_id": str(n), "scp_codes": "{'IMI': 100.0, 'SR': 0.0}"} for n in range(1, 4)]
    write_ptbxl(tmp_path / "ptbxl", rows)
    measured = measure(Source(kind="ptbxl", uri=str(tmp_path / "ptbxl")), 0, 100)
    assert all({"inferior_infarction", "myocardial_infarction"} <= one for one in measured.conditions)
    recipe = config.parse(
        {
            "name": "t",
            "root": str(tmp_path / "runs"),
            "sources": [
                {"kind": "simulated", "records": 30},
                {"kind": "ptbxl", "uri": str(tmp_path / "ptbxl")},
            ],
        }
    )
    folder, manifest = distributions_page.write(recipe)
    page = Path(folder, distributions_page.PAGE)
    assert manifest.result.mean_distance == {"simulated / ptbxl": {}}
    assert "Too few records to compare" in page.read_text()
    again = distributions_page.write(recipe)
    assert again[1] == manifest


def test_one_data_set_alone_is_refused(tmp_path: Path) -> None:
    recipe = config.parse({"name": "t", "root": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"nothing to compare 'simulated' with: give real=FOLDER"):
        distributions_page.write(recipe)
    assert list(tmp_path.iterdir()) == []


def _simulated(count: int) -> tuple[np.ndarray, list[frozenset[str]]]:
    source = SimulatedSource("simulated", count, 5, rate_hz=100)
    records = [source.read(entry) for entry in source.index()]
    values = np.stack([features(record.signal_mv, 100) for record in records])
    return values, [frozenset(record.entry.codes) for record in records]


def test_a_textbook_sign_tells_its_condition_in_simulated_records() -> None:
    """Each of the right sign and lead: an inverted rule would be below 0.5."""
    values, conditions = _simulated(700)
    scores = {}
    for condition in SIGNS:
        present = np.array([condition in one for one in conditions])
        if present.sum() >= 10:
            scores[condition] = auroc_of(condition, values, present)
    assert len(scores) >= 20
    assert {name: score for name, score in scores.items() if score is None or score < 0.62} == {}
    assert np.mean(list(scores.values())) > 0.83


def test_a_sign_is_undefined_where_there_is_nothing_to_rank() -> None:
    values = np.full((6, len(FEATURES)), np.nan, np.float32)
    present = np.arange(6) < 3
    assert auroc_of("long_qt", values, present) is None
    values[:, FEATURES.index("qtc_fridericia_s")] = [0.5, 0.5, np.nan, 0.4, 0.4, 0.4]
    assert auroc_of("long_qt", values, present) == pytest.approx((6 + 1.5) / 9)
    assert auroc_of("long_qt", values, np.ones(6, bool)) is None
    assert auroc_of("normal_ecg", values, present) is None
