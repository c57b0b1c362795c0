"""ECGs to read: simulated or real ones, as many times over as wanted, in shards and in the peers' ways."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import wfdb

from supreme import manifest, records
from supreme.ecg import LEADS, BadRecord
from supreme.preparation import check_record, resample_uv
from supreme.records.simulated import SimulatedSource
from supreme.settings.data import Shards
from supreme.shards import codec, writer
from supreme.shards.codec import Codec
from supreme.shards.result import SHARDS, ShardResult
from supreme.shards.schema import SCHEMA, part_name

#: Different ECGs; more records are these over again under new ids, further apart than zstd looks back.
DISTINCT = 256
_EMPTY: dict[pa.DataType, Any] = {pa.string(): "", pa.int32(): 0, pa.float64(): 0.0, pa.float32(): None}


@dataclass(frozen=True)
class Ecgs:
    """Record number i of a set of any size is ``signal_uv[i % len(signal_uv)]``."""

    name: str
    rate_hz: int
    signal_uv: np.ndarray
    """(D, 12, T) int16."""

    @property
    def samples(self) -> int:
        """Samples of a lead."""
        return self.signal_uv.shape[2]

    def signal_of(self, number: int) -> np.ndarray:
        """(12, T) of a record."""
        return self.signal_uv[number % len(self.signal_uv)]


def simulated(rate_hz: int, seed: int, count: int = DISTINCT) -> Ecgs:
    """Up to DISTINCT simulated ECGs."""
    source = SimulatedSource("simulated", min(count, DISTINCT), seed, rate_hz=rate_hz)
    return Ecgs("simulated", rate_hz, np.stack([_prepared(source.read(e), rate_hz) for e in source.index()]))


def real(folder: str, rate_hz: int) -> list[Ecgs]:
    """The first records of each data set in a folder that can be used."""
    found = []
    for source in records.discover(folder):
        opened = records.open_source(source.model_copy(update={"records": DISTINCT}), 0, rate_hz)
        signals = [made for entry in opened.index() if (made := _usable(opened, entry, rate_hz)) is not None]
        found += [Ecgs(source.dataset, rate_hz, np.stack(signals))] if signals else []
    return found


def together(name: str, parts: list[Ecgs]) -> Ecgs:
    """The different ECGs of several sets as one."""
    return Ecgs(name, parts[0].rate_hz, np.concatenate([part.signal_uv for part in parts]))


def _usable(source: records.RecordSource, entry: records.Entry, rate_hz: int) -> np.ndarray | None:
    try:
        return _prepared(source.read(entry), rate_hz)
    except BadRecord:
        return None


def _prepared(record: records.Record, rate_hz: int) -> np.ndarray:
    duration_s = Shards().duration_s
    checked = check_record(record, duration_s=duration_s)
    return resample_uv(checked.signal, checked.rate_hz, rate_hz, round(rate_hz * duration_s))[0]


def write_shards(folder: str, ecgs: Ecgs, count: int, compression: Codec) -> None:
    """A finished shard folder of ``count`` training records, numbered."""
    settings = Shards(rate_hz=ecgs.rate_hz, compression=compression)
    encoded = [codec.encode(one, compression) for one in ecgs.signal_uv]
    files: dict[str, manifest.FileEntry] = {}
    for index, first in enumerate(range(0, count, settings.records_per_shard)):
        last = min(count, first + settings.records_per_shard)
        files |= writer.write_shard(
            folder,
            f"{part_name('train', index)}.parquet",
            _row_groups(encoded, first, last, settings.row_group_size),
            compression,
        )
    sections = {"shards": settings.model_dump(mode="json")}
    request = manifest.Request(stage="shards", config=sections)
    manifest.publish(folder, SHARDS, request, ShardResult(records=count), files)


def _row_groups(encoded: list[bytes], first: int, last: int, size: int) -> Iterator[pa.Table]:
    for begin in range(first, last, size):
        numbers = range(begin, min(last, begin + size))
        given = {
            "record_id": [f"bench/{number}" for number in numbers],
            "split": ["train"] * len(numbers),
            "signal": [encoded[number % len(encoded)] for number in numbers],
        }
        rest = {f.name: [_EMPTY.get(f.type, [])] * len(numbers) for f in SCHEMA if f.name not in given}
        yield pa.table({name: (given | rest)[name] for name in SCHEMA.names}, SCHEMA)


def write_memory_map(file: Path, ecgs: Ecgs, count: int) -> None:
    """One array (count, 12, T) int16."""
    with file.open("wb") as stream:
        for number in range(count):
            stream.write(ecgs.signal_of(number).tobytes())


def write_wfdb(folder: Path, ecgs: Ecgs, count: int) -> list[str]:
    """Records in WFDB format 16 at 1 uV a step; returns their paths without extension."""
    folder.mkdir()
    for number in range(count):
        wfdb.wrsamp(
            str(number),
            fs=ecgs.rate_hz,
            units=["mV"] * len(LEADS),
            sig_name=list(LEADS),
            d_signal=ecgs.signal_of(number).T.astype(np.int64),
            fmt=["16"] * len(LEADS),
            adc_gain=[1000.0] * len(LEADS),
            baseline=[0] * len(LEADS),
            write_dir=str(folder),
        )
    return [str(folder / str(number)) for number in range(count)]
