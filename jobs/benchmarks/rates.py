"""Rates of one core or one GPU of this machine, in the form that `jobs/plan.py` takes as `plan.rates`.

On a CPU the seconds of this process count: what others do on a shared machine is hardly in them.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median

import pyarrow.parquet as pq
import torch

from benchmarks import Measurements, labels, model
from benchmarks.building import DISTINCT, RATE_HZ
from benchmarks.timing import interleaved
from supreme import config, log
from supreme.ecg import N_LEADS
from supreme.models.supreme import SupremeModel
from supreme.planning.rates import HostRates, MachineRates, TrainingRate
from supreme.records.simulated import write_mimic_folder
from supreme.reports.spread import in_process
from supreme.settings.data import Source
from supreme.shards import part
from supreme.shards.read import signals_uv
from supreme.shards.schema import part_name

SAMPLES = (1000, 5000)
REPORTS = 20_000
_PART = part_name("train", 0)

Session = Callable[[], AbstractContextManager[None]]


def measure(recipe: config.Recipe, session: Session) -> Measurements:
    """Rates of building, labelling, reading, training and scoring, as medians; starts no Ray.

    Training is that of the recipe's encoder, ResNet-18 and ViT-tiny, with `training.batch_size`, on one core
    or, with `training.gpu`, one GPU. With `--result-file` the result is a file for `plan.rates`.
    """
    torch.set_num_threads(1)
    device = "cuda" if recipe.training.gpu else "cpu"
    Path(recipe.root).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=recipe.root, prefix="bench-") as folder:
        write_mimic_folder(f"{folder}/raw", DISTINCT, recipe.seed)
        source = Source(kind="mimic_iv_ecg", uri=f"{folder}/raw")
        shards = recipe.shards.model_copy(
            update={"rate_hz": RATE_HZ, "duration_s": 10.0, "compression": "lz4"}
        )
        job = part.Job(source, shards, recipe.seed, f"{folder}/shards")
        row = {"part": _PART, "entries": part.dump(job.open_source().index())}
        ways = {
            "built": lambda: _write(row, job),
            "read": lambda: _read(f"{job.folder}/{_PART}.parquet", shards.samples),
        }
        for way in ways.values():
            way()  # imports, page cache
        turns = {name: partial(model.timed, way, "cpu") for name, way in ways.items()}
        seconds = interleaved(turns, recipe.bench.repetitions)
        labelled_s = model.timed(lambda: _label(f"{folder}/labels", recipe.seed), "cpu")
    result = MachineRates(
        machine=_machine(device),
        device="gpu" if device == "cuda" else "cpu",
        measured=datetime.now(UTC).date(),
        by="jobs/bench.py",
        host=HostRates(
            built_per_s=round(DISTINCT / median(seconds["built"])),
            labelled_per_s=round(REPORTS / labelled_s),
            read_per_s=round(DISTINCT / median(seconds["read"])),
        ),
        training=tuple(_training(recipe, device)),
    )
    for rate in result.training:
        log.get("bench").info(f"{rate.encoder} 12 x {rate.samples:,}: {rate.records_per_s:,.0f} records/s")
    return result.model_dump(mode="json")


def _write(row: dict[str, str], job: part.Job) -> None:
    part.write(row, job)


def _read(file: str, samples: int) -> None:
    signals_uv(pq.read_table(file, columns=["signal"], use_threads=False), samples)


def _label(folder: str, seed: int) -> None:
    labels.run(folder, REPORTS, seed, in_process)


def _training(recipe: config.Recipe, device: str) -> Iterator[TrainingRate]:
    for encoder in dict.fromkeys([recipe.model.encoder, "resnet1d_18", model.VIT]):
        same = encoder == recipe.model.encoder
        plain = {"encoder": encoder, "width": None, "depth": None, "heads": None, "tokens": "joint"}
        settings = recipe.model if same else recipe.model.model_copy(update=plain)
        for samples in SAMPLES:
            ecg = torch.randn(recipe.training.batch_size, N_LEADS, samples, device=device)
            ways = {"step": model.whole_step(settings, ecg), "scoring": _scoring(settings, ecg)}
            for way in ways.values():
                way()  # the first one allocates
            turns = {name: partial(model.timed, way, device) for name, way in ways.items()}
            seconds = interleaved(turns, recipe.bench.repetitions)
            yield TrainingRate(
                encoder=encoder,
                samples=samples,
                records_per_s=round(len(ecg) / median(seconds["step"]), 1),
                scored_per_s=round(len(ecg) / median(seconds["scoring"]), 1),
            )


def _scoring(settings: config.Model, ecg: torch.Tensor) -> model.Step:
    scorer = SupremeModel(settings, model.TEXT_DIM, ecg.shape[-1]).to(ecg.device).eval()
    queries = torch.randn(model.ENTITIES, model.TEXT_DIM, device=ecg.device)

    def step() -> None:
        with torch.inference_mode():
            scorer(ecg, queries)

    return step


def _machine(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return f"{line.partition(':')[2].strip()}, {os.cpu_count()} cores"
    return f"{platform.machine()}, {os.cpu_count()} cores"
