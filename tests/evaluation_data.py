"""Small finished shards with codes, and a model whose answers are planted in the signal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from supreme import config, manifest
from supreme.inference.engine import Signal
from supreme.inference.provenance import Provenance
from supreme.reports.vocabulary import Vocabulary, load_base
from supreme.settings.data import Shards, Source
from supreme.settings.evaluation import Evaluation, Probes
from supreme.shards import codec, plan, schema
from supreme.shards.read import ShardDataset
from supreme.shards.result import SHARDS as SHARDS_STAGE
from supreme.shards.result import ShardResult

RATE_HZ, DURATION_S = 50, 4
#: Lead i is lifted by 1 mV where condition i is present.
CONDITIONS = ("sinus_tachycardia", "atrial_fibrillation", "left_bundle_branch_block", "long_qt")
SNOMED = ("427084000", "164889003", "164909002", "111975006")
CPSC = ("1", "2", "4", "8")
CPSC_SNOMED = ("426783006", "164889003", "164909002", "429622005")
SHARDS = Shards(rate_hz=RATE_HZ, duration_s=DURATION_S, row_group_size=16)


def recipe(root: Path, name: str = "e", **sections: Any) -> config.Recipe:
    """Pre-trains on simulated ECGs; `real` holds CPSC2018 and its copy in CinC form, for `discover`."""
    for file in ("cpsc/REFERENCE.csv", "cpsc/TrainingSet1/A0001.mat", "training/cpsc_2018/A0001.hea"):
        (root / "real" / file).parent.mkdir(parents=True, exist_ok=True)
        (root / "real" / file).touch()
    values: dict[str, Any] = {
        "real": str(root / "real"),
        "sources": (Source(kind="simulated", records=120),),
        "evaluation": Evaluation(
            bootstrap=20, model_uri=str(root / "bundle"), plates=4, probes=Probes(fractions=(1.0,))
        ),
    }
    return config.Recipe(name=name, root=str(root / "runs"), shards=SHARDS, **(values | sections))


def quick(root: Path) -> Evaluation:
    """Settings without intervals for the bundle in ``root``."""
    return Evaluation(bootstrap=0, model_uri=str(root / "bundle"), plates=0)


def write_all_shards(owner: config.Recipe) -> None:
    """Simulated records, 40 of CPSC2018 (30 of them for training) and 30 of its copy, which shares 20."""
    ids = {"train": [f"t{i:02d}" for i in range(50)], "test": [f"u{i:02d}" for i in range(70)]}
    write_shards(owner.folder("shards/simulated"), "simulated", CONDITIONS, ids)
    numbers = [f"A{i:04d}" for i in range(50)]
    halves = {"train": numbers[:30], "test": numbers[30:40]}
    for kind in ("shards", plan.EVALUATION_SHARDS):
        write_shards(owner.folder(f"{kind}/cpsc2018"), "cpsc2018", CPSC, halves, seed=1)
        copy = owner.folder(f"{kind}/cpsc_2018")
        write_shards(copy, "cpsc_2018", CPSC_SNOMED, {"train": numbers[20:]}, seed=2)


def cpsc_source(owner: config.Recipe) -> Source:
    """CPSC2018 as a source to pre-train on."""
    return Source(kind="cpsc2018", uri=f"{owner.real}/cpsc")


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
    """Scores the mean of lead i as condition i, 0.5 for anything else; its embedding is the lead means."""

    embedding_width: int = 12
    has_gaps = False

    def __init__(self, known: Sequence[str] = CONDITIONS[:3]) -> None:
        self.vocabulary: Vocabulary = load_base().subset(known)
        self.queries, self.width = len(CONDITIONS), len(CONDITIONS) + self.embedding_width
        self.batches: list[int] = []

    def known_entity(self, query: str) -> str:
        entity = self.vocabulary.find(query)
        return entity.id if entity else ""

    def prepare(self, signal: Signal) -> np.ndarray:
        """Two windows, the halves of the record."""
        assert signal.rate_hz == RATE_HZ
        half = signal.values.shape[1] // 2
        return np.stack([signal.values[:, :half], signal.values[:, half : 2 * half]])

    def load(self) -> PlantedModel:
        return self

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        assert windows.dtype == np.int16
        self.batches.append(len(windows))
        means = windows.mean(axis=2) / 1000
        known = np.clip(means[:, : len(self.vocabulary)] * 0.4 + 0.3, 0.01, 0.99)
        probabilities = np.full((len(windows), len(CONDITIONS)), 0.5)
        probabilities[:, : known.shape[1]] = known
        return np.concatenate([np.log(probabilities / (1 - probabilities)), means], axis=1)


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


def seen_by(recipe: config.Recipe) -> Provenance:
    """What a model that was trained by this recipe has seen."""
    folders = [recipe.folder(f"shards/{source.dataset}") for source in recipe.sources]
    return Provenance.collect(recipe.sources, [ShardDataset.open(folder) for folder in folders])
