"""Columns: read in any spelling and under usual other names, refused where two may be meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supreme.config import ConfigError
from supreme.records import columns
from supreme.records.wfdb_folder import COLUMNS, SYNONYMS

pytestmark = pytest.mark.unit


def _match(names: list[str]) -> dict[str, str]:
    return columns.match("t", names, COLUMNS[:1], COLUMNS[1:], SYNONYMS)


_SPELLINGS = st.sampled_from(
    [
        str.upper,
        str.title,
        str,
        lambda name: name.replace("_", " "),
        lambda name: name.replace("_", "-"),
        lambda name: name.replace("_", ""),
        lambda name: f" {name}\u00a0",
        lambda name: f"\ufeff{name}",
        lambda name: "".join(part.title() for part in name.split("_")),
    ]
)


@given(st.permutations(COLUMNS), st.lists(_SPELLINGS, min_size=7, max_size=7), st.data())
def test_every_spelling_of_every_synonym_is_its_column(order, spell, data):
    words = [data.draw(st.sampled_from((column, *SYNONYMS[column])), column) for column in order]
    names = [how(word) for how, word in zip(spell, words, strict=True)]
    assert _match(names) == dict(zip(order, names, strict=True))


def test_a_synonym_stands_for_one_column():
    folded = [columns.fold(word) for column, words in SYNONYMS.items() for word in (column, *words)]
    assert len(folded) == len(set(folded))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["id", "mrn", "subject_id"], "'mrn' and 'subject_id' may each be 'patient_id'"),
        (["id", "Patient_ID", "patient-id"], "'Patient_ID' and 'patient-id' may each be 'patient_id'"),
        (["file", "ecg_id"], "'ecg_id' and 'file' may each be 'id'"),
        (["id", "id"], "two columns are called 'id'"),
        (["id", "pateint_id"], "'pateint_id' is not read: rename it to 'patient_id'"),
        (["ID", "Reprt"], "'Reprt' is not read: rename it to 'report'"),
    ],
)
def test_what_may_be_meant_twice_or_is_misspelt_is_named(names, message):
    with pytest.raises(ConfigError, match=message):
        _match(names)


def test_the_documented_name_wins_over_its_synonyms():
    assert _match(["ID", "file", "patient_id", "mrn"]) == {"id": "ID", "patient_id": "patient_id"}


def test_all_absent_columns_are_named_at_once_and_advice_needs_a_likeness():
    with pytest.raises(
        ConfigError, match=r"no column 'study_id', 'path'; its other columns: 'ward', 'report_2'"
    ):
        columns.match("t", ["ward", "report_2"], ["study_id", "path"])
    with pytest.raises(
        ConfigError, match=r"no column 'study_id'; nearest: 'study': rename.*; no column 'path'$"
    ):
        columns.match("t", ["study", "x"], ["study_id", "path"])


@pytest.mark.parametrize(
    ("name", "other", "is_alike"),
    [
        ("report_2", "subject_id", False),
        ("report_2", "report_12", False),
        ("report_17", "report_18", False),
        ("strat_fold", "fold", True),
        ("patient_id", "patient", True),
        ("patient_id", "Patinet ID", True),
        ("sex", "age", False),
        ("id", "ident", True),
        ("age", "image", False),
    ],
)
def test_likeness(name, other, is_alike):
    assert columns.alike(name, [other]) == [other] * is_alike


def test_columns_that_pandas_adds_are_not_told():
    names = ["id", "Unnamed: 0", "", "__index_level_0__", "ward"]
    assert columns.unread(names, {"id": "id"}) == ["ward"]
