"""Shard files: row groups, compression, hashes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

import numpy as np
import pyarrow as pa

from supreme import storage
from supreme.manifest import FileEntry
from supreme.shards import codec, fingerprint
from supreme.shards.rows import ShardRow
from supreme.shards.schema import SCHEMA
from supreme.storage.parquet import parquet_writer


def write_shard(
    folder: str, name: str, row_groups: Iterable[pa.Table], compression: codec.Codec
) -> dict[str, FileEntry]:
    """Write a shard of tables of `SCHEMA`, a row group each, their signals encoded with ``compression``."""
    library, level = codec.compression(compression)
    # A dictionary or statistics on the signal would cost time and size, and say nothing.
    plain = [column for column in SCHEMA.names if column != "signal"]
    return write_table(
        folder,
        name,
        row_groups,
        compression=library,
        compression_level=level,
        use_dictionary=plain,
        write_statistics=plain,
        write_batch_size=1,
        data_page_size=codec.page_bytes(compression),
    )


def encode_row_groups(rows: Iterator[ShardRow], size: int, compression: codec.Codec) -> Iterator[pa.Table]:
    """Yield tables of `SCHEMA` with ``size`` rows each, the last one shorter."""
    for first in rows:
        # Each signal is encoded into its place, so that the column needs no second copy of them all.
        width = first.signal_uv.nbytes
        signals = np.frombuffer(pa.allocate_buffer(size * width), np.uint8).reshape(size, width)
        metadata, differences = [], []
        for encoded, row in zip(signals, chain([first], rows), strict=False):
            codec.pack(row.signal_uv, compression, encoded)
            metadata.append(row.metadata)
            differences.append(row.block_differences)
        yield _table(codec.plain_column(signals[: len(metadata)]), metadata, differences)


def encode_whole_records(rows: Iterator[ShardRow], size: int, compression: codec.Codec) -> Iterator[pa.Table]:
    """As :func:`encode_row_groups`, for signals of different lengths."""
    while group := list(islice(rows, size)):
        signals = pa.array([codec.encode(row.signal_uv, compression) for row in group], pa.binary())
        yield _table(signals, [row.metadata for row in group], [row.block_differences for row in group])


def _table(
    signals: pa.BinaryArray, metadata: list[dict[str, Any]], differences: list[np.ndarray]
) -> pa.Table:
    fingerprints = fingerprint.to_hex(fingerprint.simhash_bits(np.stack(differences)))
    columns = {"signal": signals, "fingerprint": fingerprints}
    columns |= {name: [row[name] for row in metadata] for name in metadata[0]}
    return pa.table({name: columns[name] for name in SCHEMA.names}, SCHEMA)


def write_table(
    folder: str, name: str, row_groups: Iterable[pa.Table], **options: Any
) -> dict[str, FileEntry]:
    """Write each table as a row group; without tables, no file."""
    tables = iter(row_groups)
    first = next(tables, None)
    if first is None:
        return {}
    n_rows = 0
    with storage.writing(storage.join(folder, name)) as stream:
        hashed = _Hashed(stream)
        with parquet_writer(hashed, first.schema, **options) as writer:
            for table in chain([first], tables):
                writer.write_table(table, row_group_size=len(table))
                n_rows += len(table)
    return {name: FileEntry(sha256=hashed.sha256.hexdigest(), bytes=hashed.size, rows=n_rows)}


class _Hashed(io.RawIOBase):
    """Computes the sha256 and size of what is written to a stream."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self.stream, self.sha256, self.size = stream, hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self.sha256.update(content)
        self.stream.write(content)
        self.size += len(content)
        return len(content)

    def tell(self) -> int:
        return self.size
