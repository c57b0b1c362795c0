"""The data card: what the shards of a recipe hold, data set by data set, what was refused, and what leaks."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from supreme import config, manifest, storage
from supreme.manifest import Manifest, Request, Stage
from supreme.records import all_sources
from supreme.records.label_sets import label_sets, unmapped
from supreme.reporting import examples, figures, html, plates
from supreme.reports.vocabulary import CODE_SYSTEMS, load_base
from supreme.shards import leakage
from supreme.shards.read import Shards
from supreme.shards.result import SharedRecordings

CARD = "data_card.html"
PLATES = 2
MOST_CODES = 24
_COLUMNS = ("record_id", "split", "fingerprint", "report", "codes", "age", "sex", "quality")
_MEASURES = ("n_valid", "source_rate_hz")


class DataCardResult(BaseModel):
    """What the data card says of all data sets together."""

    model_config = ConfigDict(frozen=True)

    leakage_across_datasets: list[SharedRecordings]


DATA_CARD = Stage(name="data_card", job="shard", result=DataCardResult, files=(CARD,))


def write(recipe: config.Recipe, *, new: bool = False) -> tuple[str, Manifest[DataCardResult]]:
    """Write `data_card/data_card.html` over all finished shards of a recipe; its URI and manifest.

    The manifest's counts hold the leakage between data sets; a card of other shards is replaced.

    Raises:
        ConfigError: the shards of a source are unfinished.
    """
    sources = {source.dataset: source for source in all_sources(recipe)}
    shards = {name: Shards.open(recipe.folder(f"shards/{name}")) for name in sources}
    folder = recipe.folder("data_card")
    request = Request(
        stage="data_card",
        config={"seed": recipe.seed, "plates": PLATES},
        inputs={f"shards/{name}": one.manifest.digest() for name, one in shards.items()},
    )
    finished = manifest.begin(folder, DATA_CARD, request, on_change="replace", new=new)
    uri = storage.join(folder, CARD)
    if finished is None:
        tables = {name: one.table((*_COLUMNS, *_MEASURES)) for name, one in shards.items()}
        between = leakage.across(tables)
        described = [
            describe(name, sources[name].kind, shards[name], tables[name], recipe.seed) for name in sources
        ]
        page = html.template("data_card.html").render(recipe=recipe.name, datasets=described, between=between)
        storage.write_bytes(uri, page.encode())
        finished = manifest.publish(
            folder, DATA_CARD, request, DataCardResult(leakage_across_datasets=between)
        )
    return uri, finished


def describe(name: str, kind: str, shards: Shards, records: pa.Table, seed: int) -> dict[str, Any]:
    """What the card says of one data set.

    Args:
        kind: kind of the source, which decides its label sets.
        records: metadata of all records.
    """
    counts = shards.manifest.result
    n_bytes = sum(entry.bytes for file, entry in shards.manifest.files.items() if file in shards.files)
    return {
        "name": name,
        "counts": counts,
        "splits": counts.by_split,
        "leakage": counts.leakage,
        "rejected": _rejected(shards),
        "rates": _share(records["source_rate_hz"].to_pylist(), len(records)),
        "quality": _share(_kinds(records["quality"]), len(records)),
        "label_sets": [_label_set(labels, records["codes"]) for labels in label_sets(kind)],
        "unmapped": _share(unmapped(kind, _flat(records["codes"])), len(records)),
        "codes": _codes(kind, records["codes"]),
        "figure": figures.population(
            records["age"].drop_null().to_numpy(),
            (records["n_valid"].to_numpy() / shards.rate_hz),
            _words(records["report"]),
        ),
        "sexes": _share(records["sex"].to_pylist(), len(records)),
        "without_age": records["age"].null_count,
        "plates": _plates(shards, records["record_id"].to_pylist(), seed),
        "hours": float(pc.sum(records["n_valid"]).as_py() or 0) / shards.rate_hz / 3600,
        "bytes": n_bytes,
        "bytes_per_record": n_bytes / max(len(records), 1),
        "shards": len(shards.files),
        "config": shards.manifest.config["shards"],
        "digest": shards.manifest.digest(),
        "created": shards.manifest.created,
    }


def _kinds(flags: pa.ChunkedArray) -> list[str]:
    """What a record is flagged with, once however many leads are."""
    return [kind for each in flags.to_pylist() for kind in {flag.partition(":")[0] for flag in each}]


def _rejected(shards: Shards) -> list[dict[str, Any]]:
    """Reasons with their number and one example, the most frequent first."""
    files = [file for file in shards.manifest.files if file.startswith("rejected/")]
    found: dict[str, list[dict[str, str]]] = {}
    for file in sorted(files):
        with storage.open_file(storage.join(shards.folder, file)) as stream:
            for row in pq.read_table(stream).to_pylist():
                found.setdefault(row["reason"], []).append(row)
    rows = [{"reason": reason, "records": len(bad), "example": bad[0]} for reason, bad in found.items()]
    return sorted(rows, key=lambda row: (-row["records"], row["reason"]))


def _label_set(labels: Any, codes: pa.ChunkedArray) -> dict[str, Any]:
    each = [labels.of(one) for one in codes.to_pylist()]
    count = Counter(column for positive in each for column in positive)
    return {
        "name": labels.name,
        "records": sum(map(bool, each)),
        "columns": [(column, count[column], count[column] / max(len(each), 1)) for column in labels.columns],
    }


def _codes(kind: str, codes: pa.ChunkedArray) -> dict[str, Any]:
    """The most frequent codes with the entities of the vocabulary that they stand for."""
    vocabulary, known = load_base(), load_base().by_code(CODE_SYSTEMS.get(kind, ""))
    count = Counter(_flat(codes))
    rows = []
    for code, records in count.most_common(MOST_CODES):
        entities = [code] if code in vocabulary else known.get(code, [])
        rows.append((code, [vocabulary[entity].name for entity in entities], records, records / len(codes)))
    return {"distinct": len(count), "rows": rows}


def _plates(shards: Shards, record_ids: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """ECGs drawn by the hash of seed and record id."""
    drawn = sorted(record_ids, key=lambda r: hashlib.sha256(f"{seed} {r}".encode()).digest())[:PLATES]
    ecgs = examples.load(shards, drawn)
    shown = []
    for record_id in drawn:
        ecg = ecgs[record_id]
        figure = plates.plate(ecg.signal_mv, shards.rate_hz, ecg.n_valid)
        shown.append({"record_id": record_id, "codes": ecg.codes, **figures.on_paper(figure)})
    return shown


def _flat(lists: pa.ChunkedArray) -> list[str]:
    found: list[str] = lists.combine_chunks().flatten().to_pylist()
    return found


def _words(reports: pa.ChunkedArray) -> np.ndarray:
    """Words of the reports that have any."""
    words = pc.list_value_length(pc.utf8_split_whitespace(reports.filter(pc.not_equal(reports, ""))))
    return words.to_numpy()


def _share(values: Sequence[Any], records: int) -> Mapping[Any, tuple[int, float]]:
    """Value -> its number and share of the records, the most frequent first."""
    return {value: (n, n / max(records, 1)) for value, n in Counter(values).most_common()}
