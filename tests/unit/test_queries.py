"""Everyday words of a query lead to the entity that they name, and nothing else does."""

from __future__ import annotations

import pytest

from supreme.reports.queries import known_entity
from supreme.reports.vocabulary import load_base, query_texts

pytestmark = pytest.mark.unit

BASE = load_base()


@pytest.mark.parametrize(
    ("query", "entity"),
    [
        ("AF", "atrial_fibrillation"),
        ("afib?", "atrial_fibrillation"),
        ("Is there atrial fibrillation?", "atrial_fibrillation"),
        ("Does this ECG show LBBB?", "left_bundle_branch_block"),
        ("MI", "myocardial_infarction"),
        ("heart attack", "myocardial_infarction"),
        ("inferior MI", "inferior_infarction"),
        ("NSR", "sinus_rhythm"),
        ("prolonged QT", "long_qt"),
        ("ST elevation in inferior leads", "inferior_st_elevation"),
        ("any evidence of ischemia?", "myocardial_ischemia"),
        ("Liegt Vorhofflimmern vor?", "atrial_fibrillation"),
        ("Gibt es einen Linksschenkelblock?", "left_bundle_branch_block"),
        ("Zeigt das EKG eine ST-Hebung?", "st_elevation"),
        ("Finns det förmaksflimmer?", "atrial_fibrillation"),
        ("Tecken på ischemi?", "myocardial_ischemia"),
        ("AFL?", "atrial_flutter"),
        ("RVH", "right_ventricular_hypertrophy"),
    ],
)
def test_everyday_words(query: str, entity: str) -> None:
    assert known_entity(query, BASE) == entity


@pytest.mark.parametrize(
    "query",
    [
        "", "?", "weather", "no atrial fibrillation", "kein Vorhofflimmern", "inget förmaksflimmer", "AF: no",
        "AF or flutter", "LBBB and LVH", "possible AF", "normal QT", "old inferior infarct", "history of AF",
        "LVH in athletes", "risk of atrial fibrillation", "AF " * 60, "not atrial fibrillation?", "[ ] AF",
    ],
)  # fmt: skip
def test_denied_doubted_several_or_other_words_name_nothing(query: str) -> None:
    assert known_entity(query, BASE) == ""


def test_an_entity_that_a_model_does_not_have_is_not_its_parent() -> None:
    without = BASE.subset(set(BASE.ids) - {"rapid_atrial_fibrillation"})
    assert known_entity("AF with RVR", BASE) == "rapid_atrial_fibrillation"
    assert known_entity("AF with RVR", without) == ""


def test_questions_of_every_name_and_no_text_of_another_entity() -> None:
    for entity in BASE:
        assert known_entity(f"Is there {entity.name}?", BASE) == entity.id
        assert known_entity(f"no {entity.name}", BASE) == ""
        # What evaluation asks about an unseen condition must not become another's query.
        assert {known_entity(text, BASE) for text in query_texts(entity)} <= {entity.id, ""}
