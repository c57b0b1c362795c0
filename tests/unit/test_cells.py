"""Cells: what people write for a key, codes, sex and age, and what must not be taken for it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supreme.records import cells

pytestmark = pytest.mark.unit

_LABEL = st.text("AFLB ä:/1", min_size=1, max_size=8).map(str.strip).filter(bool)
_LABELS = st.lists(_LABEL.filter(lambda label: not cells.is_missing(label)), min_size=1, max_size=5)


def _once(labels: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(cells.key, labels)))


@given(_LABELS, st.sampled_from([";", "; ", "|", " | ", ",", ", ", "\t"]))
def test_labels_are_split_at_any_separator(labels, separator):
    assert cells.codes(separator.join(labels)) == _once(labels)


@given(_LABELS)
def test_lists_of_json_python_and_numpy_are_lists(labels):
    numpy = f"[{' '.join(map(repr, labels))}]"
    for text in (
        json.dumps(labels),
        repr(labels),
        repr(tuple(labels)),
        numpy,
        repr(dict.fromkeys(labels, 100.0)),
    ):
        assert cells.codes(text) == _once(labels), text
    with_null = [None, *labels, None]
    assert cells.codes(json.dumps(with_null)) == cells.codes(repr(with_null)) == _once(labels)


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("[AF, LBBB]", ("AF", "LBBB")),
        ("{AF,LBBB}", ("AF", "LBBB")),
        ("[nan, 'AF']", ("AF",)),
        ("426783006 164889003", ("426783006", "164889003")),
        ("164889003.0;426783006.0", ("164889003", "426783006")),
        ("sinus rhythm", ("sinus rhythm",)),
        ("T wave, inverted; ST, raised", ("T wave, inverted", "ST, raised")),
        ("{'AF': 0, 'LBBB': 1}", ("LBBB",)),
        ("{'NORM': 100.0, 'SR': 0.0}", ("NORM", "SR")),
        ("AF;AF;;NaN; ", ("AF",)),
        ("['__import__(\"os\").getcwd()']", ('__import__("os").getcwd()',)),
        ("[]", ()),
        ("None", ()),
    ],
)
def test_labels_as_they_are_found(text, codes):
    assert cells.codes(text) == codes


@given(st.text(max_size=60) | st.text("[](){}'\",:; 01e.AF", max_size=60))
def test_no_cell_crashes_a_parser(text):
    assert all(code == code.strip() and code for code in cells.codes(text))
    assert cells.parse_sex(text) in ("F", "M", "")
    age = cells.parse_age(text)
    assert age is None or 0 <= age <= 120
    assert cells.key(cells.key(text)) == cells.key(text)


def test_a_deeply_nested_list_is_no_danger():
    assert cells.codes("[" * 9_000 + "]" * 9_000)
    assert cells.codes("[" * 90_000 + "]" * 90_000)


@given(st.integers(0, 10**17))
def test_a_whole_number_is_the_same_key_in_every_form(number):
    forms = [str(number), f"{number}.0", f" {number}.000 ", f"{number}"]
    digits = len(str(number))
    forms.append(f"{str(number)[0]}.{str(number)[1:] or '0'}e{digits - 1}")
    assert {cells.key(form) for form in forms} == {str(number)}


@pytest.mark.parametrize("text", ["1.23E+10", "12.5", "007", "P7", "7.0.0", "1e5", "-", "e5", "1e", "٣.0x"])
def test_a_key_that_is_no_whole_number_stays(text):
    assert cells.key(text) == text


@pytest.mark.parametrize(
    ("words", "sex"),
    [
        ("F f Female woman Frau weiblich W Kvinna Femme Mujer Donna mulher vrouw женский 女 F.", "F"),
        ("M m Male man Herr männlich Homme Hombre uomo homem mężczyzna муж 男", "M"),
        ("0 1 2 K H V D X Mujeres Manfred unknown divers ? - nan", ""),
    ],
)
def test_sex_in_words(words, sex):
    assert {word: cells.parse_sex(word) for word in words.split()} == dict.fromkeys(words.split(), sex)


def test_what_says_no_sex_is_not_misunderstood():
    assert all(map(cells.says_no_sex, ("", "nan", "Unknown", "divers", "?", "not specified")))
    assert not any(map(cells.says_no_sex, ("0", "1", "K", "Mujeres")))


@pytest.mark.parametrize(
    ("text", "years"),
    [
        *[
            (text, 57.0)
            for text in ("57", "57.0", "57 years", "57y", "057Y", "P57Y", "P057Y", "57 Jahre", "57 ans")
        ],
        *[
            (text, 57.0)
            for text in ("57 años", "57 yo", "57-year-old", "57 y/o", "age: 57", "57 yrs.", "57 år")
        ],
        ("57,5", 57.5),
        ("45 yrs 3 months", 45.25),
        ("18 months", 1.5),
        ("006M", 0.5),
        ("026W", 26 * 7 / 365.25),
        *[
            (text, 90.0)
            for text in ("300", ">89", "> 89", "89+", "≥90", ">= 90", "90+", "over 89", "90 or older")
        ],
        ("95+", 95.0),
        *[
            (text, None)
            for text in ("", "nan", "Unknown", "-1", "1956", "60-70", "60s", ">65", "65+", "inf", "5 x")
        ],
        ("01.02.1956", None),
    ],
)
def test_ages(text, years):
    assert cells.parse_age(text) == (years if years is None else pytest.approx(years))
