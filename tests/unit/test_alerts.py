"""Dashboard and alerts ask for metrics that exist; Prometheus' own tool checks rules and their tests."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from supreme.runtime import observability

pytestmark = pytest.mark.unit

FOLDER = Path(__file__).resolve().parents[2] / "cluster" / "observability"


def _promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    return subprocess.run([program, *arguments], cwd=FOLDER, capture_output=True, text=True)


def test_rules_are_valid() -> None:
    done = _promtool("check", "rules", "alerts.yaml")
    assert done.returncode == 0, done.stderr


def test_every_fault_alerts_and_nothing_else_does() -> None:
    done = _promtool("test", "rules", "alerts_test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_metrics_that_exist_are_asked_for_and_each_is_shown() -> None:
    dashboard = (FOLDER / "grafana_dashboard.json").read_text()
    ours = {f"ray_{name}" for name in observability.SERIES}
    shown = set(re.findall(r"ray_supreme_\w+", dashboard))
    alerted = set(re.findall(r"ray_supreme_\w+", (FOLDER / "alerts.yaml").read_text()))
    assert shown | alerted == ours


def test_every_alert_says_what_to_do() -> None:
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    for rule in groups[0]["rules"]:
        assert rule["annotations"].keys() == {"summary", "remedy"}, rule["alert"]
        assert rule["labels"]["severity"] in ("warning", "critical")


def test_panels_do_not_overlap() -> None:
    panels = json.loads((FOLDER / "grafana_dashboard.json").read_text())["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(panels)
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_without_ray_nothing_is_recorded() -> None:
    observability.add("supreme_records_total", 3)
    observability.put("supreme_tracking_up", 1)
    assert observability._metrics == {}
