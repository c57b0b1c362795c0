"""Reading shards: what was written comes back, in order, without a copy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from supreme import manifest
from supreme.config import ConfigError
from supreme.manifest import FileEntry, Request
from supreme.shards import codec
from supreme.shards.read import RowGroup, Shards, signals_uv
from supreme.shards.schema import METADATA_COLUMNS, SCHEMA, part_name, signal_sha256

pytestmark = pytest.mark.unit

SAMPLES, GROUP = 50, 4
ROWS = {"train-00000": 10, "train-00001": 4, "test-00000": 3}


def _signal(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(-32767, 32767, (12, SAMPLES), dtype=np.int16)


def _row(number: int, split: str) -> dict[str, object]:
    return {
        "record_id": f"d/{number:03d}",
        "dataset": "d",
        "patient_id": f"d/p{number}",
        "split": split,
        "signal": codec.encode(_signal(number), "zstd"),
        "signal_sha256": signal_sha256(_signal(number)),
        "n_valid": SAMPLES,
        "rate_hz": 100,
        "source_rate_hz": 500.0,
        "report": "sinus rhythm",
        "codes": ["a", "b"],
        "age": None,
        "sex": "",
        "quality": [],
        "source_uri": "",
    }


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    folder, number, files = str(tmp_path), 0, {}
    config = {"shards": {"rate_hz": 100, "duration_s": SAMPLES / 100, "row_group_size": GROUP}}
    request = Request(stage="shards", config=config)
    manifest.begin(folder, request)
    for name, rows in ROWS.items():
        table = pa.Table.from_pylist([_row(number + i, name.split("-")[0]) for i in range(rows)], SCHEMA)
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=GROUP)
        files[f"{name}.parquet"] = FileEntry(sha256="", bytes=1, rows=rows)
        number += rows
    files["rejected/train-00000.parquet"] = FileEntry(sha256="", bytes=1, rows=2)
    manifest.publish(folder, request, {}, files)
    return Shards.open(folder)


def test_row_groups_follow_from_the_manifest_and_match_the_files(shards):
    assert shards.row_groups("test") == [RowGroup("test-00000.parquet", 0, 3)]
    train = shards.row_groups("train")
    assert [group.rows for group in train] == [4, 4, 2, 4]
    for group in shards.row_groups():
        assert len(shards.read_row_group(group)) == group.rows
    assert len(shards.row_groups(["train", "test"])) == len(shards.row_groups()) == 5
    assert shards.row_groups("validation") == []


def test_signals_come_back_as_written_without_a_copy(shards):
    for group in shards.row_groups("train"):
        table = shards.read_row_group(group)
        signal_uv = signals_uv(table, shards.samples)
        expected = np.stack([_signal(int(name[2:])) for name in table["record_id"].to_pylist()])
        np.testing.assert_array_equal(signal_uv, expected)
        assert signal_uv.dtype == np.int16
        assert not signal_uv.flags.owndata
        assert not signal_uv.flags.writeable


@pytest.mark.parametrize("size", [1, 3, 4, 5, 14, 100])
def test_batches_hold_every_record_once_in_order(shards, size):
    batches = list(shards.batches("train", size, ["record_id", "signal"]))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    names = [name for batch in batches for name in batch["record_id"].to_pylist()]
    assert names == [f"d/{number:03d}" for number in range(14)]
    signal_uv = np.concatenate([signals_uv(batch, SAMPLES) for batch in batches])
    np.testing.assert_array_equal(signal_uv, np.stack([_signal(number) for number in range(14)]))


def test_metadata_is_one_table_without_signals(shards):
    table = shards.table()
    assert table.column_names == list(METADATA_COLUMNS)
    assert len(table) == 17
    assert shards.table(["split"], "test")["split"].to_pylist() == ["test"] * 3
    assert len(shards.table(["record_id"], "validation")) == 0
    assert shards.table(["record_id"], "validation").column_names == ["record_id"]


def test_a_sliced_or_chunked_table_gives_the_right_signals(shards):
    whole = pa.concat_tables([shards.read_row_group(group) for group in shards.row_groups("train")])
    expected = np.stack([_signal(number) for number in range(14)])
    np.testing.assert_array_equal(signals_uv(whole.slice(3, 7), SAMPLES), expected[3:10])
    np.testing.assert_array_equal(signals_uv(whole.slice(0, 0), SAMPLES), expected[:0])


def test_another_length_is_an_error_not_a_wrong_picture(shards):
    table = shards.read_row_group(shards.row_groups("test")[0])
    with pytest.raises(ValueError, match="another length"):
        signals_uv(table, SAMPLES // 2)


def test_an_unfinished_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"run jobs/shard\.py first"):
        Shards.open(str(tmp_path / "none"))


def test_the_schema_is_plain_data():
    assert SCHEMA.field("signal").type == pa.binary()
    assert not any(isinstance(field.type, pa.ExtensionType) for field in SCHEMA)
    assert part_name("train", 3) == "train-00003"
