"""What one row of a shard holds, and how shards are named.

``signal`` is plain Arrow binary, made and read by :mod:`supreme.shards.codec`. List and tensor columns are
ten times slower to read, and extension types are not plain data.
"""

from __future__ import annotations

import pyarrow as pa

SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("patient_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("fold", pa.int32()),
        pa.field("signal", pa.binary(), nullable=False),
        pa.field("fingerprint", pa.string(), nullable=False),
        pa.field("n_valid", pa.int32(), nullable=False),
        pa.field("rate_hz", pa.int32(), nullable=False),
        pa.field("source_rate_hz", pa.float64(), nullable=False),
        pa.field("report", pa.string(), nullable=False),
        pa.field("codes", pa.list_(pa.string()), nullable=False),
        pa.field("age", pa.float32()),
        pa.field("sex", pa.string(), nullable=False),
        pa.field("quality", pa.list_(pa.string()), nullable=False),
        pa.field("source_uri", pa.string(), nullable=False),
    ]
)

#: One row a refused record: nothing is left out of the shards without one.
REJECTED_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("record_id", "dataset", "reason", "detail", "source_uri")]
)

METADATA_COLUMNS = tuple(name for name in SCHEMA.names if name != "signal")


def part_name(split: str, number: int) -> str:
    """`train-00000`: the stem of a shard, of its rejected rows and of its part file."""
    return f"{split}-{number:05d}"
