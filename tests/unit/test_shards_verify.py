"""Every kind of damage to finished shards is named with its file and remedy; sound ones pass."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from supreme import config, manifest
from supreme.config import ConfigError
from supreme.settings.data import Source
from supreme.shards import part, plan, verify
from supreme.shards.result import SHARDS

pytestmark = pytest.mark.unit

SIMULATED = Source(kind="simulated", records=24)


def _recipe(root: Path) -> config.Recipe:
    shards = {"records_per_shard": 10, "row_group_size": 4, "max_rejected_fraction": 1}
    return config.parse({"name": "t", "root": str(root), "shards": shards})


def _make(root: Path) -> Path:
    planned = plan.survey(_recipe(root), SIMULATED)
    plan.begin(planned)
    for name, entries in planned.todo.items():
        part.write({"part": name, "entries": part.dump(entries)}, planned.job)
    plan.publish(planned)
    return Path(planned.job.folder)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _make(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy to damage, where the recipe of `tmp_path` has it."""
    copy = Path(plan.folder_of(_recipe(tmp_path), SIMULATED))
    shutil.copytree(sound, copy)
    return copy


def _rewrite(file: Path, change: Callable[[pa.Table], pa.Table], row_group_size: int = 4) -> None:
    """Write another table and describe it: what a hash alone would take for sound."""
    pq.write_table(change(pq.read_table(file)), file, row_group_size=row_group_size)
    made = manifest.require(str(file.parent), SHARDS)
    entry = manifest.describe(str(file), made.files[file.name].rows)
    request = manifest.Request(stage="shards", config=made.config)
    files = made.files | {file.name: entry}
    manifest.publish(str(file.parent), SHARDS, request, made.result, files)


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)


def _replace(column: str, row: int, value: str) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        values = table[column].to_pylist()
        values[row] = value
        where = table.column_names.index(column)
        return table.set_column(where, table.schema.field(column), pa.array(values, pa.string()))

    return change


def _torn(file: Path) -> None:
    """A patient of `train` in `test` as well."""
    patient = pq.read_table(file)["patient_id"][0].as_py()
    _rewrite(file.parent / "test-00000.parquet", _replace("patient_id", 0, patient))


AGAIN, AFRESH = "delete it and run", "--new"
DAMAGE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "gone": (lambda file: file.unlink(), "train-00000.parquet is missing", AGAIN),
    "cut": (
        lambda file: os.truncate(file, 1000),
        r"00000.parquet has 1,000 bytes instead of \d",
        AGAIN,
    ),
    "flipped": (_flip, "train-00000.parquet has other bytes", AGAIN),
    "rows": (lambda file: _rewrite(file, lambda table: table[1:]), "has 9 rows instead of 10", AFRESH),
    "groups": (lambda file: _rewrite(file, lambda table: table, 5), r"row groups of \[5, 5\]", AFRESH),
    "columns": (lambda file: _rewrite(file, lambda table: table.drop(["sex"])), "has other columns", AFRESH),
    "doubled": (
        lambda file: _rewrite(file, _replace("record_id", 1, "simulated/000000")),
        r"1 records stand in several rows \(simulated/000000\)",
        AFRESH,
    ),
    "torn": (_torn, r"1 patients stand in several splits \(simulated/p", AFRESH),
}


def test_sound_shards_pass_and_are_counted(sound):
    made = manifest.require(str(sound), SHARDS)
    n_bytes = sum((sound / name).stat().st_size for name in made.files)
    counted = verify.FolderSize(files=len(made.files), bytes=n_bytes, records=24)
    assert verify.verify([str(sound)]) == verify.sizes([str(sound)]) == {str(sound): counted}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named_with_its_remedy(folder, kind):
    damage, message, remedy = DAMAGE[kind]
    damage(folder / "train-00000.parquet")
    with pytest.raises(verify.Damaged, match=message) as raised:
        verify.verify([str(folder)])
    assert remedy in str(raised.value)
    assert "problems found: 1" in str(raised.value)


def test_all_folders_are_read_before_damage_is_said_and_the_remedy_works(folder, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    for place in (folder, other):
        _flip(place / "train-00001.parquet")
    with pytest.raises(verify.Damaged, match="problems found: 2"):
        verify.verify([str(folder), str(other)])
    (folder / "train-00001.parquet").unlink()
    _make(tmp_path)
    assert list(verify.verify([str(folder)])) == [str(folder)]


def test_an_unfinished_folder_is_no_damage(tmp_path):
    with pytest.raises(ConfigError, match=r"run jobs/shard\.py first"):
        verify.verify([str(tmp_path)])
