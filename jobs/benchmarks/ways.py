"""Ways to read ECGs, each to int16 tensors (256, 12, T) in the main process, in an order it shuffled itself.

A rate is that of the middle half of a pass, when everything is under way; that of a short pass, in which most
is read ahead, is the rate of the whole. What else runs on the machine lowers rates, but hardly changes the
processor's time a record.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, cast

import pyarrow as pa
import torch
from torch.utils.data import DataLoader, RandomSampler

from benchmarks import Measurements, data
from benchmarks.data import Ecgs
from benchmarks.peers import MemoryMap, WfdbRecords
from benchmarks.timing import interleaved, processor_seconds
from supreme.settings.data import Shards
from supreme.shards.codec import CODECS
from supreme.training.data.corpus import Corpus
from supreme.training.data.order import Order
from supreme.training.data.ray_stream import dataset
from supreme.training.data.torch_dataset import Batches, to_tensor

BATCH_SIZE = 256
#: What is a hundred times slower reads this many times fewer records.
WFDB_SHARE = 8
READING_THREADS = 2
#: Batches; no way has more than a quarter of them read ahead.
LONG_PASS = 32
REFERENCE = "memory map, DataLoader 2"
LIMIT = "int16 in memory to float32 mV (limit)"
_MILLIVOLTS = 1e-3

Read = Callable[[], Iterator[tuple[Any, torch.Tensor]]]


@dataclass(frozen=True)
class Way:
    """A way to read: each call of ``read`` is a pass; it gives ids (or numbers) and signals of batches."""

    read: Read
    records: int
    files: tuple[str, ...] = ()
    """What it reads, where that is local."""


class Pass(NamedTuple):
    """What one pass took."""

    records_per_s: float
    first_batch_s: float
    processor_us: float
    """Of all processes and cores, a record."""


def write(folder: Path, ecgs: Ecgs, records: int) -> None:
    """The same ECGs for every way."""
    data.write_wfdb(folder / "wfdb", ecgs, records // WFDB_SHARE)
    data.write_memory_map(folder / "array", ecgs, records)
    for compression in CODECS:
        data.write_shards(str(folder / compression), ecgs, records, compression)


def local(folder: Path, ecgs: Ecgs, records: int, passes: int) -> dict[str, Way]:
    """The peers' ways and ours, each pass ``passes`` times over the records."""
    few = records // WFDB_SHARE
    wfdb = WfdbRecords([str(folder / "wfdb" / str(number)) for number in range(few)])
    ways = {"wfdb.rdsamp, DataLoader 2": Way(_peer_read(wfdb, 2, 1), few, files(folder / "wfdb"))}
    for workers in (0, 2):
        array = MemoryMap(str(folder / "array"), records, ecgs.samples)
        read = _peer_read(array, workers, passes)
        ways[f"memory map, DataLoader {workers}"] = Way(read, records, (array.file,))
    for compression in CODECS:
        corpus, shards = corpus_of(str(folder / compression), passes), files(folder / compression)
        ways[f"{compression} shards, torch"] = Way(torch_read(corpus), records, shards)
        if compression == Shards().compression:
            ways[f"{compression} shards, DataLoader 2"] = Way(torch_read(corpus, 2), records, shards)
        ways[f"{compression} shards, Ray Data"] = Way(ray_read(corpus), records, shards)
    return ways


def corpus_of(folder: str, passes: int) -> Corpus:
    """The training records of a folder, several times over."""
    return Corpus.open([folder] * passes, "train")


def torch_read(corpus: Corpus, workers: int = 0) -> Read:
    """Plain PyTorch: threads of this process, or worker processes."""
    batches = Batches(corpus, BATCH_SIZE, threads=1 if workers else READING_THREADS)
    loader = DataLoader(batches, batch_size=None, **_processes(workers))
    return lambda: ((batch["record_id"], batch["signal_uv"]) for batch in loader)


def ray_read(corpus: Corpus) -> Read:
    """Ray Data, without a copy between its shared memory and the tensor."""
    order = Order(corpus.sizes, 0, 1, BATCH_SIZE)

    def read() -> Iterator[tuple[Any, torch.Tensor]]:
        rows = dataset(corpus, order, 0, order.steps_until(order.records), threads=READING_THREADS)
        batches = rows.iter_batches(batch_size=BATCH_SIZE, batch_format="pyarrow", prefetch_batches=2)
        for batch in cast(Iterable[pa.Table], batches):
            yield batch.column("record_id").to_pylist(), to_tensor(batch, corpus.samples)

    return read


def _peer_read(records: WfdbRecords | MemoryMap, workers: int, passes: int) -> Read:
    sampler = RandomSampler(records, num_samples=passes * len(records))
    loader = DataLoader(records, BATCH_SIZE, sampler=sampler, **_processes(workers))
    return lambda: iter(loader)


def _processes(workers: int) -> Mapping[str, Any]:
    """Worker processes of a `DataLoader`: no forks of Ray's driver, which may then free no more objects."""
    if not workers:
        return {}
    return {"num_workers": workers, "persistent_workers": True, "multiprocessing_context": "forkserver"}


def check(name: str, way: Way, ecgs: Ecgs) -> None:
    """Read a pass: every record equally often, and each with its own signal.

    Raises:
        ValueError: it is not so.
    """
    seen: Counter[int] = Counter()
    for ids, signal_uv in way.read():
        plain = ids.tolist() if torch.is_tensor(ids) else ids
        numbers = [int(str(one).rpartition("/")[2]) for one in plain]
        for number, one in zip(numbers, signal_uv, strict=True):
            if not torch.equal(one, torch.from_numpy(ecgs.signal_of(number))):
                raise ValueError(f"{name}: record {number} is not what was written")
        seen.update(numbers)
    if len(seen) != way.records or len(set(seen.values())) != 1:
        raise ValueError(f"{name}: {len(seen):,} of {way.records:,} records, {set(seen.values())} times each")


def measure_all(ways: dict[str, Way], ecgs: Ecgs, repetitions: int) -> dict[str, Measurements]:
    """Medians of interleaved passes by way; ratios are taken within a repetition."""
    batches = torch.from_numpy(ecgs.signal_uv[:BATCH_SIZE].copy()).repeat(4, 1, 1).split(BATCH_SIZE)
    limit = Way(lambda: ((None, batch) for _ in range(8) for batch in batches), 0)
    passes = {name: partial(measure, way, ecgs.samples) for name, way in ways.items()}
    passes[LIMIT] = partial(measure, limit, ecgs.samples, millivolts=True)
    passes_by_way = interleaved(passes, repetitions)
    per_s = {name: [one.records_per_s for one in values] for name, values in passes_by_way.items()}
    measured: dict[str, Measurements] = {}
    for name in ways:
        reference = {"to_reference": _ratio(per_s[name], per_s[REFERENCE])} if REFERENCE in ways else {}
        measured[name] = {
            "records_per_s": round(median(per_s[name])),
            **reference,
            "to_limit": _ratio(per_s[name], per_s[LIMIT]),
            "processor_us": round(median(one.processor_us for one in passes_by_way[name])),
            "first_batch_s": round(median(one.first_batch_s for one in passes_by_way[name]), 2),
        }
    measured[LIMIT] = {"records_per_s": round(median(per_s[LIMIT]))}
    return measured


def _ratio(rates_per_s: list[float], others: list[float]) -> float:
    return round(median(a / b for a, b in zip(rates_per_s, others, strict=True)), 2)


def measure(way: Way, samples: int, *, millivolts: bool = False) -> Pass:
    """Read a pass; with ``millivolts`` each batch is made float32 millivolts on arrival."""
    buffer = torch.empty(BATCH_SIZE, 12, samples)
    processor_s = processor_seconds()
    times, counts = [time.perf_counter()], [0]
    for _, signal_uv in way.read():
        if millivolts:
            buffer[: len(signal_uv)].copy_(signal_uv).mul_(_MILLIVOLTS)
        times.append(time.perf_counter())
        counts.append(counts[-1] + len(signal_uv))
    processor_s = processor_seconds() - processor_s
    batches = len(times) - 1
    begin = batches // 4 if batches >= LONG_PASS else 0
    end = batches - begin
    rate = (counts[end] - counts[begin]) / (times[end] - times[begin])
    return Pass(rate, times[1] - times[0], 1e6 * processor_s / counts[-1])


def files(folder: Path) -> tuple[str, ...]:
    """What records are in: all but the manifest."""
    return tuple(str(file) for file in sorted(folder.iterdir()) if file.name != "manifest.json")
