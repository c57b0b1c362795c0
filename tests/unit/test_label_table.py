"""From shards to the label table: what a report says, counted, propagated and resumable."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import report_shards

from supreme import config, manifest
from supreme.reports import label_table, stage, statement_table
from supreme.reports.extract import Mention, RuleExtractor
from supreme.reports.vocabulary import load_base

pytestmark = pytest.mark.unit

REPORTS = [
    ("train", "Sinus rhythm\nInferior infarct - age undetermined\nAbnormal ECG"),
    ("train", "Sinus rhythm\nPossible inferior infarct\nNo ST elevation"),
    ("train", "sinus rhythm\nNo LVH\nPossible LVH"),
    ("train", "No LVH\nLVH\nRapid atrial fibrillation"),
    ("validation", "Sinus rhythm\nWritten by the machine"),
    ("test", "Incomplete RBBB\nEdit: NORM 100"),
    ("test", ""),
]


class Counting(RuleExtractor):
    """The rules, counting what they are asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def extract(self, statement: str) -> list[Mention]:
        self.asked.append(statement)
        return super().extract(statement)


def make_shards(folder: Path, reports: list[tuple[str, str]] = REPORTS) -> str:
    return report_shards.write(folder, reports)


def make_recipe(**labels: object) -> config.Recipe:
    return config.parse({"labels": {"min_count": 1, **labels}})


def rows_of(folder: str) -> dict[str, dict]:
    return {row["record_id"]: row for row in label_table.read_labels(folder).to_pylist()}


def test_labels_of_reports(tmp_path: Path) -> None:
    out = str(tmp_path / "labels")
    made = stage.build(make_recipe(), [make_shards(tmp_path / "shards")], out)
    rows = rows_of(out)
    assert set(rows) == {f"t/{n}" for n in range(len(REPORTS))}
    assert rows["t/0"]["present"] == [
        "abnormal_ecg", "inferior_infarction", "myocardial_infarction", "sinus_rhythm",
    ]  # fmt: skip
    assert rows["t/1"]["uncertain"] == ["inferior_infarction", "myocardial_infarction"]
    assert rows["t/1"]["absent"] == ["st_elevation"]
    assert rows["t/2"]["uncertain"] == ["left_ventricular_hypertrophy"]
    assert rows["t/2"]["absent"] == []
    assert "left_ventricular_hypertrophy" in rows["t/3"]["present"]
    assert {"rapid_atrial_fibrillation", "atrial_fibrillation", "tachycardia"} <= set(rows["t/3"]["present"])
    assert rows["t/5"]["present"] == [
        "bundle_branch_block", "incomplete_right_bundle_branch_block",
        "intraventricular_conduction_disturbance",
    ]  # fmt: skip
    assert rows["t/6"]["present"] == rows["t/6"]["uncertain"] == rows["t/6"]["absent"] == []
    assert made.result.records == 7
    assert made.result.coverage == pytest.approx(6 / 7)
    assert made.result.entities["sinus_rhythm"] == {"train": {"present": 3}, "validation": {"present": 1}}
    assert made.result.statements_without_entity == 1
    unmatched = [row.text for row in statement_table.read(out).values() if not row.mentions]
    assert unmatched == ["Written by the machine"]


def test_parents_follow_by_switch(tmp_path: Path) -> None:
    shards = make_shards(tmp_path / "shards")
    made = stage.build(make_recipe(propagate=False), [shards], str(tmp_path / "labels"))
    rows = rows_of(str(tmp_path / "labels"))
    assert rows["t/0"]["present"] == ["abnormal_ecg", "inferior_infarction", "sinus_rhythm"]
    assert rows["t/1"]["uncertain"] == ["inferior_infarction"]
    assert "myocardial_infarction" not in made.result.entities


def test_a_statement_is_extracted_once(tmp_path: Path) -> None:
    extractor = Counting()
    shards = make_shards(tmp_path / "shards")
    stage.build(make_recipe(), [shards], str(tmp_path / "labels"), extractor=extractor)
    folded = [text.casefold() for text in extractor.asked]
    assert len(folded) == len(set(folded))
    table = pq.read_table(tmp_path / "labels" / "statements.parquet").to_pylist()
    assert len(table) == len(folded)
    by_text = {row["text"].casefold(): row for row in table}
    assert by_text["sinus rhythm"]["reports"] == 4
    (mention,) = by_text["possible inferior infarct"]["mentions"]
    assert (mention["entity"], mention["assertion"], mention["grade"]) == (
        "inferior_infarction", "uncertain", "possible",
    )  # fmt: skip


def test_the_vocabulary_counts_training_reports_only(tmp_path: Path) -> None:
    shards = make_shards(tmp_path / "shards")
    stage.build(make_recipe(min_count=1), [shards], str(tmp_path / "a"))
    assert "incomplete_right_bundle_branch_block" not in label_table.read_vocabulary(str(tmp_path / "a"))
    stage.build(make_recipe(min_count=3), [shards], str(tmp_path / "b"))
    assert label_table.read_vocabulary(str(tmp_path / "b")).ids == ("sinus_rhythm",)


def test_held_out_entities_and_what_implies_them_are_no_queries(tmp_path: Path) -> None:
    shards = make_shards(tmp_path / "shards")
    recipe = make_recipe(held_out=["atrial_fibrillation", "inferior_infarction"])
    made = stage.build(recipe, [shards], str(tmp_path / "labels"))
    ids = set(label_table.read_vocabulary(str(tmp_path / "labels")).ids)
    assert not ids & {"atrial_fibrillation", "rapid_atrial_fibrillation", "inferior_infarction"}
    assert {"myocardial_infarction", "tachycardia"} <= ids
    assert "slow_atrial_fibrillation" in made.result.held_out
    assert sorted(label_table.read_unseen(str(tmp_path / "labels"), made).ids) == made.result.held_out
    plain = stage.build(make_recipe(), [shards], str(tmp_path / "plain"))
    assert not plain.result.held_out
    assert not len(label_table.read_unseen(str(tmp_path / "plain"), plain))
    with_them, without = (label_table.read_labels(str(tmp_path / name)) for name in ("labels", "plain"))
    assert with_them.equals(without), "the label table has them"
    assert any("atrial_fibrillation" in ids for ids in with_them["present"].to_pylist())
    with pytest.raises(config.ConfigError, match="nearest: 'atrial_fibrillation'"):
        stage.build(make_recipe(held_out=["atrial_fibrilation"]), [shards], str(tmp_path / "x"))


def test_a_finished_stage_is_not_made_again_and_another_configuration_is_refused(tmp_path: Path) -> None:
    shards, out = make_shards(tmp_path / "shards"), str(tmp_path / "labels")
    first = stage.build(make_recipe(), [shards], out)
    extractor = Counting()
    assert stage.build(make_recipe(), [shards], out, extractor=extractor) == first
    assert extractor.asked == []
    with pytest.raises(config.ConfigError, match="min_count"):
        stage.build(make_recipe(min_count=2), [shards], out)
    again = stage.build(make_recipe(min_count=2), [shards], out, new=True)
    assert again.digest() != first.digest()


def test_an_interrupted_stage_is_finished_with_the_same_bytes(tmp_path: Path) -> None:
    shards, out = make_shards(tmp_path / "shards"), tmp_path / "labels"
    first = stage.build(make_recipe(), [shards], str(out))
    (out / manifest.MANIFEST).unlink()
    (out / label_table.LABELS).write_bytes(b"half")
    assert stage.build(make_recipe(), [shards], str(out)).digest() == first.digest()


def test_unfinished_shards_and_reports_without_entities_are_refused(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match=r"run jobs/shard\.py first"):
        stage.build(make_recipe(), [str(tmp_path / "none")], str(tmp_path / "labels"))
    shards = make_shards(tmp_path / "shards", [("train", "nothing to see")])
    with pytest.raises(config.ConfigError, match=r"lower labels\.min_count"):
        stage.build(make_recipe(), [shards], str(tmp_path / "labels"))


def test_present_beats_uncertain_beats_absent() -> None:
    def mention(entity: str, status: str) -> Mention:
        return Mention(entity, status, "", "", 0, 1)  # type: ignore[arg-type]

    labels = label_table.combine(
        [mention("st_elevation", s) for s in ("absent", "uncertain", "present")]
        + [mention("tachycardia", s) for s in ("absent", "uncertain")]
        + [mention("inferior_infarction", "uncertain"), mention("anterior_infarction", "present")],
        load_base(),
    )
    assert labels.present == ("anterior_infarction", "myocardial_infarction", "st_elevation")
    assert labels.uncertain == ("inferior_infarction", "tachycardia")
    assert labels.absent == ()
