"""`training.start_from`: weights, queries and provenance go on from a bundle; what cannot is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import lone_worker
import numpy as np
import pytest
import tiny_bundle
import torch
import training_data
from mlflow import MlflowClient
from test_objectives import NOISE, Words

from supreme import config, manifest, pretraining, starting, text, tracking
from supreme.config import ConfigError
from supreme.inference import bundle
from supreme.inference.bundle import files, loader
from supreme.models.supreme import SupremeModel
from supreme.registry import versions
from supreme.reports.vocabulary import load_base, query_texts
from supreme.settings.tracking import Tracking
from supreme.sweep import stage as sweep_stage
from supreme.training.run import driver, result, worker_setup
from supreme.training.run import stage as stage_module
from supreme.training.run.checkpoint import weights_digest
from supreme.training.run.preemption import PreemptionWatcher
from supreme.training.run.result import latest_state
from supreme.training.run.stage import PretrainStage

pytestmark = pytest.mark.unit

#: One entity that the labels do not have, and not all that they have.
ENTITIES = ("sinus_rhythm", "tall_t_wave", "long_qt")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words instead of a text encoder, and a worker in this process."""
    for module in (driver, stage_module, starting, result):
        monkeypatch.setattr(module, "open_encoder", lambda section: Words())
    monkeypatch.setattr(PreemptionWatcher, "poll", lambda watcher: False)
    lone_worker.prepare(monkeypatch)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("start")
    training_data.write(training_data.recipe(root))
    return root


def starting_recipe(root: Path, start: object, **training: Any) -> config.Recipe:
    fixed = {"epochs": 1, "workers": 1, "precision": "fp32", "augment": NOISE, "checkpoint_every": 0.5}
    return training_data.recipe(root, start_from=str(start), **(fixed | training))


def write_bundle(folder: Path, root: Path, *, seed: int = 0, known: bool = True) -> SupremeModel:
    """A bundle as of an earlier run with other labels."""
    recipe = training_data.recipe(root)
    vocabulary = load_base().subset(ENTITIES)
    texts = {entity.id: query_texts(entity) for entity in vocabulary}
    embeddings = Words().encode([phrase for group in texts.values() for phrase in group])
    torch.manual_seed(seed)
    model = SupremeModel(recipe.model, Words.dim, recipe.shards.samples)
    bundle.write_bundle(
        str(folder),
        model,
        recipe,
        vocabulary,
        texts,
        embeddings,
        text.Whitening.fit(embeddings, 0.3),
        Words(),
        {},
        tiny_bundle.provenance() if known else None,
    )
    return model


def opened(recipe: config.Recipe, folder: Path) -> tuple[PretrainStage, starting.StartingPoint]:
    """A stage in a folder of the test, with its start beside it."""
    stage = replace(PretrainStage.open(recipe), folder=str(folder))
    point = starting.open_start(stage)
    assert point is not None
    stage = starting.attach(stage, point)
    with stage.opened():
        point.copy()
        driver.embed_queries(stage)
    return stage, point


def test_the_first_step_has_the_weights_and_the_query_space_of_the_bundle(root: Path, tmp_path: Path) -> None:
    model = write_bundle(tmp_path / "earlier", root)
    stage, _ = opened(starting_recipe(root, tmp_path / "earlier"), tmp_path / "run")
    run, state = worker_setup.open_run(stage)
    assert state.steps == 0
    for task in (run.learner.task, run.learner.ema):
        assert weights_digest(task.model) == weights_digest(model)
    earlier = loader.load(files.read(str(tmp_path / "earlier"))).whitening
    ours = worker_setup.Queries.read(f"{stage.folder}/queries.safetensors").whitening
    assert np.array_equal(ours.matrix, earlier.matrix)
    assert np.array_equal(ours.mean, earlier.mean)


class Killed(Exception):
    """Ends the loop as a killed process would."""


def test_a_killed_run_goes_on_without_the_original(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bundle(tmp_path / "earlier", root)
    recipe = starting_recipe(root, tmp_path / "earlier")

    def final(folder: Path) -> str:
        stage, _ = opened(recipe, folder)
        run, state = worker_setup.open_run(stage)
        run.train(state)
        return weights_digest(run.learner.ema)

    whole = final(tmp_path / "whole")
    polls = iter(range(1000))

    def poll(watcher: PreemptionWatcher) -> bool:
        step = next(polls)
        if step == 13:
            raise Killed
        return step == 11

    monkeypatch.setattr(PreemptionWatcher, "poll", poll)
    stage, _ = opened(recipe, tmp_path / "killed")
    run, state = worker_setup.open_run(stage)
    with pytest.raises(Killed):
        run.train(state)
    shutil.rmtree(tmp_path / "earlier")
    monkeypatch.setattr(PreemptionWatcher, "poll", lambda watcher: False)
    run, state = worker_setup.open_run(stage)
    assert state.steps == 12
    run.train(state)
    assert weights_digest(run.learner.ema) == whole


def test_the_digest_of_the_start_belongs_to_the_identity_of_a_run(root: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "earlier", root)
    recipe = starting_recipe(root, tmp_path / "earlier")
    stage, point = opened(recipe, tmp_path / "run")
    assert stage.request.inputs["start"] == point.start.digest == files.verify(str(tmp_path / "earlier"))
    with stage.opened() as finished:
        assert finished is None, "the same start: the run goes on"
    shutil.rmtree(tmp_path / "earlier")
    write_bundle(tmp_path / "earlier", root, seed=1)
    with pytest.raises(ConfigError, match=r"(?s)inputs\.start.*--new"):
        opened(recipe, tmp_path / "run")
    damaged = tmp_path / "run" / "start" / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\7")
    with pytest.raises(ConfigError, match=r"model\.safetensors is not what training began with"):
        worker_setup.open_run(stage)


def test_what_the_start_has_seen_the_new_model_has_seen(root: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "earlier", root)
    stage, point = opened(starting_recipe(root, tmp_path / "earlier"), tmp_path / "run")
    run, state = worker_setup.open_run(stage)
    run.train(state)
    last = latest_state(stage)
    assert last is not None
    result.release(stage, last)
    trained = result.load_trained(stage)
    assert trained.result.start == f"{tmp_path / 'earlier'} ({point.start.digest[:12]})"
    pretraining.write_bundle_of(stage, trained, stage.folder, point)
    bundle = loader.load(files.read(f"{stage.folder}/bundle"))
    earlier = point.load()
    assert bundle.trained_on is not None
    assert earlier.trained_on is not None
    assert [one.dataset for one in bundle.trained_on.datasets] == ["simulated", "planted"]
    assert np.array_equal(bundle.trained_on.keys[1], earlier.trained_on.keys[0])
    assert bundle.trained_on.joined(earlier.trained_on).datasets == bundle.trained_on.datasets, "once"
    assert bundle.vocabulary.ids == (*stage.inputs.vocabulary.ids, "long_qt")
    for one in (bundle, earlier):
        texts = [phrase for group in one.query_texts for phrase in group]
        assert np.allclose(one.query_embeddings, Words().encode(texts), atol=1e-6), "rows belong to texts"


def _other_leads(folder: Path) -> None:
    path = folder / "config.json"
    values = json.loads(path.read_text())
    leads = values["input"]["leads"]
    values["input"]["leads"] = [leads[1], leads[0], *leads[2:]]
    _rewrite(path, values)


def _other_text(folder: Path) -> None:
    path = folder / "config.json"
    values = json.loads(path.read_text())
    values["text"] |= {"encoder": "medcpt", "digest": "other"}
    _rewrite(path, values)


def _rewrite(path: Path, values: object) -> None:
    """Another file in a bundle whose checksums agree with it."""
    before = path.read_bytes()
    path.write_text(json.dumps(values))
    described = path.parent / "MLmodel"
    one, other = (bundle.files.storage.sha256(content) for content in (before, path.read_bytes()))
    described.write_text(described.read_text().replace(one, other))


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        (r"model\.width is 8 there and 16 here", {"model": {"width": 16}}),
        (r"model\.encoder is resnet1d there and vit1d here", {"model": {"encoder": "vit1d"}}),
        (r"model\.fusion_heads is 2 there and 4 here", {"model": {"fusion_heads": 4}}),
        (r"samples of an ECG is 200 there and 100 here", {"shards": {"duration_s": 2}}),
        (r"rate_hz is 50 there and 100 here", {"shards": {"rate_hz": 100, "duration_s": 2}}),
        (r"kind of head is fusion there and entities here", {"training": {"objective": "linear"}}),
        (r"model\.query_self_attention is False there", {"training": {"objective": "ked"}}),
        (r"simclr trains an encoder alone", {"training": {"objective": "simclr"}}),
    ],
)
def test_another_architecture_or_input_is_refused(
    root: Path, tmp_path: Path, message: str, changes: dict[str, dict[str, Any]]
) -> None:
    write_bundle(tmp_path / "earlier", root)
    recipe = starting_recipe(root, tmp_path / "earlier").model_dump()
    other = config.parse(recipe | {name: recipe[name] | part for name, part in changes.items()})
    stage = replace(PretrainStage.open(starting_recipe(root, "")), recipe=other, folder=str(tmp_path / "run"))
    with pytest.raises(ConfigError, match=rf"training\.start_from.*{message}"):
        starting.open_start(stage)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("message", "damage"),
    [
        ("order of the leads is II, I, III", _other_leads),
        ("text.encoder is medcpt there and minilm here", _other_text),
        ("was changed after it was written", lambda folder: (folder / "README.md").write_text("x")),
        ("model.safetensors is missing", lambda folder: (folder / "model.safetensors").unlink()),
        ("is no folder", shutil.rmtree),
    ],
)
def test_another_convention_or_a_damaged_bundle_is_refused(
    root: Path, tmp_path: Path, message: str, damage: Any
) -> None:
    write_bundle(tmp_path / "earlier", root)
    damage(tmp_path / "earlier")
    with pytest.raises(ConfigError, match=message):
        opened(starting_recipe(root, tmp_path / "earlier"), tmp_path / "run")


def test_a_start_of_unknown_origin_or_one_that_knows_what_is_held_out_is_refused(
    root: Path, tmp_path: Path
) -> None:
    write_bundle(tmp_path / "unknown", root, known=False)
    with pytest.raises(ConfigError, match="does not say what it was trained on"):
        opened(starting_recipe(root, tmp_path / "unknown"), tmp_path / "run")
    write_bundle(tmp_path / "earlier", root)
    stage = PretrainStage.open(starting_recipe(root, tmp_path / "earlier"))
    inputs = replace(stage.inputs, unseen=load_base().subset(["long_qt"]))
    with pytest.raises(ConfigError, match=r"labels\.held_out names long_qt, which .* was trained on"):
        starting.open_start(replace(stage, inputs=inputs))


def test_a_linear_head_needs_the_entities_that_it_was_trained_on(root: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "earlier", root)
    stage, point = opened(starting_recipe(root, tmp_path / "earlier"), tmp_path / "run")
    linear = point.load()
    linear = replace(linear, config=linear.config.model_copy(update={"head": "entities"}))
    with pytest.raises(ConfigError, match="linear head with an output for each of its entities"):
        starting._check_entities(stage, linear)


def test_a_pipeline_fails_before_any_work(root: Path, tmp_path: Path) -> None:
    recipe = starting_recipe(tmp_path, tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="nowhere is no folder"):
        starting.check(recipe)
    starting.check(starting_recipe(tmp_path, ""))
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_starts_from_nothing(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.start_from: a sweep"):
        sweep_stage.run(starting_recipe(root, "somewhere"), draw=lambda *_: None)


def test_an_alias_is_resolved_when_a_run_begins(root: Path, tmp_path: Path) -> None:
    store = tracking.open_store(Tracking(), str(tmp_path))
    recipe = starting_recipe(root, "models:/tiny@champion")
    recipe = recipe.model_copy(update={"tracking": Tracking(uri=store)})

    def champion(seed: int) -> str:
        folder = tmp_path / f"bundle{seed}"
        write_bundle(folder, root, seed=seed)
        run = tracking.start_or_resume(store, "tests", str(tmp_path / f"stage{seed}"), "pretrain", {})
        version = versions.register(str(folder), run.run_id, tracking_uri=store, model="tiny", tags={})
        MlflowClient(store).set_registered_model_alias("tiny", "champion", version.version)
        return files.verify(str(folder))

    with pytest.raises(ConfigError, match=r"models:/tiny@champion: .*promote"):
        opened(recipe, tmp_path / "run")
    first = champion(0)
    stage, point = opened(recipe, tmp_path / "run")
    assert point.start.digest == first
    second = champion(1)
    again, point = opened(recipe, tmp_path / "run")
    assert (point.start.digest, again.request) == (first, stage.request), "its own start, not the latest"
    fresh = starting.open_start(again, new=True)
    assert fresh is not None
    assert fresh.start.digest == second
    assert manifest.read_request(str(tmp_path / "run"), stage_module.PRETRAIN.remedy) == stage.request
