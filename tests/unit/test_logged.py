from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name, _validate_param_name, _validate_tag_name

from supreme import tracking
from supreme.settings.tracking import Tracking
from supreme.tracking import logged

pytestmark = pytest.mark.unit


@given(st.text())
def test_every_name_is_one_that_mlflow_takes(name: str) -> None:
    safe = logged.safe_name(name)
    for validate in (_validate_metric_name, _validate_param_name, _validate_tag_name):
        validate(safe)
    assert logged.safe_name(safe) == safe


def test_nothing_that_is_logged_holds_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters, tags, metrics and artifacts of a run, read back from where they are stored."""
    monkeypatch.setenv("OWN_API_KEY", "correct-horse-battery")
    secrets = ("swordfish", "hunter2-hunter2", "correct-horse-battery", "abcdef0123456789")
    recipe = {
        "root": "s3://b/p?secret_key=swordfish",
        "llm": {"extra": {"headers": {"Authorization": "Bearer hunter2-hunter2"}}, "note": secrets[2]},
        "sources": [{"uri": "https://me:swordfish@host/x", "api_key": "abcdef0123456789"}],
        "model": {"width": 8},
    }
    store = tracking.open_store(Tracking(), str(tmp_path / "root"))
    run = tracking.start_or_resume(store, "tests", str(tmp_path / "stage"), "n", recipe, {"from": secrets[2]})
    run.log_text(f"<p>{secrets[2]}</p>", "page.html")
    (tmp_path / "lines.jsonl").write_text(json.dumps(recipe) + "\n" + json.dumps({"loss": 0.5}) + "\n")
    (tmp_path / "plain.json").write_text('{"loss":0.5,  "max_tokens": 1024}')
    (tmp_path / "weights.bin").write_bytes(bytes(range(256)))
    for name in ("lines.jsonl", "plain.json", "weights.bin"):
        run.log_file(str(tmp_path / name))
    run.log_metrics({"evaluation/CSN (Ningbo), [a]/macro_auroc": 0.8}, 1)
    assert run.last_step("evaluation/CSN (Ningbo), [a]/macro_auroc") == 1
    run.finish()
    artifacts = {path.name: path for path in (tmp_path / "root" / "mlartifacts").rglob("*") if path.is_file()}
    assert {"recipe.json", "page.html", "lines.jsonl", "plain.json", "weights.bin"} <= artifacts.keys()
    data = run.client.get_run(run.run_id).data
    everything = str(data.params) + str(data.tags)
    everything += "".join(path.read_bytes().decode(errors="replace") for path in artifacts.values())
    assert [secret for secret in secrets if secret in everything] == []
    assert json.loads(artifacts["recipe.json"].read_text())["model"] == {"width": 8}
    assert json.loads(artifacts["lines.jsonl"].read_text().splitlines()[1]) == {"loss": 0.5}
    assert artifacts["plain.json"].read_text() == '{"loss":0.5,  "max_tokens": 1024}'
    assert artifacts["weights.bin"].read_bytes() == bytes(range(256))
