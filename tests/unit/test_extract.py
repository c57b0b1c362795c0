"""Gold statements in three languages, properties of every wording, and measured floors on real reports."""

from __future__ import annotations

import ast
import csv
import re
import tomllib
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme.reports import agreement, extract, lexicon, statements
from supreme.reports.extract import Mention, RuleExtractor
from supreme.reports.tokens import tokenize
from supreme.reports.vocabulary import LANGUAGES, load_base

pytestmark = pytest.mark.unit

GOLD = tomllib.loads((Path(__file__).parent / "data" / "gold_statements.toml").read_text())["statement"]
WORDINGS = [
    (entity.id, text)
    for entity in load_base()
    for text in [entity.name, *(t for lang in LANGUAGES for t in entity.synonyms.get(lang, []))]
]
#: Remarks on the recording or on other remarks: statements of MIMIC-IV-ECG without a finding about the heart.
NO_FINDING = re.compile(
    r"(?i)not used for morph|omitted|interpret|criteria used|report made|report below|analysis|magnet"
    r"|normal for age|^changes |these .*changes|normal variant|may not be valid|no other finding|repeat ecg"
    r"|none available|regular rhythm|non specific changes|are also involved"
)
RULES = RuleExtractor()


def by_status(mentions: list[Mention]) -> dict[str, set[str]]:
    return {
        status: {m.entity for m in mentions if m.assertion == status}
        for status in ("present", "absent", "uncertain")
    }


@pytest.mark.parametrize("gold", GOLD, ids=lambda gold: gold["text"][:60])
def test_gold_statement(gold: dict) -> None:
    found = by_status(RULES.extract(gold["text"]))
    for status, entities in found.items():
        expected = set(gold.get(status, []))
        if gold.get("rest"):
            assert entities >= expected, found
        else:
            assert entities == expected, found


def test_gold_set_is_large_and_covers_languages_and_assertions() -> None:
    assert len(GOLD) >= 110
    assert sum(bool(g.get("absent")) for g in GOLD) >= 18
    assert sum(bool(g.get("uncertain")) for g in GOLD) >= 35


def test_every_wording_finds_its_own_entity_and_no_other() -> None:
    vocabulary = load_base()
    for entity_id, text in WORDINGS:
        found = RULES.extract(text)
        entities = {m.entity for m in found}
        assert entity_id in entities, text
        assert {m.assertion for m in found if m.entity == entity_id} == {"present"}, text
        assert entities <= {entity_id} | {e for e in entities if entity_id in vocabulary.ancestors(e)}, text


def test_no_before_a_name_makes_it_absent_and_hedges_uncertain() -> None:
    expected = {
        "no {}": "absent",
        "possible {}": "uncertain",
        "cannot rule out {}": "uncertain",
        "{} cannot be excluded": "uncertain",
    }
    for entity in load_base():
        for frame, status in expected.items():
            text = frame.format(entity.name)
            assert {m.assertion for m in RULES.extract(text) if m.entity == entity.id} == {status}, text


@settings(max_examples=60)
@given(
    st.sampled_from([gold["text"] for gold in GOLD]),
    st.sampled_from([str.upper, str.lower, str.title]),
    st.text(" \t", max_size=3),
)
def test_case_and_outer_white_space_do_not_matter(text: str, change: object, space: str) -> None:
    # ß and dotted I change their length with the case.
    expected = [(m.entity, m.assertion) for m in RULES.extract(text)]
    changed = space + change(text) + space  # type: ignore[operator]
    assert [(m.entity, m.assertion) for m in RULES.extract(changed)] == expected


@settings(max_examples=60)
@given(st.text(max_size=200))
def test_any_text_is_survived_and_spans_lie_inside(text: str) -> None:
    for statement in statements.split(text):
        for mention in RULES.extract(statement):
            assert 0 <= mention.start < mention.end <= len(statement)


@settings(max_examples=80)
@given(
    st.sampled_from(WORDINGS),
    st.sampled_from(["", "  ", "xy ", "Überall (", "1) ", "nämlich  ", "ÄÖ/"]),
    st.sampled_from(["", "  zz", ")", ".", ", xy", " 99%"]),
    st.sampled_from([str.upper, str.lower, str.title]),
)
def test_spans_are_the_planted_words(
    wording: tuple[str, str], before: str, after: str, change: object
) -> None:
    entity, text = wording[0], change(wording[1])  # type: ignore[operator]
    found = [m for m in RULES.extract(before + text + after) if m.entity == entity]
    assert found
    for mention in found:
        assert len(before) <= mention.start < mention.end <= len(before) + len(text)
    whole = (before + text + after)[found[0].start : found[-1].end]
    assert whole == whole.strip()
    if len(RULES.extract(text)) == 1 and entity.split("_")[0] not in _PLACES:
        assert whole.strip("().") in text


_PLACES = {"anterior", "inferior", "lateral"}


def test_spans_point_at_the_words() -> None:
    text = "No ST elevation; Vorhofflimmern möglich"
    spans = {m.entity: text[m.start : m.end] for m in RULES.extract(text)}
    assert spans == {"st_elevation": "ST elevation", "atrial_fibrillation": "Vorhofflimmern"}


@pytest.mark.parametrize(
    ("text", "entity"),
    [
        ("atrial fibrilation", "atrial_fibrillation"),
        ("sinusryhthmus", "sinus_rhythm"),
        ("Linksherzhypertropie", "left_ventricular_hypertrophy"),
        ("pericardtis", "pericarditis"),
        ("Vorhofextrasystolen", "atrial_premature_complex"),
        ("atypischer Rythmus", ""),
        ("hypermagnesemia", ""),
        ("literal", ""),
    ],
)
def test_endings_and_one_wrong_letter_in_a_long_word_are_forgiven(text: str, entity: str) -> None:
    assert {m.entity for m in RULES.extract(text)} == ({entity} if entity else set())


def test_known_words_are_one_only_where_the_ending_differs() -> None:
    words = extract._rules().words
    forms = defaultdict(set)
    for word in words._learnt:
        forms[words[word]].add(word)
    assert len(forms) > 1500
    for group in forms.values():
        short = min(group, key=len)
        assert len({word[: max(len(short) - 4, 0)] for word in group}) == 1, group
    assert words["artefakt"] == words["artefakte"]
    assert words["moeglich"] != words["moegliche"], "behind and before a finding"
    for one, other in (("hypokalemia", "hyperkalemia"), ("superior", "inferior"), ("anterior", "posterior")):
        assert words[one] != words[other]


def test_a_phrase_for_two_entities_is_refused() -> None:
    with pytest.raises(ValueError, match="stands for both"):
        lexicon.Phrases([("ST elevation", "a"), ("st-Elevation", "b")], lexicon.Words())


def test_the_longest_phrase_wins() -> None:
    words = lexicon.Words()
    phrases = lexicon.Phrases([("a b", 1), ("b c d", 2), ("d", 3), ("d e", 4)], words)

    def found(text: str, taken: int = 0) -> list[tuple[int, int, int]]:
        return [tuple(match) for match in phrases.find(words.code(tokenize(text)), taken)]

    assert found("a b c d e") == [(1, 4, 2)]
    assert found("a b x d e") == [(0, 2, 1), (3, 5, 4)]
    assert found("a b x d e", taken=0b10001) == [(3, 4, 3)]


def test_statements_that_come_again_are_not_shared() -> None:
    first = RULES.extract("left bundle branch block")
    first.clear()
    assert RULES.extract("left bundle branch block")


def test_the_version_follows_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    version = RULES.version
    load = extract.load_table
    monkeypatch.setattr(extract, "load_table", lambda name: load(name) | {"more": name == "cues"})
    assert extract._version.__wrapped__() != version
    monkeypatch.setattr(extract, "load_table", load)
    assert extract._version.__wrapped__() == version


# ---- real reports


@pytest.mark.real
def test_mimic_statements_with_a_finding_yield_an_entity(realdata: Path) -> None:
    with (realdata / "mimic-iv-ecg" / "distinct_report_sentences.csv").open() as file:
        texts = [row[0] for row in list(csv.reader(file))[1:]]
    texts = [text for text in texts if not NO_FINDING.search(text)]
    missed = [text for text in texts if not RULES.extract(text)]
    assert len(texts) > 2000
    assert len(missed) <= 0.002 * len(texts), missed[:50]


@cache
def ptbxl(realdata: Path) -> tuple[list[dict[str, str]], list[dict[str, float]]]:
    """Per record: entity -> words for what is present, and code -> likelihood."""
    said: dict[str, dict[str, str]] = {}
    labels, codes = [], []
    with (realdata / "ptb-xl" / "ptbxl_database_full.csv").open() as file:
        for row in csv.DictReader(file):
            report = row["report"]
            if report not in said:
                said[report] = {
                    m.entity: re.sub(r"\s+", " ", part[m.start : m.end].lower())
                    for part in statements.split(report)
                    for m in RULES.extract(part)
                    if m.assertion == "present"
                }
            labels.append(said[report])
            codes.append(ast.literal_eval(row["scp_codes"]))
    return labels, codes


def of_the_text(codes: list[dict[str, float]]) -> set[str]:
    """Codes whose likelihood is 0 in nine of ten records that have them: they were made from the text."""
    count, zero = Counter(), Counter()  # type: ignore[var-annotated]
    for record in codes:
        count.update(record.keys())
        zero.update(code for code, likelihood in record.items() if likelihood == 0)
    return {code for code in count if zero[code] >= 0.9 * count[code]}


@pytest.mark.real
def test_ptbxl_codes_that_annotate_the_text(realdata: Path) -> None:
    labels, codes = ptbxl(realdata)
    rows = agreement.agreement(labels, codes, load_base(), "scp")
    assert len(rows) == 71
    chosen = of_the_text(codes)
    assert len(chosen) == 22
    shown = "\n".join(str(row) for row in rows)
    for row in rows:
        if row.code in chosen and row.coded >= 100:
            assert row.recall >= (0.97 if row.code not in ("LOWT", "INVT", "NT_") else 0.9), shown
    precision, recall = agreement.micro([row for row in rows if row.code in chosen])
    assert (precision >= 0.79, recall >= 0.98) == (True, True), f"{precision} {recall}\n{shown}"
    named = {"AFIB", "SR", "SBRAD", "STACH", "SARRH", "PACE", "LPR", "1AVB", "LVOLT", "HVOLT", "QWAVE"}
    precision, recall = agreement.micro([row for row in rows if row.code in named])
    assert (precision >= 0.91, recall >= 0.98) == (True, True), f"{precision} {recall}\n{shown}"


@pytest.mark.real
def test_what_ptbxl_does_not_code_is_in_wordings_that_it_never_codes(realdata: Path) -> None:
    """PTB-XL's codes of the text know few wordings: of 1,200 reports that say "T abnorm", 3 have TAB_."""
    labels, codes = ptbxl(realdata)
    owners = load_base().by_code("scp")
    coded: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for present, record in zip(labels, codes, strict=True):
        for entity, words in present.items():
            for code in (code for code, entities in owners.items() if entities == [entity]):
                coded[code, words].append(code in record)
    chosen = of_the_text(codes)
    known = [hits for (code, _), hits in coded.items() if code in chosen and sum(hits) > 0.1 * len(hits)]
    never = [hits for (code, _), hits in coded.items() if code in chosen and sum(hits) <= 0.1 * len(hits)]
    right = sum(map(sum, known))
    wrong = sum(len(hits) - sum(hits) for hits in known)
    assert right / (right + wrong) >= 0.95
    assert sum(len(hits) - sum(hits) for hits in never) >= 3 * wrong
