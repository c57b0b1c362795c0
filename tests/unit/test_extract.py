"""Gold statements in three languages, properties of every wording, and measured floors on real reports."""

from __future__ import annotations

import ast
import csv
import re
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supreme.reports import lexicon, statements
from supreme.reports.extract import Mention, RuleExtractor
from supreme.reports.vocabulary import LANGUAGES, Entity, load_base

pytestmark = pytest.mark.unit

GOLD = tomllib.loads((Path(__file__).parent / "data" / "gold_statements.toml").read_text())["statement"]
ENTITIES = list(load_base())
WORDINGS = [
    (entity.id, text)
    for entity in ENTITIES
    for text in [entity.name, *(t for lang in LANGUAGES for t in entity.synonyms.get(lang, []))]
]
#: Statements of MIMIC-IV-ECG that carry no finding about the heart.
NO_FINDING = re.compile(
    r"(?i)unsuitable for analysis|missing lead|leads are missing|not used for morph|omitted|interpret"
    r"|criteria used"
    r"|report made|report below|analysis|magnet|normal for age|^changes |these .*changes|normal variant"
    r"|normal juvenile|may not be valid|no other finding|repeat ecg|none available|regular rhythm"
    r"|except for rate"
    r"|non specific changes|are also involved|missing data"
)
#: PTB-XL codes that annotate the text, and the entity of each; LPR and 1AVB name one finding.
TEXT_CODES = {
    ("AFIB",): "atrial_fibrillation",
    ("SR",): "sinus_rhythm",
    ("SBRAD",): "sinus_bradycardia",
    ("STACH",): "sinus_tachycardia",
    ("SARRH",): "sinus_arrhythmia",
    ("PACE",): "paced_rhythm",
    ("AFLT",): "atrial_flutter",
    ("1AVB", "LPR"): "first_degree_av_block",
    ("LVOLT",): "low_qrs_voltage",
    ("PVC",): "ventricular_premature_complex",
    ("PAC",): "atrial_premature_complex",
    ("ABQRS",): "abnormal_qrs",
    ("VCLVH",): "lvh_voltage_criteria",
    ("QWAVE",): "abnormal_q_wave",
    ("SVARR",): "supraventricular_arrhythmia",
}
FLOORS = {"precision": 0.91, "recall": 0.97}
FLOORS_BY_CODE = {
    "AFIB": (0.97, 0.99),
    "SR": (0.99, 0.99),
    "SBRAD": (0.93, 0.99),
    "STACH": (0.96, 0.99),
    "SARRH": (0.89, 0.99),
    "PACE": (0.98, 0.95),
    "ABQRS": (0.94, 0.99),
    "SVARR": (0.99, 0.99),
}


@cache
def rules() -> RuleExtractor:
    return RuleExtractor()


def by_status(mentions: list[Mention]) -> dict[str, set[str]]:
    return {
        status: {m.entity for m in mentions if m.assertion == status}
        for status in ("present", "absent", "uncertain")
    }


@pytest.mark.parametrize("gold", GOLD, ids=lambda gold: gold["text"][:60])
def test_gold_statement(gold: dict) -> None:
    found = by_status(rules().extract(gold["text"]))
    for status, entities in found.items():
        expected = set(gold.get(status, []))
        if gold.get("rest"):
            assert entities >= expected, found
        else:
            assert entities == expected, found


def test_gold_set_is_large_and_covers_languages_and_assertions() -> None:
    assert len(GOLD) >= 60
    assert sum(bool(g.get("absent")) for g in GOLD) >= 10
    assert sum(bool(g.get("uncertain")) for g in GOLD) >= 20


@pytest.mark.parametrize(("entity_id", "text"), WORDINGS, ids=lambda value: value)
def test_every_wording_finds_its_own_entity_and_no_other(entity_id: str, text: str) -> None:
    found = rules().extract(text)
    vocabulary = load_base()
    entities = {m.entity for m in found}
    assert entity_id in entities
    assert {m.assertion for m in found if m.entity == entity_id} == {"present"}
    assert entities <= {entity_id} | {e for e in entities if entity_id in vocabulary.ancestors(e)}


@pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: entity.id)
def test_no_before_a_name_makes_it_absent(entity: Entity) -> None:
    found = {m.assertion for m in rules().extract(f"no {entity.name}") if m.entity == entity.id}
    assert found == {"absent"}


@pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: entity.id)
def test_hedges_make_a_name_uncertain(entity: Entity) -> None:
    for text in (
        f"possible {entity.name}",
        f"cannot rule out {entity.name}",
        f"{entity.name} cannot be excluded",
    ):
        found = {m.assertion for m in rules().extract(text) if m.entity == entity.id}
        assert found == {"uncertain"}, text


@given(
    st.sampled_from([gold["text"] for gold in GOLD]),
    st.sampled_from([str.upper, str.lower, str.title]),
    st.text(" \t", max_size=3),
)
def test_case_and_outer_white_space_do_not_matter(text: str, change: object, space: str) -> None:
    # ß and dotted I change their length with the case.
    expected = [(m.entity, m.assertion) for m in rules().extract(text)]
    changed = space + change(text) + space  # type: ignore[operator]
    assert [(m.entity, m.assertion) for m in rules().extract(changed)] == expected


@given(st.text(max_size=200))
def test_any_text_is_survived_and_spans_lie_inside(text: str) -> None:
    for statement in statements.split(text):
        for mention in rules().extract(statement):
            assert 0 <= mention.start < mention.end <= len(statement)


def test_spans_point_at_the_words() -> None:
    text = "No ST elevation; Vorhofflimmern möglich"
    spans = {m.entity: text[m.start : m.end] for m in rules().extract(text)}
    assert spans == {"st_elevation": "ST elevation", "atrial_fibrillation": "Vorhofflimmern"}


def test_a_phrase_for_two_entities_is_refused() -> None:
    with pytest.raises(ValueError, match="stands for both"):
        lexicon.Phrases([("ST elevation", "a"), ("st-Elevation", "b")], lexicon.Words())


@pytest.mark.real
def test_mimic_statements_with_a_finding_yield_an_entity(realdata: Path) -> None:
    with (realdata / "mimic-iv-ecg" / "distinct_report_sentences.csv").open() as file:
        texts = [row[0] for row in list(csv.reader(file))[1:]]
    texts = [text for text in texts if not NO_FINDING.search(text)]
    missed = [text for text in texts if not rules().extract(text)]
    assert len(texts) > 2000
    assert len(missed) <= 0.005 * len(texts), missed[:50]


@pytest.mark.real
def test_ptbxl_codes_that_annotate_the_text(realdata: Path) -> None:
    right, wrong, missed = Counter(), Counter(), Counter()  # type: ignore[var-annotated]
    vocabulary = load_base()
    seen: dict[str, set[str]] = {}
    with (realdata / "ptb-xl" / "ptbxl_database_full.csv").open() as file:
        for row in csv.DictReader(file):
            report = row["report"]
            if report not in seen:
                found = [m for s in statements.split(report) for m in rules().extract(s)]
                seen[report] = vocabulary.propagate(m.entity for m in found if m.assertion == "present")
            codes = set(ast.literal_eval(row["scp_codes"]))
            for names, entity in TEXT_CODES.items():
                coded, said = bool(codes & set(names)), entity in seen[report]
                right[names[0]] += coded and said
                wrong[names[0]] += said and not coded
                missed[names[0]] += coded and not said
    table = {
        code: (right[code] / (right[code] + wrong[code]), right[code] / (right[code] + missed[code]))
        for code in right
    }
    shown = "\n".join(f"{code:6} precision {p:.3f} recall {r:.3f}" for code, (p, r) in table.items())
    total = sum(right.values())
    micro = {
        "precision": total / (total + sum(wrong.values())),
        "recall": total / (total + sum(missed.values())),
    }
    assert all(micro[name] >= floor for name, floor in FLOORS.items()), f"{micro}\n{shown}"
    for code, (precision, recall) in FLOORS_BY_CODE.items():
        assert table[code][0] >= precision, shown
        assert table[code][1] >= recall, shown
