"""Signals of data sets for another program, as its model wants them: a memory map, and the ids of its rows.

Written part by part, so that an interrupted export continues; the parts then become one file.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from supreme import config, manifest, storage
from supreme.config import ConfigError
from supreme.evaluation import datasets, export_files, protocols
from supreme.evaluation.export_files import CONVENTION, README, RECORDS, SIGNALS, ExportJob, logger
from supreme.evaluation.protocols import Protocol
from supreme.evaluation.shard_reader import ShardReader
from supreme.inference.convention_apply import CONVENTIONS_VERSION
from supreme.inference.foreign_convention import ForeignConvention, convention_file, open_convention
from supreme.records import SPLITS
from supreme.settings.evaluation import Export
from supreme.shards.read import ShardDataset


class ExportResult(BaseModel):
    """What was exported of a data set."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    convention: str
    records: int
    leads: int
    samples: int
    notes: dict[str, int] = {}
    """What had to be done, for how many of the records."""


EXPORT = manifest.Stage(
    "export", "export", ExportResult, (SIGNALS, RECORDS, CONVENTION, README, "parts/*.rows", "parts/*.csv")
)


def plan(recipe: config.Recipe) -> list[ExportJob]:
    """The data sets that `export` names.

    Raises:
        ConfigError: no such data set, split, protocol or convention, or unfinished shards.
    """
    settings = recipe.export
    sources = {source.dataset: source for source in datasets.evaluated_sources(recipe)}
    _check_names("export.datasets", settings.datasets, tuple(sources))
    _check_names("export.splits", settings.splits, SPLITS)
    convention = open_convention(settings.convention)
    protocol = protocols.protocols([settings.protocol])[0] if settings.protocol else None
    jobs = []
    for name in settings.datasets or tuple(sources):
        shards = ShardDataset.open(datasets.shard_folder(recipe, sources[name]))
        table = shards.table(["record_id", "split"])
        selected = np.isin(table.column("split").to_pylist(), settings.splits or SPLITS)
        crop = None
        if protocol:
            # Zeros are left to the convention, which says so.
            unpadded = protocol.model_copy(update={"padded_s": 0.0})
            crop = partial(protocols.crop, unpadded, sources[name].kind)
        rows = table.filter(pa.array(selected))
        jobs.append(
            ExportJob(
                name,
                recipe.folder(f"exports/{convention.name}/{name}"),
                ShardReader.of(shards, selected, crop),
                dict(zip(*(rows.column(key).to_pylist() for key in rows.column_names), strict=True)),
                convention,
                convention_file(settings.convention),
                _request(settings, convention, protocol, shards),
            )
        )
    if not sum(job.records for job in jobs):
        raise ConfigError("nothing to export: no record in export.datasets and export.splits")
    return jobs


def run(job: ExportJob, *, new: bool = False) -> manifest.Manifest[ExportResult]:
    """Export a data set, or continue; nothing is done where it is finished.

    Raises:
        ConfigError: the folder holds an export with other settings.
        Unavailable: storage does not answer or is full; finished parts are kept.
    """
    with manifest.opened(job.folder, EXPORT, job.request, on_change="follow", new=new) as finished:
        if finished:
            logger.info("%s is finished", job.folder)
        return finished or _export(job)


def _export(job: ExportJob) -> manifest.Manifest[ExportResult]:
    rows = export_files.write_parts(job)
    signals = export_files.join_parts(job, len(rows))
    table = export_files.csv_bytes([export_files.COLUMNS, *rows])
    storage.write_bytes(storage.join(job.folder, RECORDS), table)
    storage.write_bytes(storage.join(job.folder, CONVENTION), job.convention_toml)
    storage.write_bytes(storage.join(job.folder, README), export_files.readme(job, len(rows)).encode())
    notes = Counter(note for row in rows for note in row[3].split("; ") if note)
    leads, samples = job.convention.shape
    result = ExportResult(
        dataset=job.dataset,
        convention=job.convention.name,
        records=len(rows),
        leads=leads,
        samples=samples,
        notes=dict(sorted(notes.items())),
    )
    for note, count in result.notes.items():
        logger.info(f"{job.dataset}: {count:,} of {len(rows):,} records: {note}")
    files = {SIGNALS: signals} | manifest.describe_all(job.folder, (RECORDS, CONVENTION, README))
    published = manifest.publish(job.folder, EXPORT, job.request, result, files)
    export_files.delete_parts(job)
    return published


def _request(
    settings: Export, convention: ForeignConvention, protocol: Protocol | None, shards: ShardDataset
) -> manifest.Request:
    return manifest.Request(
        stage=EXPORT.name,
        config={
            "splits": settings.splits,
            "protocol": f"{protocol.name} {protocol.version}" if protocol else "",
            "convention": convention.model_dump(mode="json"),
            "conventions_version": CONVENTIONS_VERSION,
        },
        inputs={"shards": shards.manifest.digest()},
    )


def _check_names(key: str, names: tuple[str, ...], known: tuple[str, ...]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"{key}: no {unknown[0]!r}: choose from {', '.join(known)}")
