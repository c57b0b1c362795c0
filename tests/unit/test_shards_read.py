"""Reading shards: what was written comes back, in order, without a copy."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from supreme import manifest, storage
from supreme.config import ConfigError
from supreme.manifest import FileEntry, Request
from supreme.shards import codec, plain_page, read, writer
from supreme.shards.codec import CODECS, Codec
from supreme.shards.file import _footer
from supreme.shards.read import RowGroup, ShardDataset, signals_uv
from supreme.shards.result import SHARDS, ShardResult
from supreme.shards.schema import METADATA_COLUMNS, SCHEMA, part_name

pytestmark = pytest.mark.unit

SAMPLES, GROUP = 50, 4
ROWS = {"train-00000": 10, "train-00001": 4, "test-00000": 3}


def _signal(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(-32767, 32767, (12, SAMPLES), dtype=np.int16)


def _table(first: int, rows: int, split: str, compression: Codec) -> pa.Table:
    """Rows that differ in id and signal; any other column is empty."""
    numbers = range(first, first + rows)
    given = {
        "record_id": [f"d/{number:03d}" for number in numbers],
        "split": [split] * rows,
        "signal": [codec.encode(_signal(number), compression) for number in numbers],
    }
    empty = {pa.string(): "", pa.int32(): 0, pa.float64(): 0.0, pa.float32(): None}
    return pa.table(
        {field.name: given.get(field.name) or [empty.get(field.type, [])] * rows for field in SCHEMA}, SCHEMA
    )


def write(folder: Path, compression: Codec = "none", shards: dict[str, int] = ROWS) -> ShardDataset:
    """ShardDataset of so many rows, in row groups of GROUP."""
    number, files = 0, {}
    section = {"rate_hz": 100, "duration_s": SAMPLES / 100, "row_group_size": GROUP}
    for name, rows in shards.items():
        table = _table(number, rows, name.split("-")[0], compression)
        groups = [table.slice(at, GROUP) for at in range(0, rows, GROUP)]
        files |= writer.write_shard(str(folder), f"{name}.parquet", groups, compression)
        number += rows
    files["rejected/train-00000.parquet"] = FileEntry(sha256="", bytes=1, rows=2)
    request = Request(stage="shards", config={"shards": section | {"compression": compression}})
    manifest.publish(str(folder), SHARDS, request, ShardResult(records=number), files)
    return ShardDataset.open(str(folder))


@pytest.fixture
def shards(tmp_path: Path) -> ShardDataset:
    return write(tmp_path)


def test_row_groups_follow_from_the_manifest_and_match_the_files(shards):
    assert shards.row_groups("test") == [RowGroup("test-00000.parquet", 0, 3)]
    train = shards.row_groups("train")
    assert [group.rows for group in train] == [4, 4, 2, 4]
    for group in shards.row_groups():
        assert len(shards.read_row_group(group)) == group.rows
    assert len(shards.row_groups(["train", "test"])) == len(shards.row_groups()) == 5
    assert shards.row_groups("validation") == []


@pytest.mark.parametrize("compression", CODECS)
def test_signals_come_back_as_written_in_every_codec(tmp_path, compression):
    shards = write(tmp_path, compression)
    for group in shards.row_groups("train"):
        table = shards.read_row_group(group)
        signal_uv = signals_uv(table, shards.samples)
        expected = np.stack([_signal(int(name[2:])) for name in table["record_id"].to_pylist()])
        np.testing.assert_array_equal(signal_uv, expected)
        assert signal_uv.dtype == np.int16
        assert not signal_uv.flags.owndata
        assert not signal_uv.flags.writeable
    assert shards.read_row_group(group).schema == SCHEMA
    assert shards.read_row_group(group, ["signal"]).column_names == ["signal"]
    whole = shards.table(["record_id", "signal"], "train")
    assert whole["signal"][3].as_py() == _signal(3).tobytes()


@pytest.mark.parametrize(
    ("compression", "plain"), [*((one, False) for one in CODECS), ("none", True)], ids=str
)
def test_signals_are_copied_to_the_places_asked_for(tmp_path, compression, plain, monkeypatch):
    monkeypatch.setattr(read, "_CACHED_BYTES", 3 * 12 * SAMPLES * 2)  # a row group in several batches
    unused = "_copy_decoded" if plain else "_copy_plain"
    monkeypatch.setattr(ShardDataset, unused, lambda *_: pytest.fail("not this way") if plain else False)
    shards = write(tmp_path, compression)
    group = shards.row_groups("train")[1]
    rows, places = np.array([2, 0, 2, 3]), np.array([5, 0, 1, 4])
    out = np.full((6, 12, SAMPLES), 77, np.int16)
    table = shards.copy_signals(group, rows, out, places, ["record_id"])
    assert table.column_names == ["record_id"]
    numbers = [int(name[2:]) for name in table["record_id"].to_pylist()]
    assert numbers == [6, 4, 6, 7]
    np.testing.assert_array_equal(out[places], np.stack([_signal(number) for number in numbers]))
    assert (out[[2, 3]] == 77).all(), "no other place is written to"


def test_plain_signals_need_no_page_of_their_own(tmp_path):
    """Uncompressed shards that were written with another layout are read all the same."""
    shards = write(tmp_path, "none")
    [group, *_] = shards.row_groups("test")
    table = pq.read_table(tmp_path / group.file)
    for page, directly in ((1, False), (2**30, True)):
        file = str(tmp_path / "again.parquet")
        options = {"write_batch_size": 1, "use_dictionary": False, "write_statistics": False}
        pq.write_table(table, file, compression="none", data_page_size=page, **options)
        out = np.zeros((3, 12, SAMPLES), np.int16)
        pairs = [(row, row) for row in range(3)]
        metadata = pq.read_metadata(file)
        assert plain_page.copy(file, metadata, 0, pairs, out) == directly
    np.testing.assert_array_equal(out, signals_uv(table, SAMPLES))
    page = metadata.row_group(0).column(SCHEMA.names.index("signal"))
    os.truncate(file, page.data_page_offset + page.total_compressed_size - 1)
    assert not plain_page.copy(file, metadata, 0, pairs, out), "the last byte is missing"


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
        ShardDataset.open(str(tmp_path / "none"))


def test_signals_held_in_an_unknown_way_are_refused(tmp_path):
    write(tmp_path, "none")
    file = tmp_path / "manifest.json"
    file.write_text(file.read_text().replace('"compression": "none"', '"compression": "zstd"'))
    with pytest.raises(ConfigError, match=r"encoded as 'zstd', which is none of lz4.*jobs/shard\.py --new"):
        ShardDataset.open(str(tmp_path))


def test_the_schema_is_plain_data():
    assert SCHEMA.field("signal").type == pa.binary()
    assert not any(isinstance(field.type, pa.ExtensionType) for field in SCHEMA)
    assert part_name("train", 3) == "train-00003"


# ---- what happens to files after they were finished


def test_a_missing_shard_is_named_with_the_remedy(shards):
    Path(shards.folder, "train-00001.parquet").unlink()
    with pytest.raises(ConfigError, match=r"train-00001\.parquet is missing.*1 of 3.*run jobs/shard"):
        ShardDataset.open(shards.folder)


def test_a_shard_of_another_size_is_named_with_both(shards):
    file = Path(shards.folder, "test-00000.parquet")
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ConfigError, match=rf"test-00000\.parquet has {size - 1:,} bytes instead of {size:,}"):
        ShardDataset.open(shards.folder)


@pytest.mark.parametrize("damage", ["the footer", "a page", "all of it"])
def test_damage_of_the_same_size_is_an_error_that_names_the_shard(tmp_path, damage):
    shards = write(tmp_path, "zstd-3")
    file = tmp_path / "train-00000.parquet"
    content = bytearray(file.read_bytes())
    where = {"the footer": slice(-200, -8), "a page": slice(300, 2000), "all of it": slice(None)}[damage]
    content[where] = b"\xa5" * len(content[where])
    file.write_bytes(content)
    [group] = [g for g in shards.row_groups() if (g.file, g.index) == ("train-00000.parquet", 0)]
    out, rows = np.zeros((group.rows, 12, SAMPLES), np.int16), np.arange(group.rows)
    ways = (
        lambda: shards.read_row_group(group),
        lambda: shards.table(SCHEMA.names),
        lambda: shards.copy_signals(group, rows, out, rows, ["record_id"]),
    )
    for way in ways:
        with pytest.raises(
            storage.StorageError,
            match=r"train-00000\.parquet.*cannot be read.*jobs/verify.py.*delete it.*--new",
        ):
            way()


def test_shards_made_anew_are_not_read_with_the_old_footer(tmp_path):
    first = write(tmp_path, "none")
    assert len(first.read_row_group(first.row_groups()[0])) > 0
    second = write(tmp_path, "delta")
    for group in second.row_groups():
        table = second.read_row_group(group)
        expected = np.stack([_signal(int(name[2:])) for name in table["record_id"].to_pylist()])
        np.testing.assert_array_equal(signals_uv(table, SAMPLES), expected)


def test_a_footer_is_parsed_once(shards):
    before = _footer.cache_info().misses
    for _ in range(3):
        for group in shards.row_groups():
            shards.read_row_group(group, ["record_id"])
    assert _footer.cache_info().misses - before == len(ROWS)


def test_threads_and_forked_processes_read_at_once(shards):
    groups = shards.row_groups() * 8
    expected = [shards.read_row_group(group).column("record_id").to_pylist() for group in groups]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda group: _ids(shards, group), groups)) == expected
    with multiprocessing.get_context("fork").Pool(2) as processes:
        assert processes.starmap(_ids, [(shards, group) for group in groups[:5]]) == expected[:5]


def _ids(shards: ShardDataset, group: RowGroup) -> list[str]:
    return shards.read_row_group(group).column("record_id").to_pylist()
