"""What one row of a shard holds, how shards are named, and how signals become bytes.

``signal`` is plain Arrow binary: ``12 x samples`` int16 microvolts, little-endian, lead-major in the order of
`ecg.LEADS`. List and tensor columns are ten times slower to read, and extension types are not plain data.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from supreme.ecg import N_LEADS

SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("patient_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("signal", pa.binary(), nullable=False),
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


def signal_bytes(signal_uv: np.ndarray) -> bytes:
    """``(12, T)`` int16 microvolts as the bytes of the `signal` column."""
    assert signal_uv.shape[0] == N_LEADS
    return signal_uv.astype("<i2", copy=False).tobytes()
