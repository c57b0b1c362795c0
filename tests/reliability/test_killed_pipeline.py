"""`jobs/pipeline.py` killed with everything it started, again and again, ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pipeline_runs
import pytest
from mlflow import MlflowClient

from supreme import manifest
from supreme.evaluation.stage import EVALUATION
from supreme.registry import history
from supreme.reporting.data_card import DATA_CARD
from supreme.reporting.page import REPORT
from supreme.reports.result import LABELS
from supreme.shards.result import SHARDS
from supreme.training.run.summary import PRETRAIN

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]


STAGES: dict[str, manifest.Stage[Any]] = {
    **{"shards": SHARDS, "labels": LABELS, "pretrain": PRETRAIN, "evaluation": EVALUATION},
    **{"report": REPORT, "data_card": DATA_CARD, "evaluation_shards": SHARDS},
}


@dataclass(frozen=True)
class Pipeline:
    """One root and the command that fills it."""

    root: Path
    real: Path
    marker: str

    @property
    def log(self) -> Path:
        return self.root.with_suffix(".log")

    @property
    def folder(self) -> Path:
        return self.root / "smoke"

    def start(self) -> subprocess.Popen[bytes]:
        wanted = pipeline_runs.arguments(self.root, self.real)
        arguments = [*wanted, "--result-file", str(self._result_file)]
        return pipeline_runs.start("pipeline", *arguments, log=self.log, SUPREME_TEST=self.marker)

    def finish(self) -> dict[str, Any]:
        process = self.start()
        assert process.wait(pipeline_runs.DEADLINE_S) == 0, self.said()[-4000:]
        found: dict[str, Any] = json.loads(self._result_file.read_text())
        return found

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def results(self) -> dict[str, Any]:
        [file] = self.folder.glob("evaluation/*/results.json")
        found: dict[str, Any] = json.loads(file.read_text())
        return found

    def scores(self) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in self.folder.glob("evaluation/*/scores/*.parquet")}

    def manifest(self, stage: str) -> manifest.Manifest[Any]:
        return manifest.require(str(self.folder / stage), STAGES[stage.partition("/")[0]])

    @property
    def _result_file(self) -> Path:
        return self.root.with_suffix(".json")


def kill_when(pipeline: Pipeline, reached: Callable[[Pipeline], bool], by: signal.Signals) -> None:
    """Start it, end its process group once it is as far as that; Ray must end by itself."""
    process = pipeline.start()
    deadline = time.monotonic() + pipeline_runs.DEADLINE_S
    while not reached(pipeline):
        assert process.poll() is None, f"it ended too early:\n{pipeline.said()[-4000:]}"
        assert time.monotonic() < deadline, pipeline.said()[-4000:]
        time.sleep(0.005)
    os.killpg(process.pid, by)
    assert process.wait(60) == (130 if by == signal.SIGINT else -by)
    assert by != signal.SIGINT or "interrupted: the same command goes on" in pipeline.said()
    assert not pipeline_runs.processes_with(f"SUPREME_TEST={pipeline.marker}")


#: How far it is, and what ends it: SIGINT is Ctrl-C.
MOMENTS: list[tuple[Callable[[Pipeline], bool], signal.Signals]] = [
    (lambda p: any(p.folder.glob("shards/simulated/parts/*.json")), signal.SIGKILL),
    (lambda p: _lines(p.folder / "pretrain" / "metrics.jsonl") >= 2, signal.SIGINT),
    (lambda p: any(p.folder.glob("evaluation/*/scores/*.parquet")), signal.SIGKILL),
]


def _lines(file: Path) -> int:
    return file.read_text().count("\n") if file.exists() else 0


@pytest.fixture(scope="module")
def whole(finished_pipeline: pipeline_runs.Finished) -> tuple[Pipeline, dict[str, Any]]:
    """A run that nothing interrupted."""
    return Pipeline(finished_pipeline.root, finished_pipeline.real, ""), finished_pipeline.result


@pytest.fixture(scope="module")
def killed(
    finished_pipeline: pipeline_runs.Finished, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Pipeline, dict[str, Any]]:
    """One that is killed at every moment, and then left to finish."""
    root = tmp_path_factory.mktemp("killed") / "runs"
    pipeline = Pipeline(root, finished_pipeline.real, uuid.uuid4().hex)
    for reached, by in MOMENTS:
        kill_when(pipeline, reached, by)
    return pipeline, pipeline.finish()


def test_it_ends_with_the_same_numbers(
    whole: tuple[Pipeline, dict[str, Any]], killed: tuple[Pipeline, dict[str, Any]]
) -> None:
    (one, ended), (other, survived) = whole, killed
    assert survived["weights_sha256"] == ended["weights_sha256"]
    assert survived["selection_value"] == ended["selection_value"]
    assert survived["macro_auroc"] == ended["macro_auroc"]
    assert set(ended["macro_auroc"]) == {"simulated", "csn", "pooled"}
    assert other.scores() == one.scores()
    # Counts, intervals, macro means and every class.
    assert other.results()["datasets"] == one.results()["datasets"]
    assert len(one.results()["datasets"]["simulated"]["protocols"]["zero_shot"]["classes"]) > 10


def test_every_stage_is_the_same(
    whole: tuple[Pipeline, dict[str, Any]], killed: tuple[Pipeline, dict[str, Any]]
) -> None:
    (one, _), (other, _) = whole, killed
    for stage in ("shards/simulated", "shards/csn", "labels"):
        assert other.manifest(stage).digest() == one.manifest(stage).digest(), stage
    trained = [pipeline.manifest("pretrain") for pipeline in (one, other)]
    assert trained[0].inputs == trained[1].inputs
    for name in ("weights.safetensors", "queries.safetensors", "bundle/model.safetensors"):
        assert trained[0].files[name] == trained[1].files[name], name
    for pipeline in (one, other):
        for file in pipeline.folder.rglob(manifest.MANIFEST):
            made = pipeline.manifest(str(file.parent.relative_to(pipeline.folder)))
            assert not [name for name in made.files if name.endswith(".partial")], made.stage


def test_the_tracking_store_has_one_run_and_one_version(
    whole: tuple[Pipeline, dict[str, Any]], killed: tuple[Pipeline, dict[str, Any]]
) -> None:
    for pipeline, ended in (whole, killed):
        client = MlflowClient(f"sqlite:///{pipeline.root}/mlflow.db")
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        [run] = client.search_runs(experiments, "tags.`supreme.stage` = 'pretrain'")
        assert (run.info.run_id, run.info.status) == (ended["run_id"], "FINISHED")
        points = client.get_metric_history(run.info.run_id, "validation_macro_auroc")
        assert len({point.step for point in points}) == len(points) == 4
        [version] = client.search_model_versions("name = 'supreme-ecg-smoke'")
        assert int(version.version) == ended["version"] == 1
        assert ended["promoted"]
        [decision] = history.read("supreme-ecg-smoke", f"sqlite:///{pipeline.root}/mlflow.db")
        assert (decision.action, decision.moved) == ("promote", True)


def test_run_again_it_skips_every_stage(killed: tuple[Pipeline, dict[str, Any]]) -> None:
    pipeline, survived = killed
    before = pipeline_runs.snapshot(pipeline.root)
    started = time.monotonic()
    again = pipeline.finish()
    assert time.monotonic() - started < 60
    assert pipeline_runs.snapshot(pipeline.root) == before
    assert {**again, "seconds": 0} == {**survived, "seconds": 0}
