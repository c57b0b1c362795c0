"""The label stage on Ray and with a language model over HTTP: the same bytes, and nothing asked twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import llm_server
import pytest
import ray
import report_shards
from benchmarks import labels as load

from supreme import config, storage
from supreme.reporting import audit_page
from supreme.reports import extraction, label_table, stage, statement_table
from supreme.reports.llm import pace
from supreme.reports.spread import in_process, on_ray
from supreme.runtime import session

pytestmark = pytest.mark.ray
# What measures is no part of the package, and Ray's workers cannot import it.
ray.cloudpickle.register_pickle_by_value(load)

JOBS = Path(__file__).resolve().parents[2] / "jobs"
RECORDS = 5000

REPORTS = [
    ("train", "Sinus rhythm\nLinksschenkelblock"),
    ("train", "Sinus rhythm, no STEMI\nUnreadable LVH"),
    ("validation", "Hairline sign\nSinus rhythm"),
    ("train", "Hairline sign, possibly"),
]
TRUTH = {
    "Sinus rhythm": [("Sinus Rhythm", "Sinus rhythm", "Normal")],
    "Linksschenkelblock": [("block of the left bundle branch", "Linksschenkelblock", "Abnormal")],
    "Sinus rhythm, no STEMI": [
        ("sinus rhythm", "Sinus rhythm", "Normal"),
        ("acute myocardial infarction", "STEMI", "Normal"),
    ],
    "Hairline sign": [("hairline sign", "Hairline sign", "Abnormal")],
    "Hairline sign, possibly": [("hairline sign", "Hairline sign", "Uncertain")],
}


@pytest.fixture(scope="module", autouse=True)
def ray_session() -> Iterator[None]:
    with session.ray_session():
        yield


@pytest.fixture(scope="module")
def server() -> Iterator[llm_server.Client]:
    with llm_server.running() as client:
        yield client


def test_tasks_give_the_bytes_of_one_process_and_each_statement_is_extracted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "RECORDS_PER_PART", load.RECORDS_PER_SHARD)
    monkeypatch.setattr(extraction, "CHUNK", 300)
    monkeypatch.setattr(load, "_POOL", 600)
    found = load.run(str(tmp_path), RECORDS, 3, on_ray)
    assert found["records"] == RECORDS
    assert found["extractor_calls"] == found["unique_statements"] > 1000
    assert found["coverage"] > 0.9
    alone = str(tmp_path / "alone")
    rules = load.CountingRules(str(tmp_path / "calls"))
    recipe = config.Recipe(root=str(tmp_path))
    monkeypatch.setattr(stage, "RECORDS_PER_PART", RECORDS)
    stage.build(recipe, [str(tmp_path / "shards")], alone, spread=in_process, extractor=rules)
    for name in (statement_table.STATEMENTS, label_table.VOCABULARY):
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "labels" / name).read_bytes()
    assert label_table.read_labels(alone).equals(label_table.read_labels(str(tmp_path / "labels")))


def test_an_error_in_a_task_ends_the_stage_and_the_same_command_goes_on(tmp_path: Path) -> None:
    shards = report_shards.write(tmp_path / "shards", [("train", "LVH")] * 40, files=2)
    broken, out = tmp_path / "shards" / "train-00001.parquet", str(tmp_path / "labels")
    whole = broken.read_bytes()
    broken.write_bytes(bytes(len(whole)))
    recipe = config.parse({"labels": {"min_count": 1}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "RECORDS_PER_PART", 1)
        with pytest.raises(Exception, match=r"train-00001\.parquet is damaged or cannot be read"):
            stage.build(recipe, [shards], out, spread=on_ray)
        broken.write_bytes(whole)
        made = stage.build(recipe, [shards], out, spread=on_ray)
    assert made.result.records == 40


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One root, so that the vocabulary is embedded once."""
    return tmp_path_factory.mktemp("llm")


def recipe_of(root: Path, name: str, server: llm_server.Client, **labels: object) -> config.Recipe:
    return config.parse(
        {
            "name": name,
            "root": str(root),
            "sources": [{"kind": "wfdb_folder", "name": "t", "uri": "none"}],
            "labels": {"min_count": 2, "extractor": "llm", **labels},
            "llm": {"url": server.url, "model": "test", "max_failed_fraction": 0.5, "retries": 1},
        }
    )


def plan(server: llm_server.Client) -> None:
    truth = {
        text: [dict(zip(("name", "span", "tag"), entity, strict=True)) for entity in entities]
        for text, entities in TRUTH.items()
    }
    server.plan(truth=truth, script={"Unreadable LVH": ["not_json"] * 9})


def calls(server: llm_server.Client) -> dict[str, int]:
    return {text: count for text, count in server.seen()["calls"].items() if count}


def test_a_language_model_names_what_becomes_labels(
    root: Path, server: llm_server.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "BACKOFF_S", 0.02)
    monkeypatch.setenv("OPENAI_API_KEY", llm_server.KEY)
    plan(server)
    recipe = recipe_of(root, "t", server)
    shards = report_shards.write(Path(recipe.folder("shards/t")), REPORTS)
    folder = recipe.folder("labels")
    made = stage.build(recipe, [shards], folder, spread=on_ray)
    rows = {row["record_id"]: row for row in label_table.read_labels(folder).to_pylist()}
    assert {"sinus_rhythm", "left_bundle_branch_block", "wide_qrs"} <= set(rows["t/0"]["present"])
    assert rows["t/1"]["absent"] == ["acute_myocardial_infarction"]
    assert "left_ventricular_hypertrophy" in rows["t/1"]["present"], "the rules read what the model could not"
    assert rows["t/2"]["present"] == ["hairline_sign", "sinus_rhythm"]
    assert rows["t/3"]["uncertain"] == ["hairline_sign"]
    assert made.result.statements_refused == {"not_json": 1}
    assert made.result.names_linked == {"neighbour": 1, "new": 1, "synonym": 3}
    statements = statement_table.read(folder)
    assert {row.extractor for row in statements.values()} == {"llm", "rules"}
    assert set(calls(server)) == set(TRUTH) | {"Unreadable LVH"}

    audit_page.write(recipe, [shards])
    audit = storage.read_json(storage.join(folder, audit_page.FIGURES))
    by_entity = {row["entity"]: row for row in audit["rules"]["entities"]}
    assert by_entity["hairline_sign"]["second_only"] == 2
    assert by_entity["sinus_rhythm"]["kappa"] == 1
    assert "Language model and rules" in (Path(folder) / audit_page.PAGE).read_text()

    plan(server)
    again = stage.build(recipe, [shards], folder, new=True, spread=on_ray)
    assert calls(server) == {}, "what was answered is not asked again"
    assert again.digest() == made.digest()
    more = report_shards.write(Path(recipe.folder("shards/t")), [*REPORTS, ("train", "Never seen")])
    planned = subprocess.run(
        [sys.executable, JOBS / "label.py", "--config", _recipe_file(recipe), "--dry-run"],
        capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert json.loads(planned.stdout)["llm"]["calls"] == 1
    grown = stage.build(recipe, [more], folder, spread=on_ray)
    assert calls(server) == {"Never seen": 1}
    assert grown.result.records == made.result.records + 1


def _recipe_file(recipe: config.Recipe) -> Path:
    file = Path(recipe.root) / "r.toml"
    labels, llm = recipe.labels, recipe.llm
    file.write_text(
        f'name = "t"\nroot = "{recipe.root}"\n[[sources]]\nkind = "wfdb_folder"\nname = "t"\nuri = "none"\n'
        f'[labels]\nmin_count = {labels.min_count}\nextractor = "llm"\n'
        f'[llm]\nurl = "{llm.url}"\nmodel = "test"\nmax_failed_fraction = 0.5\nretries = 1\n'
    )
    return file


def test_corrections_may_name_what_only_the_model_found(
    root: Path, tmp_path: Path, server: llm_server.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", llm_server.KEY)
    plan(server)
    file = tmp_path / "c.csv"
    file.write_text("statement,entity,assertion\nSinus rhythm,hairline_sign,present\n")
    recipe = recipe_of(root, "u", server, corrections=str(file))
    shards = report_shards.write(Path(recipe.folder("shards/t")), REPORTS)
    stage.build(recipe, [shards], recipe.folder("labels"))
    rows = {r["record_id"]: r for r in label_table.read_labels(recipe.folder("labels")).to_pylist()}
    assert "hairline_sign" in rows["t/0"]["present"]
    file.write_text("statement,entity,assertion\nSinus rhythm,hairline_sing,present\n")
    with pytest.raises(
        config.ConfigError, match="line 2: no entity 'hairline_sing'; nearest: 'hairline_sign'"
    ):
        stage.build(recipe, [shards], str(tmp_path / "other"))
