"""Replies of a language model: what is taken from them, and what is refused."""

from __future__ import annotations

import json

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme.reports import statements
from supreme.reports.llm import prompt
from supreme.reports.llm.replies import NamedFinding, Reading, Reply, check, locate, read

pytestmark = pytest.mark.unit

STATEMENT = "Sinusrhythmus, Verdacht auf  alten Hinterwandinfarkt; mild LVH, Q in III"
WORDS = st.lists(
    st.sampled_from(["Sinus", "möglich", "groß", "QRS", "a-v", "V4-V6", "(alt)", "St.-p.", "#", "II°"]),
    min_size=1,
)


def _reply(content: str, finish: str = "stop", ask: int = 1) -> Reply:
    return Reply(statement_id="x", content=content, finish=finish, ask=ask)


def _entities(*entities: tuple[str, str, str]) -> str:
    return json.dumps(
        {"entities": [dict(zip(("name", "span", "tag"), one, strict=True)) for one in entities]}
    )


GOOD = _entities(("sinus rhythm", "sinusrhythmus", "Normal"))
FOUND = (NamedFinding("sinus rhythm", "Normal", "Sinusrhythmus", 0, 13),)


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        f"  {GOOD}\n",
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}```",
        f"The entities:\n```json\n{GOOD}\n```\nLet me know!",
        f"<think>```json {{}} ```</think>{GOOD}",
        GOOD.replace('": ', '"  :\n'),
    ],
)
def test_a_good_reply_in_any_wrapping(content: str) -> None:
    assert check(_reply(content), STATEMENT) == Reading(FOUND)
    assert check(_reply(content, finish=""), STATEMENT) == Reading(FOUND)


@pytest.mark.parametrize(
    ("content", "finish", "reason"),
    [
        (GOOD, "length", "truncated"),
        (GOOD, "content_filter", "content_filter"),
        ("", "stop", "no_content"),
        ("<think>hm</think> ", "stop", "no_content"),
        (GOOD[:-3], "stop", "not_json"),
        (f"{GOOD} {GOOD}", "stop", "not_json"),
        ("Sinus rhythm is normal.", "stop", "not_json"),
        ("[" * 5000, "stop", "not_json"),
        ("[]", "stop", "wrong_schema"),
        ("null", "stop", "wrong_schema"),
        ('{"entities": null}', "stop", "wrong_schema"),
        ('{"entities": [], "note": "none"}', "stop", "wrong_schema"),
        (GOOD.replace("Normal", "normal"), "stop", "wrong_schema"),
        (GOOD.replace('"Normal"', '["Normal"]'), "stop", "wrong_schema"),
        (GOOD.replace('"sinus rhythm"', "7"), "stop", "wrong_schema"),
        (GOOD.replace("sinus rhythm", " "), "stop", "wrong_schema"),
        (GOOD.replace('"tag"', '"certainty": 1, "tag"'), "stop", "wrong_schema"),
        (_entities(*[("x", "Sinusrhythmus", "Normal")] * 101), "stop", "wrong_schema"),
        (_entities(("flutter", "Vorhofflattern", "Abnormal")), "stop", "invented"),
        (_entities(("infarction", "MI", "Abnormal")), "stop", "invented"),
    ],
)
def test_a_bad_reply_is_refused_with_its_reason(content: str, finish: str, reason: str) -> None:
    reading = check(_reply(content, finish), STATEMENT)
    assert (reading.findings, reading.error) == ((), reason)
    assert reason in prompt.load()["reasons"]


def test_only_what_is_in_the_statement_is_taken() -> None:
    content = _entities(
        ("old infarction", "alten hinterwandinfarkt", "Uncertain"),
        ("atrial flutter", "Flattern", "Abnormal"),
        ("left  ventricular\nhypertrophy", "LVH", "Abnormal"),
    )
    found = check(_reply(content), STATEMENT)
    assert [(one.name, one.span) for one in found.findings] == [
        ("old infarction", "alten Hinterwandinfarkt"),
        ("left ventricular hypertrophy", "LVH"),
    ]
    assert (found.error, found.invented) == ("", 1)


def test_nothing_found_is_a_good_reply() -> None:
    assert check(_reply('{"entities": []}'), STATEMENT) == Reading()


def test_an_entity_that_is_named_twice_has_two_places() -> None:
    one = ("ischemia", "ischemia", "Uncertain")
    found = check(_reply(_entities(one, one, one)), "ischemia inferior, ischemia lateral").findings
    assert [(f.start, f.end) for f in found] == [(0, 8), (19, 27)]
    other = ("ST change", "ischemia", "Abnormal")
    assert len(check(_reply(_entities(one, other)), "ischemia lateral").findings) == 2


@pytest.mark.parametrize(
    ("span", "statement", "places"),
    [
        ("MI", "mild MR", []),
        ("tachykardie", "Sinustachykardie", [(5, 16)]),
        ("block", "AV-Block, Linksschenkelblock", [(3, 8)]),
        ("haemodynamik", "Hämodynamik", [(0, 11)]),
        ("AV Block", "AV-Block", [(0, 8)]),
        ("AV–Block", "A AV-Block", [(2, 10)]),
        ("A-V block", "AV block", []),
        ('"st elevation."', "No ST  elevation", [(3, 16)]),
        ("...", "a...b", []),
        ("1.5 mm", "ST 1.5 mm", [(3, 9)]),
        ("15 mm", "ST 1.5 mm", []),
        ("q", "Q", [(0, 1)]),
    ],
)
def test_where_a_span_is(span: str, statement: str, places: list[tuple[int, int]]) -> None:
    assert locate(span, statement) == places


@settings(max_examples=60, deadline=None)
@given(WORDS, st.data())
def test_words_of_a_statement_are_found_however_they_are_written(
    words: list[str], data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first + 1, len(words)))
    gap = data.draw(st.sampled_from([" ", "  ", "\n", "\u00a0"]))
    write = data.draw(st.sampled_from([str.upper, str.lower, statements.fold, lambda text: f" {text}. "]))
    statement = gap.join(words)
    start = len(gap.join(words[:first])) + (len(gap) if first else 0)
    places = locate(write(" ".join(words[first:last])), statement)
    folded = statements.fold(" ".join(words[first:last]))
    if folded:
        assert any(begin <= start + 1 for begin, _ in places)
        assert all(statements.fold(statement[slice(*place)]).strip(" .") == folded for place in places)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["sinus", "LVH", "Normal", "Uncertain", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["entities", "name", "span", "tag", "more"]), inner, max_size=4)
    ),
    max_leaves=12,
)
ENTITY = st.fixed_dictionaries(
    {"name": JSON, "span": st.sampled_from(["sinus", "LVH", "no"]), "tag": st.sampled_from(["Normal", "?"])}
)


@settings(max_examples=100, deadline=None)
@given(JSON | st.fixed_dictionaries({"entities": st.lists(ENTITY, max_size=2)}))
def test_the_schema_that_is_sent_is_the_schema_that_is_checked(value: object) -> None:
    try:
        jsonschema.validate(value, prompt.load()["schema"])
        fits = True
    except jsonschema.ValidationError:
        fits = False
    reading = check(_reply(json.dumps(value)), STATEMENT)
    assert (reading.error not in ("wrong_schema", "not_json")) == fits
    assert all(STATEMENT[found.start : found.end] == found.span for found in reading.findings)


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.sampled_from('{}[]":,`\\ entitisnamepgNoral\n0é<think>/')), st.text(max_size=30))
def test_no_reply_is_fatal(content: str, statement: str) -> None:
    reading = check(_reply(content), statement)
    assert reading.error or content.strip()
    locate(content, statement)


def test_the_first_usable_reply_counts() -> None:
    bad, good = _reply("no"), _reply(GOOD, ask=2)
    assert read([], STATEMENT).error == "unanswered"
    assert read([bad], STATEMENT).error == "not_json"
    assert read([bad, good], STATEMENT).findings == read([good, bad], STATEMENT).findings == FOUND
