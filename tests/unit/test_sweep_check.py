"""Before anything starts, the model of each trial is built and sees two records of zeros."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import training_data

from supreme import config
from supreme.settings.training import Training
from supreme.sweep import dry_run
from supreme.sweep.dry_run import SweepPlan
from supreme.training.data.corpus import Corpus
from supreme.training.run import ray_trainer
from supreme.training.run.stage import PretrainStage

pytestmark = pytest.mark.unit


def planned(root: Path, **sweep: object) -> SweepPlan:
    recipe = training_data.recipe(root, workers=1)
    recipe = config.parse(recipe.model_dump(mode="json") | {"sweep": sweep})
    training_data.write(recipe)
    before = sorted(path for path in root.rglob("*"))
    plan = dry_run.plan(recipe)
    assert isinstance(plan, SweepPlan)
    assert sorted(path for path in root.rglob("*")) == before, "a dry run writes nothing"
    return plan


def test_a_dry_run_names_trials_samples_and_models_that_cannot_be_built(tmp_path: Path) -> None:
    space = {
        "model.fusion_heads": [2, 3],
        "model.encoder": ["resnet1d", "vit1d"],
        "model.heads": {"values": [4], "when": {"model.encoder": "vit1d"}},
        "training.batch_size": [16, 32],
    }
    plan = planned(tmp_path, space=space, epochs=2)
    assert len(plan.trials) == 8
    for trial in plan.trials:
        broken = trial.changes.get("model.fusion_heads") == 3
        assert ("3 heads" in trial.problem) == broken, trial
        batch = int(str(trial.changes.get("training.batch_size", 16)))
        assert trial.samples == trial.steps * batch == 600 // batch * batch
    assert plan.samples == sum(trial.samples for trial in plan.trials)
    assert plan.hours is None


def test_a_share_of_the_records_is_in_whole_row_groups_and_within_any_larger_share(tmp_path: Path) -> None:
    recipe = training_data.recipe(tmp_path, workers=1)
    training_data.write(recipe)
    corpus = PretrainStage.open(recipe).corpus
    assert corpus.part(1.0, 0) is corpus
    parts = [set(corpus.part(fraction, 3).groups) for fraction in (0.01, 0.1, 0.5, 0.9, 1.0)]
    assert all(small < large for small, large in pairwise(parts))
    assert [len(part) for part in parts] == [1, 2, 10, 18, 19]
    assert parts[2] != set(corpus.part(0.5, 4).groups)
    weighted = Corpus(corpus.shards, corpus.groups * 2).part(0.5, 3)
    assert Counter(weighted.groups) == dict.fromkeys(parts[2], 2)
    half = recipe.model_copy(update={"training": recipe.training.model_copy(update={"fraction": 0.5})})
    plan = PretrainStage.open(half).check()
    assert plan.records == sum(group.rows for _, group in corpus.part(0.5, half.seed).groups)
    assert plan.samples == int(plan.records * half.training.epochs) // 16 * 16


def test_every_objective_and_loss_is_tried_as_it_would_be_trained(tmp_path: Path) -> None:
    space = {"training.objective": ["supreme", "linear", "merl", "ked"], "training.loss": ["bce", "focal"]}
    plan = planned(tmp_path, space=space, search="tpe", trials=3)
    assert [trial.name for trial in plan.trials] == ["00-recipe"]
    assert plan.to_propose == 2
    assert [trial.problem for trial in planned(tmp_path / "grid", space=space).trials] == [""] * 8


def test_trials_share_a_gpu_by_fractions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_trainer.ray, "cluster_resources", lambda: {"GPU": 1.0, "CPU": 4.0})
    half = Training(gpu=True, workers=1, gpu_share=0.5)
    assert ray_trainer.scaling(half)._resources_per_worker_not_none["GPU"] == 0.5
    assert ray_trainer.scaling(Training(gpu=True, workers=1))._resources_per_worker_not_none["GPU"] == 1
    assert "GPU" not in ray_trainer.scaling(Training(workers=1))._resources_per_worker_not_none
    with pytest.raises(ValueError, match=r"gpu_share=0\.5 is for a run of one worker"):
        Training(gpu=True, workers=2, gpu_share=0.5)
