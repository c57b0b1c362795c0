"""Planted secrets are in no file that a job writes, and in nothing that it prints."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from supreme import config, log, manifest, redaction, tracking
from supreme.config import Recipe
from supreme.reports.llm.cache import Cache
from supreme.reports.llm.replies import Reply
from supreme.reports.result import LABELS, LabelResult
from supreme.runtime import cli
from supreme.runtime.cli import Options

pytestmark = pytest.mark.unit

IN_RECIPE, IN_ENVIRONMENT, IN_VARIABLE_OF_RECIPE = "Swordfish-1847", 'pa"ss\\wörd/8?', "tulip-field-77"
SECRETS = (IN_RECIPE, IN_ENVIRONMENT, IN_VARIABLE_OF_RECIPE)


def write_everything(recipe: Recipe, folder: Path) -> dict[str, object]:
    """What stages write of a recipe: manifests, the cache of replies, an MLflow run with its artifacts."""
    plain = recipe.model_dump(mode="json")
    stage = str(folder / "labels")
    request = manifest.Request(stage="labels", config=plain)
    assert manifest.begin(stage, LABELS, request) is None
    manifest.publish(stage, LABELS, request, LabelResult(records=1))
    assert manifest.begin(stage, LABELS, request), "the same request is finished"

    cache = Cache(str(folder / "llm"), recipe.llm)
    cache.add(Reply(statement_id="1", content="{}"))
    cache.flush()

    uri = tracking.open_store(recipe.tracking, str(folder))
    run = tracking.start_or_resume(uri, "secrets", stage, "run", plain)
    with tracking.closing(run):
        log.get("x").info("calling with %s and %s", IN_ENVIRONMENT, json.dumps({"a": IN_ENVIRONMENT}))
    try:
        raise RuntimeError(f"401 for Authorization: Bearer {IN_RECIPE}; {IN_VARIABLE_OF_RECIPE}")
    except RuntimeError:
        log.get("x").exception("a failure with its traceback")
    return {"recipe": plain, "url": f"https://me:{IN_RECIPE}@host/x", "note": IN_VARIABLE_OF_RECIPE}


def test_planted_secrets_are_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", IN_ENVIRONMENT)
    monkeypatch.setenv("VENDOR", IN_VARIABLE_OF_RECIPE)
    monkeypatch.setenv(redaction.VARIABLES, "")
    file = tmp_path / "my.toml"
    file.write_text(
        f"""[llm]
key_env = "VENDOR"
model = "m"
[llm.extra]
api_key = "{IN_RECIPE}"
note = "{IN_VARIABLE_OF_RECIPE}"
[llm.extra.headers]
Authorization = "Bearer {IN_RECIPE}"
[llm.engine_options]
hf_token = "{IN_RECIPE}"
endpoint = "https://me:{IN_RECIPE}@host/v1?sig={IN_RECIPE}"
"""
    )
    out = tmp_path / "out"

    def run(recipe: Recipe, options: Options) -> dict[str, object]:
        log.configure(json_file=str(out / "log.jsonl"))
        return write_everything(recipe, out)

    with pytest.raises(SystemExit) as ended:
        cli.main(run, "a job", ["--config", str(file), "--result-file", str(out / "result.json")])
    shown = capsys.readouterr()
    assert ended.value.code == 0, shown.err
    written = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    names = {path.name for path in written}
    assert {"stage.json", "manifest.json", "about.json", "recipe.json", "mlflow.db", "log.jsonl"} <= names
    texts = {"stdout": shown.out.encode(), "stderr": shown.err.encode()} | written
    for secret in SECRETS:
        forms = {secret, json.dumps(secret)[1:-1], quote(secret, safe=""), repr(secret)[1:-1]}
        forms.add(base64.b64encode(secret.encode()).decode())
        leaks = [str(name) for name, content in texts.items() for form in forms if form.encode() in content]
        assert leaks == [], secret
    assert config.load(str(file)).llm.extra["api_key"] == IN_RECIPE, "the endpoint itself gets it"
