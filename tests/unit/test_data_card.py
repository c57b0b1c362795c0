"""The data card says what shards hold, what leaks and what was refused; hostile text stays text."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pyarrow as pa
import pytest
from wfdb_writer import ecg_mv, write_mat_record, write_record

from supreme import config, storage
from supreme.config import ConfigError
from supreme.reporting import data_card
from supreme.settings.data import Shards, Source
from supreme.shards import part, plan

pytestmark = pytest.mark.unit

HOSTILE = "<script>alert(1)</script>"


def _write_folder(folder: Path, rows: list[dict[str, str]], seeds: list[int], *, mat: bool = False) -> None:
    folder.mkdir()
    with open(folder / "records.csv", "w", newline="") as stream:
        table = csv.DictWriter(stream, ["id", "patient_id", "report", "labels", "age", "sex", "split"])
        table.writeheader()
        table.writerows(rows)
    for row, seed in zip(rows, seeds, strict=True):
        write = write_mat_record if mat else write_record
        write(folder, row["id"], ecg_mv(seed=seed))


def _build(recipe: config.Recipe) -> None:
    for source in recipe.sources:
        planned = plan.survey(recipe, source)
        plan.begin(planned)
        for name, entries in planned.todo.items():
            part.write({"part": name, "entries": part.dump(entries)}, planned.job)
        plan.publish(planned)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> config.Recipe:
    """Two folders; in the first, a recording stands in training and test as of two patients."""
    root = tmp_path_factory.mktemp("card")
    person = {"patient_id": "1", "report": "sinus rhythm", "labels": HOSTILE, "age": "61", "sex": "F"}
    rows = [
        {"id": "a", **person, "split": "train"},
        {"id": "b", **person, "patient_id": "2", "split": "test"},
        {"id": "c", **person, "patient_id": "3", "split": "train", "report": ""},
        {"id": "broken", **person, "patient_id": "4", "split": "train"},
    ]
    _write_folder(root / "one", rows, [0, 0, 1, 2])
    (root / "one" / "broken.dat").write_bytes(b"")
    _write_folder(root / "two", [{"id": "c2", **person, "split": "test"}], [1], mat=True)
    sources = [Source(kind="wfdb_folder", name=name, uri=str(root / name)) for name in ("one", "two")]
    made = config.Recipe(
        name="card", root=str(root / "runs"), sources=sources, shards=Shards(max_rejected_fraction=0.5)
    )
    _build(made)
    return made


def test_a_record_counts_once_however_many_of_its_leads_are_flagged() -> None:
    flags = pa.chunked_array([[["flat:V1", "flat:V2", "clipped:V1"], [], ["flat:I"]]])
    assert sorted(data_card._kinds(flags)) == ["clipped", "flat", "flat"]


def test_it_counts_what_was_planted(recipe: config.Recipe) -> None:
    uri, made = data_card.write(recipe)
    [between] = made.result.leakage_across_datasets
    assert between.datasets == ("one", "two")
    assert (between.recordings, between.train_and_test) == (1, 1)
    assert between.examples == [("one/c", "two/c2")]
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", storage.read_bytes(uri).decode()))
    assert "one/c = two/c2" in text
    assert "one/a = one/b" in text
    assert "2 , across splits 2, of several patients 2" in text.replace("2, across", "2 , across")
    assert re.search(r"empty_file 1 one/broken", text)
    assert "3 records of 3 patients" in text


def test_text_of_the_data_is_never_markup(recipe: config.Recipe) -> None:
    page = storage.read_bytes(data_card.write(recipe)[0]).decode()
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)


def test_it_is_made_once_and_again_for_other_shards(recipe: config.Recipe) -> None:
    uri, made = data_card.write(recipe)
    before = Path(uri).stat().st_mtime_ns
    assert data_card.write(recipe)[1] == made
    assert Path(uri).stat().st_mtime_ns == before
    fewer = recipe.model_copy(update={"sources": recipe.sources[:1]})
    assert data_card.write(fewer)[1].result.leakage_across_datasets == []


def test_unfinished_shards_are_named(tmp_path: Path) -> None:
    recipe = config.Recipe(root=str(tmp_path), sources=[Source(kind="simulated", records=3)])
    with pytest.raises(ConfigError, match=r"shards/simulated is not finished: run jobs/shard\.py first"):
        data_card.write(recipe)
