"""Scores of a loaded model for an ECG file, a folder of them, or a folder of shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from supreme import config, manifest, storage
from supreme.inference.engine import Signal
from supreme.inference.folder_reader import FolderReader
from supreme.inference.query_model import EcgQueryModel, probabilities
from supreme.inference.windows import windows_uv
from supreme.records.ecg_files import EcgReader
from supreme.records.record_files import HEADER
from supreme.records.wfdb_files import entry_of
from supreme.settings.evaluation import Predict
from supreme.shards.read import ShardDataset

_COLUMNS = ("record_id", "signal", "n_valid", "source_rate_hz")


@dataclass(frozen=True)
class RecordScores:
    """Scores of records, and why some have none."""

    record_ids: tuple[str, ...]
    scores: np.ndarray
    """float32 ``(N, Q)``; NaN in the rows of refused records."""
    refused: tuple[str, ...]
    """Of each record the reason; empty where it was scored."""


def score_records(
    model: EcgQueryModel, uri: str, queries: Sequence[str], settings: Predict | None = None
) -> RecordScores:
    """Score every record of a place, at any rate, length and lead order; a batch is in memory at a time.

    Args:
        uri: an ECG file (of a WFDB record the header), a folder of them, or a folder
            of shards; local or s3://.
        settings: what the user knows better than the files, as the section ``[predict]``.

    Raises:
        ConfigError: nothing of that kind is there.
        ValueError: no query.
    """
    ids: list[str] = []
    refused: list[str] = []
    rows: list[np.ndarray] = []
    for names, reasons, signals in _parts(uri, settings or Predict()):
        scores = np.full((len(names), len(queries)), np.nan, np.float32)
        windows = [windows_uv(one.values, one.rate_hz, model.convention) for one in signals if one]
        if windows:
            used = [index for index, one in enumerate(signals) if one]
            scores[used] = probabilities(model.logits_of_windows(windows, queries))
        ids += names
        refused += reasons
        rows.append(scores)
    return RecordScores(tuple(ids), np.concatenate(rows), tuple(refused))


_Part = tuple[list[str], list[str], list[Signal | None]]


def _parts(uri: str, settings: Predict) -> Iterator[_Part]:
    """Ids, reasons and signals, some records at a time."""
    if storage.is_folder(uri) and storage.exists(storage.join(uri, manifest.MANIFEST)):
        yield from _of_shards(ShardDataset.open(uri))
    else:
        reader = _file_reader(uri, settings)
        for index in range(len(reader.units)):
            table, signals = reader.read(index)
            names, reasons = (table.column(name).to_pylist() for name in ("record_id", "reason"))
            details = table.column("detail").to_pylist()
            texts = [": ".join(filter(None, pair)) for pair in zip(reasons, details, strict=True)]
            yield names, texts, signals


def _of_shards(shards: ShardDataset) -> Iterator[_Part]:
    for group in shards.row_groups():
        table = shards.read_row_group(group, _COLUMNS)
        names = table.column("record_id").to_pylist()
        signals: list[Signal | None] = [Signal(values, rate) for values, rate in shards.records_uv(table)]
        yield names, [""] * len(names), signals


def _file_reader(uri: str, settings: Predict) -> FolderReader:
    if uri and storage.is_folder(uri):
        return FolderReader.of(settings.model_copy(update={"uri": uri}))
    header = storage.with_ending(uri, "", HEADER)
    file = header if uri and storage.exists(header) else uri
    if not file or not storage.exists(file):
        raise config.ConfigError(
            f"{uri!r}: no ECG file, no folder of them and no folder of shards: give the path of one"
        )
    files = EcgReader.of(settings.model_copy(update={"uri": ""}))
    name = PurePosixPath(file.partition("?")[0]).name.removesuffix(HEADER)
    return FolderReader(files, (entry_of("", name, file),))
