"""One flipped bit is an error or changes nothing, in every codec and on every way; no column runs code."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_shards_read import GROUP, SAMPLES, write

from supreme import storage
from supreme.shards import file
from supreme.shards.codec import CODECS
from supreme.shards.read import ShardDataset
from supreme.shards.schema import SCHEMA
from supreme.storage.parquet import read_table, write_table

pytestmark = pytest.mark.unit

NAME = "train-00000.parquet"
FLIPS = 100


def _ways(shards: ShardDataset) -> dict[str, Callable[[], object]]:
    *_, group = shards.row_groups()
    rows = np.arange(group.rows)

    def copy() -> object:
        out = np.zeros((group.rows, 12, SAMPLES), np.int16)
        rest = shards.copy_signals(group, rows, out, rows, ["record_id", "split"])
        return out.tobytes(), rest.to_pylist()

    return {
        "copy_signals": copy,
        "read_row_group": lambda: shards.read_row_group(group).to_pylist(),
        "table": lambda: shards.table(SCHEMA.names).to_pylist(),
        "batches": lambda: [row for batch in shards.batches(None, 3) for row in batch.to_pylist()],
    }


def _flipped(content: bytes, rng: np.random.Generator) -> Iterator[bytes]:
    """Copies with one bit flipped: in the first page headers and the footer more often than in between."""
    bits = 8 * len(content)
    for bit in [*rng.integers(bits, size=FLIPS), *rng.integers(8 * 120, size=FLIPS // 4), bits - 100]:
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        yield bytes(damaged)


@pytest.mark.parametrize("compression", CODECS)
def test_one_flipped_bit_in_a_shard_is_never_another_sample(tmp_path, compression):
    shards = write(tmp_path, compression, {"train-00000": GROUP + 2})
    content = (tmp_path / NAME).read_bytes()
    truth = {name: way() for name, way in _ways(shards).items()}
    errors = dict.fromkeys(truth, 0)
    for damaged in _flipped(content, np.random.default_rng(0)):
        (tmp_path / NAME).write_bytes(damaged)
        file._footer.cache_clear()
        file._verify_signals.cache_clear()
        for name, way in _ways(shards).items():
            try:
                rows = way()
            except storage.StorageError as error:
                errors[name] += all(word in str(error) for word in (NAME, "jobs/verify.py", "--new"))
            else:
                assert rows == truth[name], name
    assert min(errors.values()) > FLIPS // 8, "most bits hold something"


def test_one_flipped_bit_in_a_table_is_never_another_value(tmp_path):
    table = pa.table(
        {"record_id": [f"d/{n}" for n in range(300)], "present": [[n % 7, n] for n in range(300)]}
    )
    uri = str(tmp_path / "labels.parquet")
    write_table(uri, table)
    content, errors = Path(uri).read_bytes(), 0
    for damaged in _flipped(content, np.random.default_rng(1)):
        Path(uri).write_bytes(damaged)
        try:
            rows = read_table(uri, schema=table.schema)
        except storage.StorageError as error:
            errors += uri in str(error)
        else:
            assert rows.equals(table)
    assert errors > FLIPS // 4


# ---- a forged file


class _Payload:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.target,)


def _forged(target: Path, rows: int) -> pa.Array:
    """A column whose values run a command when they become Python objects."""
    from ray.data._internal.object_extensions.arrow import ArrowPythonObjectType

    storage_array = pa.array([pickle.dumps(_Payload(target))] * rows, pa.large_binary())
    return pa.ExtensionArray.from_storage(ArrowPythonObjectType(), storage_array)


@pytest.mark.parametrize("column", ["report", "codes", "signal", "extra"])
def test_a_forged_shard_is_refused_before_a_value_is_read(tmp_path, column):
    shards = write(tmp_path, "none", {"train-00000": GROUP})
    target = tmp_path / "ran"
    table = pq.read_table(tmp_path / NAME)
    forged = _forged(target, len(table))
    field = pa.field(column, forged.type, nullable=False)
    where = table.schema.get_field_index(column)
    table = table.append_column(field, forged) if where < 0 else table.set_column(where, field, forged)
    pq.write_table(table, tmp_path / NAME)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["files"][NAME] |= {
        "bytes": (tmp_path / NAME).stat().st_size,
        "sha256": storage.sha256((tmp_path / NAME).read_bytes()),
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    shards = ShardDataset.open(str(tmp_path))
    for way in _ways(shards).values():
        with pytest.raises(storage.StorageError, match=rf"{NAME}.*{column}.*arrow_pickled_object"):
            way()
    assert not target.exists()


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("known", [False, True], ids=["type unknown to this process", "type known"])
def test_a_table_with_an_extension_column_is_refused(tmp_path, nested, known):
    target, uri = tmp_path / "ran", str(tmp_path / "labels.parquet")
    forged = _forged(target, 2)
    kind = forged.type
    field = pa.field("present", kind)
    if not known:
        forged, kind = forged.storage, forged.storage.type
        field = pa.field("present", kind, metadata={"ARROW:extension:name": "ray.data.arrow_pickled_object"})
    if nested:
        forged = pa.StructArray.from_arrays([forged], fields=[field.with_name("inner")])
        field = pa.field("present", forged.type)
    pq.write_table(
        pa.table([pa.array(["a", "b"]), forged], pa.schema([("record_id", pa.string()), field])), uri
    )
    for columns in (None, ["record_id"]):
        with pytest.raises(storage.StorageError, match=r"present.*may run code"):
            read_table(uri, columns)
    assert not target.exists()


def test_columns_of_other_types_and_missing_ones_are_named(tmp_path):
    uri = str(tmp_path / "labels.parquet")
    write_table(uri, pa.table({"record_id": ["a"], "present": [[1]], "more": [1]}))
    schema = pa.schema([("record_id", pa.string()), ("present", pa.list_(pa.int64()))])
    assert read_table(uri, schema=schema).column_names == ["record_id", "present"]
    with pytest.raises(
        storage.StorageError, match=r"labels\.parquet: column 'present' is of type list.*int64"
    ):
        read_table(uri, schema=pa.schema([("present", pa.list_(pa.int32()))]))
    with pytest.raises(storage.StorageError, match=r"no column 'absent'"):
        read_table(uri, schema=pa.schema([("absent", pa.int64())]))


def test_a_named_pipe_is_refused_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "labels.parquet")
    with pytest.raises(storage.StorageError, match="no regular file"):
        read_table(str(tmp_path / "labels.parquet"))
