"""Corrections override every extractor, are checked line by line, and belong to what labels are made of."""

from __future__ import annotations

from pathlib import Path

import pytest
import report_shards
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme import config
from supreme.config import ConfigError
from supreme.reports import corrections, label_table, stage, statement_table, statements
from supreme.reports.extract import Mention
from supreme.reports.vocabulary import load_base

pytestmark = pytest.mark.unit

HEAD = "statement,entity,assertion\n"
REPORTS = [
    ("train", "Sinus rhythm\nMysterious finding"),
    ("train", "sinus  RHYTHM.\nPossible LVH"),
    ("train", "Mysterious finding"),
]


def load(folder: Path, text: str | bytes) -> corrections.Corrections:
    file = folder / "corrections.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return corrections.load(str(file))


def test_labels_follow_the_corrections(tmp_path: Path) -> None:
    file = tmp_path / "c.csv"
    file.write_text(
        HEAD
        + "Mysterious finding,atrial_flutter,present\n"
        + "SINUS RHYTHM,sinus_rhythm,none\n"
        + '"Possible LVH",left_ventricular_hypertrophy,absent\n'
        + "Written nowhere,u_wave,present\n"
    )
    shards = report_shards.write(tmp_path / "shards", REPORTS)
    recipe = config.parse({"labels": {"min_count": 1, "corrections": str(file)}})
    made = stage.build(recipe, [shards], str(tmp_path / "labels"))
    rows = {row["record_id"]: row for row in label_table.read_labels(str(tmp_path / "labels")).to_pylist()}
    assert rows["t/0"]["present"] == rows["t/2"]["present"] == ["atrial_flutter"]
    assert rows["t/1"]["present"] == rows["t/1"]["uncertain"] == []
    assert rows["t/1"]["absent"] == ["left_ventricular_hypertrophy"]
    assert (made.result.statements_corrected, made.result.corrections_unused) == (3, 1)
    kept = statement_table.read(str(tmp_path / "labels"))["possible lvh"]
    (mention,) = kept.mentions
    assert (mention.cue, kept.text[mention.start : mention.end], kept.corrected) == (
        "correction",
        "LVH",
        True,
    )


def test_another_file_is_another_configuration_and_a_moved_one_is_not(tmp_path: Path) -> None:
    one, moved, other = (tmp_path / f"{name}.csv" for name in ("one", "moved", "other"))
    one.write_text(HEAD + "Sinus rhythm,atrial_flutter,absent\n")
    moved.write_bytes(one.read_bytes())
    other.write_text(HEAD + "Sinus rhythm,atrial_flutter,uncertain\n")
    shards, out = report_shards.write(tmp_path / "shards", REPORTS), str(tmp_path / "labels")

    def build(file: Path) -> str:
        recipe = config.parse({"labels": {"min_count": 1, "corrections": str(file)}})
        return stage.build(recipe, [shards], out).digest()

    assert build(one) == build(moved)
    with pytest.raises(ConfigError, match="corrections: "):
        build(other)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("Sinus rhythm,sinus_rythm,present\n", r"line 2: no entity 'sinus_rythm'; nearest: 'sinus_rhythm'"),
        (
            "Sinus rhythm,u_wave,maybe\n",
            r"line 2: assertion 'maybe' is none of present, absent, ",
        ),
        ("Sinus rhythm,u_wave\n", r"line 2: not 3 cells"),
        ("Sinus rhythm,u_wave,present,really\n", r"line 2: not 3 cells"),
        (",u_wave,present\n", r"line 2: not 3 cells"),
        ("Sinus rhythm. Normal ECG.,u_wave,present\n", r"line 2: 2 statements, not one"),
        ('"a\nb",u_wave,present\nSinus rhythm,u_wave,x\n', r"line 4: assertion 'x'"),
        (
            "LVH,u_wave,present\nLVH,t_wave_inversion,absent\nlvh.,u_wave,absent\n",
            r"line 4: u_wave is absent here and present in line 2",
        ),
        ('"unclosed,u_wave,present\n', r"line 2: unexpected end of data"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, rows: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load(tmp_path, HEAD + rows).check(load_base())


def test_a_bad_file_is_refused_before_any_work(tmp_path: Path) -> None:
    recipe = config.parse({"labels": {"corrections": str(tmp_path / "none.csv")}})
    with pytest.raises(ConfigError, match=r"none\.csv does not exist"):
        stage.build(recipe, [str(tmp_path / "no shards")], str(tmp_path / "labels"))
    with pytest.raises(ConfigError, match="needs a first line with statement,entity,assertion, it has a,b"):
        load(tmp_path, "a,b\n")
    with pytest.raises(ConfigError, match="it has none"):
        load(tmp_path, "")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path, HEAD.encode() + b"\xff,u_wave,present\n")
    assert len(load(tmp_path, b"\xef\xbb\xbf" + HEAD.encode()).by_statement) == 0


ENTITIES = st.sampled_from(load_base().ids[:6])
ASSERTED = st.sampled_from(("present", "absent", "uncertain"))
MENTIONS = st.lists(st.builds(Mention, ENTITIES, ASSERTED, st.just(""), st.just(""), st.just(1), st.just(4)))


@settings(max_examples=60, deadline=None)
@given(mentions=MENTIONS, rows=st.dictionaries(ENTITIES, st.sampled_from(corrections.ASSERTIONS)))
def test_what_is_corrected_says_so_and_the_rest_stays(mentions: list[Mention], rows: dict[str, str]) -> None:
    given_rows = [corrections.Correction(n, "text", *row) for n, row in enumerate(rows.items())]
    done = corrections.Corrections("", given_rows).apply(statements.fold("text"), mentions)
    for entity in set(load_base().ids[:6]):
        own = [mention.assertion for mention in done if mention.entity == entity]
        if entity in rows:
            assert own == ([rows[entity]] if rows[entity] != corrections.NONE else [])
        else:
            assert own == [mention.assertion for mention in mentions if mention.entity == entity]
