"""``metrics.jsonl``: what is written comes back, and damage is reported with file and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supreme.config import ConfigError
from supreme.training.run import history
from supreme.training.run.history import Point, Report

pytestmark = pytest.mark.unit

NUMBERS = st.floats(allow_nan=False)
METRICS = st.dictionaries(st.sampled_from(["loss", "epoch", "step_ms", "validation_loss"]), NUMBERS)
MOMENT = (st.integers(0, 10**12), st.floats(0, 2e9))
POINTS = st.builds(Point, *MOMENT, METRICS)
REPORTS = st.builds(Report, *MOMENT, METRICS, st.lists(POINTS, max_size=3).map(tuple))


@given(st.lists(REPORTS, min_size=1, max_size=4))
def test_reports_come_back_as_they_were_written(reports: list[Report]) -> None:
    files: dict[str, bytes] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history.storage, "write_bytes", files.__setitem__)
        patch.setattr(history.storage, "read_bytes", files.__getitem__)
        patch.setattr(history.storage, "exists", files.__contains__)
        history.write("run", reports)
        assert history.read("run") == reports


def test_points_are_the_curve_and_the_reports_in_order(tmp_path: Path) -> None:
    curve = (Point(32, 1.5, {"step_loss": 0.7}), Point(64, 2.5, {"step_loss": 0.6}))
    report = Report(64, 3.5, {"loss": 0.65}, curve)
    history.write(str(tmp_path), [report])
    assert list(history.points(history.read(str(tmp_path)))) == [*curve, Point(64, 3.5, {"loss": 0.65})]
    assert (tmp_path / "metrics.jsonl").read_text().startswith('{"curve": [{"samples_seen": 32, "step_loss"')


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\0" * 200, "line 1, is damaged .no valid JSON"),
        (b'{"samples_seen": 64, "unix_time_s": 1.5, "cur', "line 1, is damaged .no valid JSON"),
        (
            b'{"samples_seen": 64, "unix_time_s": 1.5}\n{"loss": 0.5}\n',
            "line 2, .*samples_seen: Field required",
        ),
        (b'{"samples_seen": 64, "unix_time_s": 1.5, "loss": "low"}\n', "metrics.loss"),
        (b"[64, 1.5]\n", "no JSON object"),
        (b'{"samples_seen": 64, "unix_time_s": 1.5, "curve": 3}\n', "damaged"),
        (b"\xff\xfe\n", "no valid JSON"),
    ],
)
def test_damage_names_file_and_remedy(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"metrics\.jsonl.*{reason}.*delete the file.*--new"):
        history.read(str(tmp_path))


def test_before_the_first_report_there_are_none(tmp_path: Path) -> None:
    assert history.read(str(tmp_path)) == []
