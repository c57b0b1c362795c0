"""Scoring compared: the engine, from evaluation shards, against a bare loop over tensors in memory."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks import Measurements, table
from benchmarks.timing import interleaved, peak_memory
from supreme import log
from supreme.config import Recipe
from supreme.ecg import to_millivolts
from supreme.evaluation.baselines import RandomEncoder, random_encoder
from supreme.evaluation.shard_reader import ShardReader
from supreme.inference import engine
from supreme.inference.convention import InputConvention
from supreme.settings.data import Source
from supreme.shards import build, plan
from supreme.shards.read import ShardDataset

_RATES_HZ, _DURATION_S = (100, 500), 10.0
#: Of the tensors in memory; the loop goes over them again and again.
_IN_MEMORY = 512
_MEGABYTE = 2**20

Session = Callable[[], AbstractContextManager[None]]

logger = log.get("bench")


def compare(recipe: Recipe, session: Session) -> Measurements:
    """Time the engine with a model of the recipe, untrained, and the same model in a bare loop.

    `bench.records` simulated ECGs of 12 x 1,000 and of 12 x 5,000 samples, both ways on all cores.

    Returns:
        Median records/s of both, their median ratio, and the engine's peak memory.
    """
    rows: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory() as root, session():
        for rate_hz in _RATES_HZ:
            shards = _shards(recipe, root, rate_hz)
            convention = InputConvention(rate_hz=rate_hz, samples=round(rate_hz * _DURATION_S))
            model = RandomEncoder(recipe.model, convention, seed=0)
            _engine(shards, model, root)  # the first one starts Ray's workers
            with peak_memory() as peak:
                ways = {
                    "engine": partial(_engine, shards, model, root),
                    "bare": partial(_bare, shards, model),
                }
                rates = interleaved(ways, recipe.bench.repetitions)
            ratios = [ours / bare for ours, bare in zip(rates["engine"], rates["bare"], strict=True)]
            rows[f"12 x {convention.samples:,}"] = {
                "bare loop": round(median(rates["bare"])),
                "engine": round(median(rates["engine"])),
                "engine / bare": round(median(ratios), 2),
                "peak MB": round(peak.value / _MEGABYTE),
            }
    for line in table(rows):
        logger.info(line)
    return {"suite": "scoring", "encoder": recipe.model.encoder, "records": recipe.bench.records, **rows}


def _shards(recipe: Recipe, root: str, rate_hz: int) -> ShardDataset:
    source = Source(kind="simulated", records=recipe.bench.records)
    shards = recipe.shards.model_copy(update={"rate_hz": rate_hz, "duration_s": _DURATION_S})
    own = recipe.model_copy(update={"root": root, "name": f"hz{rate_hz}", "shards": shards})
    planned = plan.survey(own, source, whole=True)
    build.carry_out(planned)
    return ShardDataset.open(planned.job.folder)


def _engine(shards: ShardDataset, model: RandomEncoder, root: str) -> float:
    """Records/s from shards to written parts."""
    records = sum(group.rows for group in shards.row_groups())
    reader, parts = ShardReader.of(shards, np.ones(records, bool)), Path(root, "parts")
    start = time.monotonic()
    engine.score(reader, model, str(parts), "simulated")
    seconds = time.monotonic() - start
    shutil.rmtree(parts)
    return records / seconds


def _bare(shards: ShardDataset, model: RandomEncoder) -> float:
    """Records/s of the model on tensors that are in memory already, with the threads that torch takes."""
    first = shards.read_row_group(shards.row_groups()[0])
    some = np.stack([signal_uv for signal_uv, _ in shards.records_uv(first)])
    windows = np.resize(some, (_IN_MEMORY, *some.shape[1:]))
    encoder = random_encoder(model.model, model.convention.samples, model.seed)
    batches = torch.from_numpy(to_millivolts(windows)).split(engine.BATCH_SIZE)
    records = sum(group.rows for group in shards.row_groups())
    start = time.monotonic()
    with torch.inference_mode():
        for number in range(records // engine.BATCH_SIZE):
            encoder.encode(batches[number % len(batches)]).mean(dim=1)
    return records / (time.monotonic() - start)
