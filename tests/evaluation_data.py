"""Small finished shards with codes, and a model whose answers are planted in the signal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from supreme import manifest
from supreme.reports.vocabulary import Vocabulary, load_base
from supreme.settings.data import Shards
from supreme.shards import codec, schema
from supreme.shards.result import SHARDS as SHARDS_STAGE
from supreme.shards.result import ShardResult

RATE_HZ, DURATION_S = 50, 4
#: Lead i is lifted by 1 mV where condition i is present.
CONDITIONS = ("sinus_tachycardia", "atrial_fibrillation", "left_bundle_branch_block", "long_qt")
SNOMED = ("427084000", "164889003", "164909002", "111975006")
SHARDS = Shards(rate_hz=RATE_HZ, duration_s=DURATION_S, row_group_size=16)


def write_shards(
    folder: str, dataset: str, codes: Sequence[str], ids: dict[str, list[str]], seed: int = 0
) -> None:
    """Records ``ids`` by split; each shows each of CONDITIONS with probability 0.3, coded with ``codes``."""
    rng = np.random.default_rng(seed)
    files = {}
    Path(folder).mkdir(parents=True, exist_ok=True)
    for split, names in ids.items():
        rows = []
        for name in names:
            present = rng.random(len(CONDITIONS)) < 0.3
            signal_uv = rng.normal(0, 200, (12, SHARDS.samples))
            signal_uv[: len(CONDITIONS)] += 1000 * present[:, None]
            given = [code for code, here in zip(codes, present, strict=True) if here]
            rows.append(_row(dataset, name, split, signal_uv.astype(np.int16), given))
        file = f"{split}-00000.parquet"
        pq.write_table(
            pa.Table.from_pylist(rows, schema=schema.SCHEMA), f"{folder}/{file}", row_group_size=16
        )
        files[file] = manifest.describe(f"{folder}/{file}", rows=len(rows))
    sections = {"shards": SHARDS.model_dump(mode="json")}
    manifest.publish(
        folder,
        SHARDS_STAGE,
        manifest.Request(stage="shards", config=sections),
        ShardResult(records=sum(map(len, ids.values()))),
        files,
    )


class PlantedModel:
    """Gives the mean of lead i as the probability of condition i, 0.5 for anything else."""

    objective = "supreme"

    def __init__(self, known: Sequence[str] = CONDITIONS[:3]) -> None:
        self.vocabulary: Vocabulary = load_base().subset(known)
        self.asked: list[str] = []

    def known_entity(self, query: str) -> str:
        entity = self.vocabulary.find(query)
        return entity.id if entity else ""

    def score(self, ecg_mv: np.ndarray, rate_hz: float, queries: Sequence[str]) -> np.ndarray:
        assert rate_hz == RATE_HZ
        assert ecg_mv.dtype == np.float32
        self.asked += queries
        means = np.clip(ecg_mv.mean(axis=2) * 0.4 + 0.3, 0.01, 0.99)
        columns = [
            means[:, CONDITIONS.index(query)] if query in CONDITIONS else np.full(len(means), 0.5)
            for query in queries
        ]
        return np.stack(columns, axis=1)


def _row(dataset: str, name: str, split: str, signal_uv: np.ndarray, codes: list[str]) -> dict[str, Any]:
    return {
        "record_id": f"{dataset}/{name}",
        "dataset": dataset,
        "patient_id": f"{dataset}/{name}",
        "split": split,
        "signal": codec.encode(signal_uv, Shards().compression),
        "fingerprint": "00" * 16,
        "n_valid": signal_uv.shape[1],
        "rate_hz": RATE_HZ,
        "source_rate_hz": float(RATE_HZ),
        "report": "Text of a patient",
        "codes": codes,
        "age": None,
        "sex": "",
        "quality": [],
        "source_uri": "",
    }
