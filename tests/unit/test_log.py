"""Lines for people and for machines, without secrets."""

from __future__ import annotations

import json
import logging

import pytest

from supreme import log

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://user:hunter22@host/db",
        "AWS_SECRET_ACCESS_KEY=hunter22",
        "password: hunter22",
        'token="hunter22"',
        "MLFLOW_TRACKING_PASSWORD=hunter22 ok",
    ],
)
def test_secrets_are_hidden(text):
    assert "hunter22" not in log.redact(text)


def test_values_of_secret_variables_are_hidden_wherever_they_stand(monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "correct-horse")
    assert log.redact("sent correct-horse over") == "sent *** over"


def test_ordinary_lines_are_left_alone():
    line = "ptbxl: 485 records, 0 refused, s3://bucket/key.parquet"
    assert log.redact(line) == line


def test_both_outputs_are_redacted_and_the_file_is_json(tmp_path, capsys):
    path = tmp_path / "logs" / "job.jsonl"
    log.configure(json_file=str(path))
    log.get("x").info("password=hunter22 done", extra={"fields": {"done": 3}})
    assert "x: password=*** done" in capsys.readouterr().err
    line = json.loads(path.read_text())
    assert (line["done"], line["logger"], "hunter22" in line["message"]) == (3, "supreme.x", False)


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(log.time, "monotonic", lambda: now[0])
    return now


def test_progress_tells_rate_and_eta_of_this_run_only(clock, caplog):
    logger = logging.getLogger("plain")
    progress = log.Progress(logger, "records", 200, every_s=10, done=100)
    with caplog.at_level("INFO", "plain"):
        clock[0] += 5
        progress.update(110)
        assert not caplog.messages, "not before its time"
        clock[0] += 5
        progress.update(120, rejected=1)
    assert caplog.messages == ["records 120/200 (60 %) 2/s ETA 0:40 rejected 1"]


def test_progress_without_any_progress_has_no_eta(clock, caplog):
    progress = log.Progress(logging.getLogger("plain"), "records", 200, done=100)
    with caplog.at_level("INFO", "plain"):
        clock[0] += 20
        progress.update(100)
    assert "ETA ?" in caplog.messages[0]


def test_a_label_stands_on_every_line(capsys):
    log.configure(label="03-vit1d")
    log.get("train").info("epoch 1")
    assert capsys.readouterr().err.endswith("train [03-vit1d]: epoch 1\n")
    log.configure()
