"""Seen by name, by relation and by cosine: each on queries whose truth is planted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from supreme.evaluation import seen
from supreme.evaluation.class_names import class_names
from supreme.reports.vocabulary import Vocabulary, load_base

pytestmark = pytest.mark.unit

TRAINING = ("atrial_fibrillation", "mobitz_i", "left_ventricular_hypertrophy")
#: Direction of each text in the plane, in degrees.
ANGLES = {
    **{"atrial_fibrillation": 0, "mobitz_i": 90, "left_ventricular_hypertrophy": 180},
    **{"AV block": 60, "flutter": 20, "rapid AF": 5, "voltage": 120},
}


class Planted:
    """Embeds each text by its angle; a text "nothing" has no direction."""

    vocabulary: Vocabulary = load_base().subset(TRAINING)

    def entity_index(self, query: str) -> int | None:
        entity = self.vocabulary.find(query)
        return self.vocabulary.ids.index(entity.id) if entity else None

    def embed(self, queries: Sequence[str], *, verbatim: bool = False) -> tuple[np.ndarray, np.ndarray]:
        angles = np.radians([ANGLES.get(query, 0) for query in queries])
        lengths = np.array([0.0 if query == "nothing" else 2.0 for query in queries])
        rows = np.stack([np.cos(angles), np.sin(angles)], axis=1) * lengths[:, None]
        return rows.astype(np.float32), np.arange(len(queries))


def _seen(column: str, benchmark: str, *texts: str) -> seen.ClassSeen:
    return seen.classes_seen(Planted(), class_names(benchmark, [column]), {column: texts})[column]


def test_a_query_of_training_is_seen_by_name_whatever_it_is_called() -> None:
    for benchmark, column in (("ptbxl-rhythm", "AFIB"), ("cinc2021", "AF"), ("labels", "AFib")):
        one = _seen(column, benchmark, "atrial_fibrillation")
        assert (one.by_name, one.nearest) == ("atrial_fibrillation",) * 2
        assert one.cosine == pytest.approx(1, abs=1e-6)
    assert _seen("AF", "csn", "flutter").by_name == ""


def test_an_ancestor_or_descendant_of_training_is_a_relation() -> None:
    block = _seen("AVB", "csn", "AV block")
    assert (block.by_name, block.ancestors, block.descendants) == ("", (), ("mobitz_i",))
    assert block.by_relation
    assert block.nearest == "mobitz_i"
    assert block.cosine == pytest.approx(np.cos(np.radians(30)), abs=1e-6)
    rapid = _seen("rapid_atrial_fibrillation", "conditions", "rapid AF")
    assert (rapid.by_name, rapid.ancestors) == ("", ("atrial_fibrillation",))
    members = _seen("HYP", "ptbxl-superclass", "voltage")
    assert members.descendants == ("left_ventricular_hypertrophy",)
    flutter = _seen("AF", "csn", "flutter")
    assert not flutter.by_relation


def test_the_nearest_of_several_phrasings_counts_and_no_direction_gives_no_number() -> None:
    both = _seen("AF", "csn", "voltage", "flutter")
    assert (both.nearest, both.cosine) == ("atrial_fibrillation", pytest.approx(np.cos(np.radians(20))))
    none = _seen("AF", "csn", "nothing")
    assert (none.nearest, none.cosine) == ("", None)
    one = seen.classes_seen(Planted(), class_names("csn", ["AF", "SB"]), {"AF": ("flutter",)})
    assert list(one) == ["AF"]  # a query set of one; the other class has no text
    assert seen.classes_seen(Planted(), {}, {}) == {}


ROWS = st.integers(1, 40)


@given(st.data(), ROWS, ROWS)
@settings(max_examples=40, deadline=None)
def test_the_nearest_is_that_of_all_pairs(data: st.DataObject, queries: int, training: int) -> None:
    values = st.floats(-3, 3, width=32).map(lambda x: float(np.round(x, 2)))
    a = data.draw(arrays(np.float32, (queries, 5), elements=values))
    b = data.draw(arrays(np.float32, (training, 5), elements=values))
    cosines, rows = seen.nearest(a, b)
    for q in range(queries):
        lengths = np.linalg.norm(a[q].astype(float)) * np.linalg.norm(b.astype(float), axis=1)
        every = [a[q].astype(float) @ b[n] / lengths[n] for n in range(training) if lengths[n] > 0]
        assert cosines[q] == (pytest.approx(max(every), abs=1e-9) if every else -np.inf)
        if every:
            assert a[q].astype(float) @ b[rows[q]] / lengths[rows[q]] == pytest.approx(cosines[q], abs=1e-9)
