"""The data card: what the shards of a recipe hold, data set by data set, what was refused, and what leaks."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from supreme import config, log, manifest, storage
from supreme.manifest import Manifest, Request, Stage
from supreme.records import all_sources
from supreme.records.label_sets import LabelSet, label_sets, unmapped
from supreme.reporting import examples, figures, html, plates
from supreme.reports.vocabulary import CODE_SYSTEMS, load_base
from supreme.settings.data import Source
from supreme.shards import leakage
from supreme.shards.read import ShardDataset
from supreme.shards.result import Leakage, ShardResult, SharedRecordings
from supreme.shards.scales import Scales
from supreme.shards.schema import REJECTED_SCHEMA
from supreme.storage.parquet import read_table

CARD = "data_card.html"
PLATES = 2
MOST_CODES = 24
_COLUMNS = ("record_id", "split", "fingerprint", "report", "codes", "age", "sex", "quality")
_MEASURES = ("n_valid", "source_rate_hz")


@dataclass(frozen=True)
class RejectedReason:
    """Records that were refused for one reason."""

    reason: str
    records: int
    example: Mapping[str, str]
    """A row of `rejected/`."""


@dataclass(frozen=True)
class LabelSetCounts:
    """How often each column of a label set is positive."""

    name: str
    records: int
    """With at least one positive column."""
    columns: Sequence[tuple[str, int, float]]
    """Column, records, share."""


@dataclass(frozen=True)
class CodeTable:
    """The most frequent codes of a data set."""

    distinct: int
    rows: Sequence[tuple[str, Sequence[str], int, float]]
    """Code, names in the vocabulary, records, share."""


@dataclass(frozen=True)
class EcgPlate:
    """One ECG as a picture."""

    record_id: str
    codes: Sequence[str]
    image: str
    """A data URI."""
    width_mm: float
    height_mm: float


Shares = Mapping[Any, tuple[int, float]]
"""Value -> its number and share of the records, the most frequent first."""


@dataclass(frozen=True)
class DataSetCard:
    """What the card says of one data set."""

    name: str
    counts: ShardResult
    splits: Mapping[str, int]
    leakage: Leakage
    warnings: Sequence[str]
    """Why its samples may not be millivolts."""
    rejected: Sequence[RejectedReason]
    rates: Shares
    quality: Shares
    label_sets: Sequence[LabelSetCounts]
    unmapped: Shares
    codes: CodeTable
    figure: str
    sexes: Shares
    without_age: int
    plates: Sequence[EcgPlate]
    hours: float
    bytes: int
    bytes_per_record: float
    shards: int
    config: Mapping[str, Any]
    digest: str
    created: str


class DataCardResult(BaseModel):
    """What the data card says of all data sets together."""

    model_config = ConfigDict(frozen=True)

    leakage_across_datasets: list[SharedRecordings]


DATA_CARD = Stage(name="data_card", job="shard", result=DataCardResult, files=(CARD,))


def write(recipe: config.Recipe, *, new: bool = False) -> tuple[str, Manifest[DataCardResult]]:
    """Write `data_card/data_card.html` over all finished shards of a recipe.

    The manifest's result holds the leakage between data sets. A card of other shards is replaced.

    Returns:
        The page's URI, and the manifest.

    Raises:
        ConfigError: the shards of a source are unfinished.
    """
    sources = {source.dataset: source for source in all_sources(recipe)}
    shards = {name: ShardDataset.open(recipe.folder(f"shards/{name}")) for name in sources}
    folder = recipe.folder("data_card")
    request = Request(
        stage="data_card",
        config={"seed": recipe.seed, "plates": PLATES},
        inputs={f"shards/{name}": one.manifest.digest() for name, one in shards.items()},
    )
    uri = storage.join(folder, CARD)
    with manifest.opened(folder, DATA_CARD, request, on_change="replace", new=new) as finished:
        return uri, finished or _publish(recipe, sources, shards, request, uri)


def _publish(
    recipe: config.Recipe,
    sources: dict[str, Source],
    shards: dict[str, ShardDataset],
    request: Request,
    uri: str,
) -> manifest.Manifest[DataCardResult]:
    tables = {name: one.table((*_COLUMNS, *_MEASURES)) for name, one in shards.items()}
    between = leakage.across(tables)
    cards = [describe(name, sources[name].kind, shards[name], tables[name], recipe.seed) for name in sources]
    for card in cards:
        for text in card.warnings:
            log.get("shard").warning(f"{card.name}: {text}")
    page = html.template("data_card.html").render(recipe=recipe.name, datasets=cards, between=between)
    storage.write_bytes(uri, page.encode())
    result = DataCardResult(leakage_across_datasets=between)
    return manifest.publish(recipe.folder("data_card"), DATA_CARD, request, result)


def describe(name: str, kind: str, shards: ShardDataset, records: pa.Table, seed: int) -> DataSetCard:
    """What the card says of one data set.

    Args:
        kind: kind of the source, which decides its label sets.
        records: metadata of all records.
        seed: draws the ECGs that are shown.
    """
    counts = shards.manifest.result
    n_bytes = sum(entry.bytes for file, entry in shards.manifest.files.items() if file in shards.files)
    return DataSetCard(
        name=name,
        counts=counts,
        splits=counts.by_split,
        leakage=counts.leakage,
        warnings=Scales.of(records["quality"].to_pylist()).warnings(),
        rejected=_rejected(shards),
        rates=_share(records["source_rate_hz"].to_pylist(), len(records)),
        quality=_share(_kinds(records["quality"]), len(records)),
        label_sets=[_label_set(labels, records["codes"]) for labels in label_sets(kind)],
        unmapped=_share(unmapped(kind, _flat(records["codes"])), len(records)),
        codes=_codes(kind, records["codes"]),
        figure=figures.population(
            records["age"].drop_null().to_numpy(),
            (records["n_valid"].to_numpy() / shards.rate_hz),
            _words(records["report"]),
        ),
        sexes=_share(records["sex"].to_pylist(), len(records)),
        without_age=records["age"].null_count,
        plates=_plates(shards, records["record_id"].to_pylist(), seed),
        hours=float(pc.sum(records["n_valid"]).as_py() or 0) / shards.rate_hz / 3600,
        bytes=n_bytes,
        bytes_per_record=n_bytes / max(len(records), 1),
        shards=len(shards.files),
        config=shards.manifest.config["shards"],
        digest=shards.manifest.digest(),
        created=shards.manifest.created,
    )


def _kinds(flags: pa.ChunkedArray) -> list[str]:
    """The kinds of flags of each record, each once however many leads have it."""
    return [kind for each in flags.to_pylist() for kind in {flag.partition(":")[0] for flag in each}]


def _rejected(shards: ShardDataset) -> list[RejectedReason]:
    """Reasons with their number and one example, the most frequent first."""
    rows: dict[str, list[dict[str, str]]] = {}
    for file in sorted(file for file in shards.manifest.files if file.startswith("rejected/")):
        for row in read_table(storage.join(shards.folder, file), schema=REJECTED_SCHEMA).to_pylist():
            rows.setdefault(row["reason"], []).append(row)
    reasons = [RejectedReason(reason, len(same), same[0]) for reason, same in rows.items()]
    return sorted(reasons, key=lambda one: (-one.records, one.reason))


def _label_set(labels: LabelSet, codes: pa.ChunkedArray) -> LabelSetCounts:
    each = [labels.of(one) for one in codes.to_pylist()]
    count = Counter(column for positive in each for column in positive)
    columns = [(column, count[column], count[column] / max(len(each), 1)) for column in labels.columns]
    return LabelSetCounts(labels.name, sum(map(bool, each)), columns)


def _codes(kind: str, codes: pa.ChunkedArray) -> CodeTable:
    """The most frequent codes with the entities of the vocabulary that they stand for."""
    vocabulary, known = load_base(), load_base().by_code(CODE_SYSTEMS.get(kind, ""))
    count = Counter(_flat(codes))
    rows = []
    for code, records in count.most_common(MOST_CODES):
        entities = [code] if code in vocabulary else known.get(code, [])
        rows.append((code, [vocabulary[entity].name for entity in entities], records, records / len(codes)))
    return CodeTable(len(count), rows)


def _plates(shards: ShardDataset, record_ids: Sequence[str], seed: int) -> list[EcgPlate]:
    """ECGs drawn by the hash of seed and record id."""
    drawn = sorted(record_ids, key=lambda r: hashlib.sha256(f"{seed} {r}".encode()).digest())[:PLATES]
    ecgs = examples.load(shards, drawn)
    pictures = []
    for record_id in drawn:
        ecg = ecgs[record_id]
        figure = plates.plate(ecg.signal_mv, ecg.rate_hz)
        pictures.append(EcgPlate(record_id, ecg.codes, **figures.on_paper(figure)))
    return pictures


def _flat(lists: pa.ChunkedArray) -> list[str]:
    items: list[str] = lists.combine_chunks().flatten().to_pylist()
    return items


def _words(reports: pa.ChunkedArray) -> np.ndarray:
    """Words of the reports that have any."""
    words = pc.list_value_length(pc.utf8_split_whitespace(reports.filter(pc.not_equal(reports, ""))))
    return words.to_numpy()


def _share(values: Sequence[Any], records: int) -> Shares:
    return {value: (n, n / max(records, 1)) for value, n in Counter(values).most_common()}
