"""Entities that the labels hold out: asked for in validation, where they change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import lone_worker
import numpy as np
import pytest
import torch
import training_data
from safetensors.torch import load_file
from test_objectives import NOISE, Words
from torch import Tensor

from supreme import config, manifest
from supreme.manifest import Request
from supreme.objectives.make import OBJECTIVES, make_task
from supreme.objectives.task import UNCERTAIN
from supreme.reports.label_table import read_unseen, read_vocabulary
from supreme.reports.result import LABELS
from supreme.reports.vocabulary import Entity, load_base
from supreme.training.data.batch import to_batch
from supreme.training.data.corpus import Corpus
from supreme.training.data.labels import LabelMatrix, positive_rate
from supreme.training.data.order import Order, Stretch
from supreme.training.data.queries import Queries
from supreme.training.data.sources import shard_folders
from supreme.training.learner.learner import Learner
from supreme.training.learner.validation import METRIC, UNSEEN_METRIC, score_of, validate
from supreme.training.run import checkpoint as checkpoints
from supreme.training.run import driver, worker_setup
from supreme.training.run.checkpoint import Snapshot, State, weights_digest
from supreme.training.run.stage import QUERIES, PretrainStage

pytestmark = pytest.mark.unit

HELD_OUT = "tall_t_wave"
ASKED = Request(stage="pretrain", config={}, inputs={"labels": "abc"})


def recipe(root: Path, **training: object) -> config.Recipe:
    made = training_data.recipe(root, **{"precision": "fp32", "augment": NOISE, **training})
    return config.parse(made.model_dump() | {"labels": {"held_out": [HELD_OUT]}})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> config.Recipe:
    made = recipe(tmp_path_factory.mktemp("unseen"))
    training_data.write(made)
    return made


@pytest.fixture(autouse=True)
def words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "open_encoder", lambda text: Words())


def opened(made: config.Recipe, folder: Path) -> PretrainStage:
    """The stage of a recipe, in a folder of the test."""
    return replace(PretrainStage.open(made), folder=str(folder))


class Run:
    """A learner with its data; ``unseen`` entities are asked for in validation."""

    def __init__(self, made: config.Recipe, unseen: Sequence[Entity] = (), seed: int = 0) -> None:
        folder = made.folder("labels")
        self.vocabulary = read_vocabulary(folder)
        self.labels = LabelMatrix.read(folder, self.vocabulary.ids, [entity.id for entity in unseen])
        self.train, self.held_out = (
            Corpus.open(shard_folders(made), split) for split in ("train", "validation")
        )
        queries = self.queries = Queries.embed(self.vocabulary, Words(), 0.1, None, unseen)
        torch.manual_seed(seed)
        rate = positive_rate(self.labels.codes)
        task = make_task(made, queries.known(), self.train.samples, rate)
        self.learner = Learner(task, made.training, queries, seed=0, rate_hz=made.shards.rate_hz)

    def steps(self, first: int, last: int) -> None:
        size = self.learner.training.batch_size
        table = self.train.read_steps(Order(self.train.sizes, 0, 1, size), 0, first, last)
        for step in range(first, last):
            rows = table.slice((step - first) * size, size)
            self.learner.step(to_batch(rows, self.train.samples, self.labels), step, step, 40)

    def validate(self) -> dict[str, float]:
        return validate(self.learner, self.held_out, self.labels)


def omniscient(run: Run) -> None:
    """Averaged weights that hear what was planted: of the entity whose name is nearest to a query."""
    names = torch.from_numpy(
        run.queries.whitening.apply(
            Words().encode([load_base()[entity].name for entity in training_data.ENTITIES])
        )
    )

    def answers(ecg_mv: Tensor, queries: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(ecg_mv).abs()
        heard = [spectrum[:, at::4, 4 * (2 + 3 * at)].sum(1) for at in range(len(names))]
        return torch.stack(heard, 1)[:, (queries @ names.T).argmax(1)]

    run.learner.ema.model.encode = lambda ecg_mv: ecg_mv
    run.learner.ema.logits = answers


def test_an_unseen_entity_is_asked_by_its_name_and_scored_against_its_own_labels(made: config.Recipe) -> None:
    unseen = read_unseen(made.folder("labels"), manifest.require(made.folder("labels"), LABELS)).entities
    run = Run(made, unseen)
    omniscient(run)
    perfect = run.validate()
    assert (perfect[METRIC], perfect[UNSEEN_METRIC]) == (1, 1)
    # Uncertain ones do not count, nor entities with one class only.
    codes = run.labels.unseen
    codes[::3] = UNCERTAIN
    run.labels = replace(run.labels, unseen=np.hstack([codes, 0 * codes]))
    run.learner.unseen = run.learner.unseen.repeat(2, 1)
    assert run.validate() == perfect
    run.labels = replace(run.labels, unseen=run.labels.codes[:, :2])
    assert 0.3 < run.validate()[UNSEEN_METRIC] < 0.7, "the labels of others"
    run.labels = replace(run.labels, unseen=np.hstack([0 * codes, 0 * codes]))
    assert run.validate().keys() == perfect.keys() - {UNSEEN_METRIC}


def test_a_run_that_began_without_goes_on_with_them_to_the_same_weights(
    made: config.Recipe, tmp_path: Path
) -> None:
    unseen = read_unseen(made.folder("labels"), manifest.require(made.folder("labels"), LABELS)).entities
    assert [entity.id for entity in unseen] == [HELD_OUT]
    plain, begun = Run(made), Run(made)
    for run in (plain, begun):
        run.steps(0, 2)
    expected = [plain.validate()]
    state = State(request=ASKED).advanced(Stretch(1, 16, 2), 300)
    checkpoints.write(str(tmp_path), Snapshot.of(begun.learner), state)
    resumed = Run(made, unseen, seed=5)
    checkpoints.load_learner(str(tmp_path), checkpoints.read_state(str(tmp_path), ASKED), resumed.learner)
    found = [resumed.validate()]
    for run in (plain, resumed):
        run.steps(2, 4)
    expected, found = [*expected, plain.validate()], [*found, resumed.validate()]
    for name in ("task", "ema"):
        assert weights_digest(getattr(resumed.learner, name)) == weights_digest(getattr(plain.learner, name))
    assert [score_of(one) for one in found] == [score_of(one) for one in expected]
    assert all(0 <= one.pop(UNSEEN_METRIC) <= 1 for one in found)
    assert found == expected


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_only_what_could_answer_for_an_unseen_entity_is_asked(
    made: config.Recipe, objective: str, tmp_path: Path
) -> None:
    driver.embed_queries(opened(recipe(Path(made.root), objective=objective), tmp_path))
    written = load_file(tmp_path / QUERIES)
    vocabulary = read_vocabulary(made.folder("labels"))
    plain = Queries.embed(vocabulary, Words(), made.text.whitening_shrinkage, None)
    for name in ("embeddings", "mean", "matrix", "offsets"):
        torch.testing.assert_close(written.pop(name), getattr(plain, name), rtol=0, atol=0)
    assert list(written) == (["unseen"] if objective == "supreme" else [])
    queries = Queries.read(str(tmp_path / QUERIES))
    if objective == "supreme":
        expected = plain.whitening.apply(Words().encode(["tall T wave"]))
        np.testing.assert_array_equal(queries.whitened_unseen(), expected)
    else:
        assert queries.whitened_unseen() is None


@pytest.mark.parametrize("objective", ["supreme", "linear"])
def test_a_worker_asks_for_what_was_embedded(
    made: config.Recipe, objective: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lone_worker.prepare(monkeypatch)
    stage = opened(recipe(Path(made.root), objective=objective), tmp_path)
    driver.embed_queries(stage)
    run, _ = worker_setup.open_run(stage)
    found = validate(run.learner, run.validation, run.labels)
    assert run.labels.codes.shape[1] == len(training_data.ENTITIES) - 1
    assert (UNSEEN_METRIC in found) == (objective == "supreme")
