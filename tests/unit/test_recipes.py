"""Every recipe is a plan that can be made, says how it is run, and lists only settings that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pipeline
import pytest
from wfdb_writer import write_csn, write_ptbxl

from supreme import config
from supreme.records.simulated import write_mimic_folder
from supreme.runtime.cli import Options

pytestmark = pytest.mark.unit

RECIPES = sorted(config.RECIPES.glob("*.toml"))
#: Of the mean of six sets, the protocols that have it.
PROTOCOLS = ("merl", "merl-corrected", "strict")
ABLATIONS = re.findall(
    r"^# {3}name=(mimic-\S+) +((?:[\w.]+=\S+ ?)+)", (config.RECIPES / "supreme_mimic.toml").read_text(), re.M
)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_plan_can_be_made_of_every_recipe(path: Path, tmp_path: Path) -> None:
    recipe = config.load(path.stem)
    overrides = [f"root={tmp_path / 'runs'}", f"real={tmp_path / 'real'}"]
    write_csn(tmp_path / "real" / "csn", 2)
    for number, source in enumerate(recipe.sources):
        folder = tmp_path / source.kind
        if source.kind == "ptbxl":
            write_ptbxl(folder, [{}] * 2)
        elif source.kind == "mimic_iv_ecg":
            write_mimic_folder(str(folder), 2, seed=0)
        if source.kind != "simulated":
            overrides.append(f"sources.{number}.uri={folder}")
    plan = pipeline.run(config.load(path.stem, overrides), Options(dry_run=True))["plan"]
    assert isinstance(plan, dict)
    assert plan["shard"]["records"] >= 4
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_header_of_a_recipe_says_how_it_is_run(path: Path) -> None:
    text = path.read_text()
    header = text[: text.index("\nname = ")]
    assert all(line.startswith("#") for line in header.splitlines())
    assert re.search(rf"python jobs/\w+\.py +--config {path.stem}\b", header)
    assert config.load(path.stem).name == path.stem


def test_benchmark_and_experiment_evaluate_under_all_protocols() -> None:
    for name in ("benchmark", "supreme_mimic"):
        assert config.load(name).evaluation.protocols == PROTOCOLS


def test_the_experiment_on_mimic_is_the_papers() -> None:
    recipe = config.load("supreme_mimic")
    assert recipe.sources[0].report_filter == "merl"
    assert (recipe.shards.samples, recipe.shards.rate_hz, recipe.model.patch) == (5000, 500, 50)
    assert (recipe.text.pooling, recipe.text.revision) == ("cls", None)
    training = recipe.training
    assert (training.learning_rate, training.weight_decay) == (1e-3, 1e-8)
    assert (training.batch_size, training.workers, training.epochs) == (256, 4, 16)


@pytest.mark.parametrize(("name", "overrides"), ABLATIONS, ids=[name for name, _ in ABLATIONS])
def test_an_ablation_changes_the_settings_that_it_lists(name: str, overrides: str) -> None:
    changed = config.load("supreme_mimic", [f"name={name}", *overrides.split()])
    keys = {pair.partition("=")[0].partition(".0.")[0] for pair in overrides.split()}
    lines = config.difference(config.load("supreme_mimic").model_dump(), changed.model_dump())
    assert {line.partition(":")[0] for line in lines} == keys | {"name"}


def test_baselines_and_ablations_are_listed() -> None:
    listed = " ".join(overrides for _, overrides in ABLATIONS)
    for key in (
        "training.objective=linear",
        "training.objective=merl",
        "training.objective=ked",
        "model.query_self_attention",
        "text.encoder",
        "training.loss",
        "model.encoder",
        "sources.0.records",
        "labels.extractor=rules",
        "model.patch",
    ):
        assert key in listed
