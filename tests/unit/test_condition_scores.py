"""Models that score some classes only: what they do not score is no score, not one that is damaged."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from supreme.evaluation import summary, zeroshot
from supreme.evaluation.benchmarks import Benchmark
from supreme.evaluation.outputs import Outputs
from supreme.evaluation.subjects import NamedSubject

pytestmark = pytest.mark.unit

IDS = ("d/1", "d/2")


@pytest.mark.parametrize(("classes", "width"), [(("af",), 1), ((), 3)], ids=["scores", "embeddings"])
def test_conditions_that_a_model_does_not_score_have_no_column(
    classes: tuple[str, ...], width: int, tmp_path: Path
) -> None:
    outputs = Outputs("a file", IDS, np.full((2, width), 0.5))
    labels = np.array([[1, 0], [0, 1]], np.int8)
    benchmark = Benchmark("d", IDS, IDS, IDS, ("af", "mi"), labels)
    part: Any = SimpleNamespace(benchmark=benchmark, data=SimpleNamespace(name="d"))
    subject = NamedSubject(classes, outputs)
    table = zeroshot.condition_scores(subject, outputs, part, benchmark.classes, str(tmp_path))
    assert table.column_names == ["record_id", *classes]
    scores = summary.matrix([table], benchmark)
    np.testing.assert_array_equal(np.isfinite(scores), np.isin([benchmark.classes] * 2, classes))
