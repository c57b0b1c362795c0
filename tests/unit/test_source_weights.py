"""`sources.N.weight`: how often a record is seen in an epoch, exactly, whatever interrupts training."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import training_data
from hypothesis import given, settings
from hypothesis import strategies as st
from test_label_table import make_recipe, make_shards

from supreme import config
from supreme.config import ConfigError
from supreme.reports import stage as label_stage
from supreme.settings.data import Source
from supreme.shards import plan as shard_plan
from supreme.training.data.corpus import Corpus
from supreme.training.data.order import Order, Stretch, replay
from supreme.training.run.stage import PretrainStage

pytestmark = pytest.mark.unit

source_strategy = st.tuples(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(1, 4))
stretch_strategy = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 6))


def corpus_of(sources: list[tuple[list[int], int]]) -> Corpus:
    """Shards that know the sizes of their row groups only."""
    shards = [
        SimpleNamespace(
            folder=str(number),
            rate_hz=100,
            samples=10,
            row_groups=lambda split, sizes=sizes: [
                SimpleNamespace(number=place, rows=rows) for place, rows in enumerate(sizes)
            ],
        )
        for number, (sizes, _) in enumerate(sources)
    ]
    return Corpus.of(cast(Any, shards), "train", [weight for _, weight in sources])


def seen(corpus: Corpus, order: Order, first: int, last: int) -> Counter[tuple[int, int, int]]:
    """How often each record (source, row group, row) is in the steps from first to before last."""
    counts: Counter[tuple[int, int, int]] = Counter()
    for step in range(first, last):
        for rank in range(order.world):
            window = order.window(step, rank)
            rows = slice((step - window.first_step) * order.batch_size, None)
            part = slice(rows.start, rows.start + order.batch_size)
            for group, row in zip(window.groups[part], window.rows[part], strict=True):
                source, row_group = corpus.groups[group]
                counts[source, cast(Any, row_group).number, int(row)] += 1
    return counts


@settings(deadline=None, max_examples=80)
@given(
    sources=st.lists(source_strategy, min_size=1, max_size=3),
    stretches=st.lists(stretch_strategy, min_size=1, max_size=4),
    seed=st.integers(0, 3),
)
def test_every_record_as_often_as_its_source_is_weighted(
    sources: list[tuple[list[int], int]], stretches: list[tuple[int, int, int]], seed: int
) -> None:
    """Also where the number of workers or the batch size changes on the way."""
    corpus, history = corpus_of(sources), []
    for shape, same in groupby(stretches, key=lambda stretch: stretch[:2]):
        history.append(Stretch(*shape, sum(steps for _, _, steps in same)))
    total: Counter[tuple[int, int, int]] = Counter()
    samples = 0
    for done, stretch in enumerate(history):
        order = replay(corpus.sizes, seed, history[:done], stretch.workers, stretch.batch_size)
        first = (samples - order.first_sample) // order.global_batch
        total += seen(corpus, order, first, first + stretch.steps)
        samples += stretch.steps * order.global_batch
    order = replay(corpus.sizes, seed, history, 1, 1)
    epochs, first = -(-samples // order.records), samples - order.first_sample
    total += seen(corpus, order, first, epochs * order.records - order.first_sample)
    for source, (sizes, weight) in enumerate(sources):
        for group, rows in enumerate(sizes):
            assert [total[source, group, row] for row in range(rows)] == [weight * epochs] * rows
    assert sum(total.values()) == epochs * sum(sum(sizes) * weight for sizes, weight in sources)


def test_copies_are_spread_over_the_epoch() -> None:
    corpus = corpus_of([([8] * 30, 1), ([8], 6)])
    order = Order(corpus.sizes, 0, 1, 8)
    steps = [step for step in range(36) if any(key[0] == 1 for key in seen(corpus, order, step, step + 1))]
    gaps = np.diff([0, *steps, 36])
    assert len(steps) > 6
    assert gaps.max() < 24


@pytest.mark.parametrize("weight", [0, -4, 1.5, 100_000, "many"])
def test_a_weight_that_is_no_number_of_times_is_refused(weight: object) -> None:
    with pytest.raises(ConfigError, match=r"sources\.0\.weight"):
        config.parse({"sources": [{"kind": "simulated", "weight": weight}]})


def test_a_weight_changes_training_and_not_the_shards(tmp_path: Path) -> None:
    recipe = training_data.recipe(tmp_path)
    training_data.write(recipe)
    heavier = config.parse(recipe.model_dump() | {"sources": [{"kind": "simulated", "weight": 3}]})
    once, thrice = PretrainStage.open(recipe), PretrainStage.open(heavier)
    assert thrice.plan().records == 3 * once.plan().records == 3 * training_data.SPLITS["train"]
    assert thrice.plan().validation_records == once.plan().validation_records
    assert once.request != thrice.request
    light, heavy = (Source(kind="simulated", records=4, weight=weight) for weight in (1, 3))
    assert shard_plan.survey(recipe, light).request == shard_plan.survey(recipe, heavy).request


def test_a_source_without_reports_is_refused_beside_one_with_reports(tmp_path: Path) -> None:
    spoken = make_shards(tmp_path / "spoken")
    silent = make_shards(tmp_path / "silent", [("", "train"), ("", "train")])
    with pytest.raises(ConfigError, match=r"silent: no report there names an entity.*\[\[sources\]\]"):
        label_stage.build(make_recipe(), [spoken, silent], str(tmp_path / "labels"))
    assert not (tmp_path / "labels" / "manifest.json").exists()
