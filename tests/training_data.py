"""A small pre-training set with a planted truth: finished shards and labels, without their stages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from supreme import config, manifest
from supreme.reports.result import LABELS, LabelResult
from supreme.reports.vocabulary import load_base
from supreme.settings.data import Shards
from supreme.shards import codec, schema
from supreme.shards.result import SHARDS, ShardResult
from supreme.training.data.sources import shard_folders
from supreme.training.run.stage import PretrainStage
from supreme.training.run.summary import PretrainManifest, PretrainResult, WeightSelection

ENTITIES = ("sinus_rhythm", "atrial_fibrillation", "left_bundle_branch_block", "tall_t_wave")
SPLITS = {"train": 300, "validation": 60}
#: Of a run that is disturbed: so many that it is killed before its last ones.
REPORTS = 16
CHECKOUT = Path(__file__).resolve().parents[1]


def recipe(root: Path, **training: Any) -> config.Recipe:
    """A recipe that trains in seconds."""
    augment = {
        "gaussian_noise": {"sd_mv": 0.03},
        "time_shift": {"max_s": 0.1},
        "lead_mask": {"leads": 1, "p": 0.3},
    }
    fixed = {"epochs": 3, "batch_size": 16, "workers": 2, "learning_rate": 0.01, "augment": augment}
    values = fixed | training
    return config.parse(
        {
            "name": "tiny",
            "root": str(root),
            "shards": {"rate_hz": 50, "duration_s": 4, "row_group_size": 16},
            "model": {"width": 8, "depth": 1, "fusion_width": 32, "fusion_depth": 1, "fusion_heads": 2},
            "training": values,
        }
    )


def write(made: config.Recipe) -> None:
    """Shards of 360 records; entity i adds a sine of its own frequency to its own leads."""
    rng = np.random.default_rng(0)
    time = np.arange(made.shards.samples) / made.shards.rate_hz
    waves = np.stack([np.sin(2 * np.pi * (2 + 3 * i) * time) for i in range(len(ENTITIES))])
    [folder] = shard_folders(made)
    labels, files = [], {}
    for split, count in SPLITS.items():
        rows = []
        for number in range(count):
            present = rng.random(len(ENTITIES)) < 0.35
            signal = 60 * rng.standard_normal((12, made.shards.samples))
            for entity in np.flatnonzero(present):
                signal[entity::4] += 300 * waves[entity]
            record_id = f"planted/{split}{number:04d}"
            names = [name for name, here in zip(ENTITIES, present, strict=True) if here]
            report = ". ".join(name.replace("_", " ") for name in names)
            rows.append(_row(record_id, split, signal.astype(np.int16), made.shards.rate_hz, report))
            uncertain = [ENTITIES[number % 4]] if number % 7 == 0 else []
            labels.append({"record_id": record_id, "present": names, "uncertain": uncertain, "absent": []})
        name = f"{split}-00000.parquet"
        Path(folder).mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist(rows, schema=schema.SCHEMA)
        pq.write_table(table, f"{folder}/{name}", row_group_size=made.shards.row_group_size)
        files[name] = manifest.describe(f"{folder}/{name}", rows=count)
    sections = {"shards": made.shards.model_dump(mode="json")}
    request = manifest.Request(stage="shard", config=sections)
    shards = manifest.publish(folder, SHARDS, request, ShardResult(records=len(labels)), files)
    _write_labels(made, labels, {made.stage_of(folder): shards.digest()})


def _row(record_id: str, split: str, signal_uv: np.ndarray, rate_hz: int, report: str) -> dict[str, Any]:
    empty = {"sex": "", "source_uri": "", "age": None, "codes": [], "quality": []}
    return empty | {
        "report": report,
        "record_id": record_id,
        "dataset": "planted",
        "patient_id": record_id,
        "split": split,
        "signal": codec.encode(signal_uv, Shards().compression),
        "fingerprint": "00" * 16,
        "n_valid": signal_uv.shape[1],
        "rate_hz": rate_hz,
        "source_rate_hz": float(rate_hz),
    }


def _write_labels(made: config.Recipe, labels: list[dict[str, Any]], inputs: dict[str, str]) -> None:
    folder, held_out = made.folder("labels"), made.labels.held_out
    Path(folder).mkdir(parents=True, exist_ok=True)
    lists = pa.list_(pa.string())
    fields = [("record_id", pa.string()), ("present", lists), ("uncertain", lists), ("absent", lists)]
    pq.write_table(pa.Table.from_pylist(labels, schema=pa.schema(fields)), f"{folder}/labels.parquet")
    every = load_base().subset(ENTITIES)
    asked = every.subset(set(ENTITIES) - set(held_out))
    for name, vocabulary in (("vocabulary", asked), ("entities", every)):
        Path(f"{folder}/{name}.json").write_text(json.dumps(vocabulary.to_json()))
    request = manifest.Request(stage="label", config={}, inputs=inputs)
    result = LabelResult(records=len(labels), held_out=sorted(held_out))
    manifest.publish(folder, LABELS, request, result)


def command(job: str, made: config.Recipe, folder: Path) -> list[str]:
    """Of a job with its result in ``<folder>/<job>.json``."""
    file = folder / "recipe.toml"
    file.write_text(_toml(made.model_dump(mode="json", exclude_none=True)))
    script = [sys.executable, f"jobs/{job}.py"]
    return [*script, "--config", str(file), "--result-file", f"{folder}/{job}.json"]


def start_job(job: str, made: config.Recipe, folder: Path) -> subprocess.Popen[bytes]:
    """A job in its own process group and Ray session."""
    log = (folder / f"{job}.log").open("ab")
    environment = os.environ | {"RAY_ADDRESS": "", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command(job, made, folder),
        cwd=CHECKOUT,
        stdout=log,
        stderr=log,
        env=environment,
        start_new_session=True,
    )


def finish(job: str, made: config.Recipe, folder: Path, deadline_s: float = 500) -> dict[str, Any]:
    """The result of a job that succeeds."""
    process = start_job(job, made, folder)
    assert process.wait(deadline_s) == 0, (folder / f"{job}.log").read_text()[-3000:]
    result: dict[str, Any] = json.loads((folder / f"{job}.json").read_text())
    return result


@dataclass(frozen=True)
class Trained:
    """A run of `jobs/pretrain.py` that nothing interrupted."""

    recipe: config.Recipe
    result: dict[str, Any]

    def reports(self) -> list[dict[str, Any]]:
        return reports(self.recipe)


def long_recipe(root: Path) -> config.Recipe:
    """A recipe with `REPORTS` checkpoints, to be disturbed between them; its data are written."""
    root.mkdir(exist_ok=True)
    made = recipe(root, epochs=REPORTS / 2, checkpoint_every=0.5)
    write(made)
    return made


def undisturbed(folder: Path) -> Trained:
    """Two workers on this machine."""
    made = long_recipe(folder)
    return Trained(made, finish("pretrain", made, folder))


def reports(made: config.Recipe) -> list[dict[str, Any]]:
    """The lines of a run's ``metrics.jsonl`` so far."""
    file = Path(made.folder("pretrain")) / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def _toml(values: dict[str, Any]) -> str:
    # A JSON value is a TOML value, but for null and tables, which become dotted keys and inline tables.
    def inline(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key} = {inline(item)}" for key, item in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(inline(item) for item in value) + "]"
        return json.dumps(value)

    return "".join(f"{key} = {inline(value)}\n" for key, value in values.items())


def result(**changes: Any) -> PretrainResult:
    """The result of a pre-training stage that nothing was trained in."""
    nothing = {"steps": 0, "samples_seen": 0, "epochs": 0, "seconds": 0, "records_per_s": 0, "parameters": 0}
    selection = WeightSelection(metric="", value=None, rule="")
    texts = {"weights_sha256": "", "stopped_early": False, "selection": selection, "validation_digest": ""}
    return PretrainResult(**(nothing | texts | changes))


def begin(stage: PretrainStage, *, new: bool = False) -> PretrainManifest | None:
    """Open the folder of a stage and leave it again."""
    with stage.opened(new=new) as finished:
        return finished
