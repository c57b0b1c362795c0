"""Evaluation shards: every record at the rate and length of its source, whatever the codec."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow.compute as pc
import pytest
import tiny_bundle
from wfdb_writer import write_record

from supreme import config, ecg
from supreme.evaluation.bundle_scorer import BundleScorer, Query
from supreme.evaluation.outputs import collect
from supreme.evaluation.shard_reader import ShardReader
from supreme.inference import engine
from supreme.inference.folder_reader import FolderReader
from supreme.inference.query_model import EcgQueryModel
from supreme.settings.data import Shards, Source
from supreme.settings.evaluation import Predict
from supreme.shards import codec, part, plan, verify
from supreme.shards.read import ShardDataset

pytestmark = pytest.mark.unit

#: Name -> samples and rate of a record.
RECORDS = {
    "a": (1000, 100.0),
    "b": (5003, 500.0),
    "c": (2570, 257.0),
    "d": (12_000, 400.0),
    "e": (900, 250.0),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp("records")
    for seed, (name, (samples, rate_hz)) in enumerate(RECORDS.items()):
        write_record(folder, name, tiny_bundle.ecgs(1, samples, seed=seed)[0], rate_hz, ecg.LEADS)
    lines = ["record_id,patient_id", *(f"{name},p{number}" for number, name in enumerate(RECORDS))]
    (folder / "records.csv").write_text("\n".join(lines) + "\n")
    return Source(kind="wfdb_folder", name="hospital", uri=str(folder))


def build(source: Source, root: Path, compression: codec.Codec, *, whole: bool) -> ShardDataset:
    shards = Shards(compression=compression, records_per_shard=2)
    recipe = config.Recipe(name="w", root=str(root), sources=(source,), shards=shards)
    planned = plan.survey(recipe, source, whole=whole)
    plan.begin(planned)
    for name, entries in planned.todo.items():
        part.write({"part": name, "entries": part.dump(entries)}, planned.job)
    plan.publish(planned)
    assert plan.survey(recipe, source, whole=whole).finished is not None
    verify.verify([planned.job.folder])
    return ShardDataset.open(planned.job.folder)


@pytest.mark.parametrize("compression", get_args(codec.Codec))
def test_a_record_keeps_every_sample_and_its_rate(
    source: Source, tmp_path: Path, compression: codec.Codec
) -> None:
    shards = build(source, tmp_path, compression, whole=True)
    fixed = build(source, tmp_path, compression, whole=False)
    assert (shards.rate_hz, shards.samples) == (0, 0)
    assert fixed.folder != shards.folder
    records = {}
    for group in shards.row_groups():
        table = shards.read_row_group(group)
        for name, record in zip(table.column("record_id").to_pylist(), shards.records_uv(table), strict=True):
            records[name.removeprefix("hospital/")] = record
    assert records.keys() == RECORDS.keys()
    for seed, (name, (samples, rate_hz)) in enumerate(RECORDS.items()):
        signal_uv, rate = records[name]
        assert (signal_uv.shape, rate) == ((12, samples), rate_hz)
        expected = tiny_bundle.ecgs(1, samples, seed=seed)[0] * 1000
        # The header's gain rounds each sample to its own step.
        assert np.abs(signal_uv - expected).max() <= 2.6
    short = [
        uv.shape[1]
        for table in map(fixed.read_row_group, fixed.row_groups())
        for uv, _ in fixed.records_uv(table)
    ]
    assert sorted(short) == [360, 1000, 1000, 1000, 1000]


def test_a_record_scores_the_same_from_shards_and_from_its_file(source: Source, tmp_path: Path) -> None:
    shards = build(source, tmp_path, "lz4", whole=True)
    tiny_bundle.write(tmp_path / "bundle")
    model = EcgQueryModel.from_bundle(str(tmp_path / "bundle"), quality_checked=True)
    queries = (Query(("atrial fibrillation?",)), Query(("lbbb",)))
    scorer = BundleScorer.of(model, str(tmp_path / "bundle"), None, (queries,))
    everything = np.ones(len(RECORDS), bool)
    from_shards = collect(ShardReader.of(shards, everything), scorer, f"{tmp_path}/shards.parquet", "shards")
    reader = FolderReader.of(Predict(uri=source.uri))
    engine.score(reader, scorer, f"{tmp_path}/parts", "files")
    [table] = engine.read_parts(reader, f"{tmp_path}/parts")
    table = table.filter(pc.not_equal(table["reason"], "unknown_format"))  # the table beside the records
    ids = [f"hospital/{name}" for name in table.column("record_id").to_pylist()]
    np.testing.assert_array_equal(from_shards.of(ids, "hospital"), engine.outputs_of(table))
    assert np.ptp(from_shards.values[:, :2], axis=0).min() > 0
