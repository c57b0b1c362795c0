"""The export job: what it writes is what numpy makes of the same records, once, whatever interrupts it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import evaluation_data
import numpy as np
import program_files
import pytest
import tiny_bundle
import torch
from torch import nn

from supreme import config, ecg, manifest, signal, storage
from supreme.config import ConfigError
from supreme.evaluation import datasets, export, export_files, results, stage, summary, targets
from supreme.evaluation.embeddings import read_embeddings
from supreme.evaluation.score_files import align, read_scores
from supreme.inference.any_model import open_model
from supreme.settings.evaluation import Export
from supreme.shards.read import ShardDataset
from supreme.storage.parquet import read_table

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> config.Recipe:
    root = tmp_path_factory.mktemp("export")
    recipe = evaluation_data.recipe(root, export=Export(convention="merl"))
    evaluation_data.write_all_shards(recipe)
    return recipe


def with_export(recipe: config.Recipe, name: str, **values: object) -> config.Recipe:
    return recipe.model_copy(update={"name": name, "export": recipe.export.model_copy(update=values)})


def copied(recipe: config.Recipe, name: str, **values: object) -> config.Recipe:
    """The same shards under another name, so that every test has its own export."""
    other = with_export(recipe, name, **values)
    target = Path(other.folder("")).parent / name
    target.mkdir(exist_ok=True)
    for folder in ("shards", "evaluation_shards"):
        if not (target / folder).exists():
            (target / folder).symlink_to(Path(recipe.folder(folder)))
    return other


def signals_uv(recipe: config.Recipe, dataset: str) -> dict[str, np.ndarray]:
    source = next(s for s in datasets.evaluated_sources(recipe) if s.dataset == dataset)
    shards = ShardDataset.open(datasets.shard_folder(recipe, source))
    table = shards.table(["record_id", "signal", "n_valid", "source_rate_hz"])
    ids = table.column("record_id").to_pylist()
    return dict(zip(ids, (uv for uv, _ in shards.records_uv(table)), strict=True))


def rows_of(folder: str) -> list[dict[str, str]]:
    with open(f"{folder}/records.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_memory_map_is_what_numpy_makes_of_the_records(recipe: config.Recipe) -> None:
    jobs = export.plan(recipe)
    assert [job.dataset for job in jobs] == ["simulated", "cpsc2018", "cpsc_2018"]
    for job in jobs:
        finished = export.run(job)
        signals = np.load(f"{job.folder}/signals.npy", mmap_mode="r")
        records = rows_of(job.folder)
        assert signals.shape == (job.records, 12, 5000) == (len(records), 12, 5000)
        assert signals.nbytes == job.bytes
        assert signals.dtype == np.float32
        source = signals_uv(recipe, job.dataset)
        assert [row["record_id"] for row in records] == list(source)
        for values, row in zip(signals, records, strict=True):
            mv = signal.resample(ecg.to_millivolts(source[row["record_id"]]), 50, 500).astype(np.float64)
            x = np.pad(mv, ((0, 0), (0, 3000)))
            x = (x - x.min()) / (x.max() - x.min() + 1e-8)
            x[[4, 5]] = x[[5, 4]]
            assert np.array_equal(values, x.astype(np.float32)), row
            assert row["n_valid"] == "2000"
            assert row["notes"] == "up-sampled from 50 to 500 Hz; padded with zeros to 10 s"
        assert {row["split"] for row in records} <= {"train", "test"}
        notes = {"up-sampled from 50 to 500 Hz": job.records, "padded with zeros to 10 s": job.records}
        assert finished.result.notes == notes
        assert finished.files["signals.npy"] == manifest.describe(f"{job.folder}/signals.npy", job.records)
        assert not storage.exists(f"{job.folder}/parts")
        assert (Path(job.folder) / "convention.toml").read_bytes().startswith(b"# MERL")


def test_an_interrupted_export_continues_with_what_is_left(
    recipe: config.Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_files, "_PART_UNITS", 1)
    whole = copied(recipe, "whole", datasets=("simulated",), splits=("test",), convention="ked")
    (job,) = export.plan(whole)
    assert job.records == 70
    export.run(job)
    expected = Path(job.folder, "signals.npy").read_bytes(), Path(job.folder, "records.csv").read_bytes()

    (job,) = export.plan(
        copied(recipe, "broken", datasets=("simulated",), splits=("test",), convention="ked")
    )
    prepared, apply = [0], export_files.apply

    def counting(*arguments: object) -> object:
        prepared[0] += 1
        if prepared[0] == 69:
            raise KeyboardInterrupt
        return apply(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(export_files, "apply", counting)
    with pytest.raises(KeyboardInterrupt):
        export.run(job)
    assert manifest.read(job.folder, export.EXPORT) is None
    assert not storage.exists(f"{job.folder}/signals.npy")
    first = prepared[0]
    export.run(job)
    assert 0 < prepared[0] - first < 70
    assert (
        Path(job.folder, "signals.npy").read_bytes(),
        Path(job.folder, "records.csv").read_bytes(),
    ) == expected
    count = prepared[0]
    export.run(job)
    assert prepared[0] == count


def test_another_convention_is_another_folder_and_a_changed_one_is_refused(
    recipe: config.Recipe, tmp_path: Path
) -> None:
    own = tmp_path / "own.toml"
    table = program_files.description(rate_hz=50, seconds=2).partition("[convention]")[2]
    own.write_text(table)
    mine = copied(recipe, "mine", datasets=("cpsc2018",), convention=str(own))
    (job,) = export.plan(mine)
    assert job.folder.endswith("/exports/test/cpsc2018")
    assert export.run(job).result.notes == {"cut to its first 2 s": 40}
    own.write_text(table.replace("seconds = 2", "seconds = 1"))
    (job,) = export.plan(mine)
    with pytest.raises(ConfigError, match="with another configuration"):
        export.run(job)
    assert export.run(job, new=True).result.samples == 50


def test_a_protocol_cuts_before_the_convention(recipe: config.Recipe) -> None:
    """MERL's protocol takes 5 s of CPSC2018 and leaves the zeros behind them to the convention."""
    cut = copied(recipe, "cut", datasets=("cpsc2018",), protocol="merl", convention="ked")
    (job,) = export.plan(cut)
    long_uv = np.ones((12, 700), np.int16)
    reader = job.reader
    assert reader.crop is not None  # type: ignore[attr-defined]
    assert reader.crop(long_uv, 100.0).shape == (12, 500)  # type: ignore[attr-defined]
    assert "protocol" in job.request.config
    assert job.request.config["protocol"].startswith("merl ")


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"datasets": ("ptbxl",)}, "export.datasets: no 'ptbxl': choose from simulated, cpsc2018, cpsc_2018"),
        ({"splits": ("fold9",)}, "export.splits: no 'fold9': choose from train, validation, test"),
        ({"splits": ("validation",)}, "nothing to export"),
        ({"convention": "mrel"}, "no input convention 'mrel'"),
        ({"protocol": "mrel"}, "no protocol 'mrel'"),
    ],
)
def test_what_is_not_there_is_told(recipe: config.Recipe, values: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        export.plan(recipe.model_copy(update={"export": recipe.export.model_copy(update=values)}))


class Means(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(-1)


def test_embeddings_made_outside_are_those_of_the_exported_program(
    recipe: config.Recipe, tmp_path: Path
) -> None:
    """Inputs out, embeddings in: the same as running the program here."""
    (job,) = export.plan(copied(recipe, "outside", datasets=("cpsc2018",), convention="ked"))
    export.run(job)
    signals = np.load(f"{job.folder}/signals.npy", mmap_mode="r")
    with torch.inference_mode():
        outside = Means()(torch.from_numpy(np.array(signals))).numpy()
    np.save(f"{job.folder}/embeddings.npy", outside)
    read = read_embeddings(f"{job.folder}/embeddings.npy", width=12)
    toml = 'output = "embedding"\nconvention = "ked"\n'
    model = open_model(program_files.export(tmp_path / "m.pt2", Means(), (12, 1000), toml=toml))
    source = signals_uv(recipe, "cpsc2018")
    assert read.record_ids == tuple(source)
    here = model.scorer()(np.stack(list(source.values())), 50)
    assert here.tobytes() == read.values.tobytes()


def test_scores_of_a_bundle_read_back_give_its_results(recipe: config.Recipe, tmp_path: Path) -> None:
    """As Parquet and as CSV."""
    tiny_bundle.write(Path(recipe.evaluation.model_uri), trained_on=evaluation_data.seen_by(recipe))
    result = stage.run(recipe)
    folder = targets.folder_of(recipe, targets.target(recipe))
    evaluated = results.read(folder)
    assert evaluated == result
    loaded = datasets.unseen_parts(datasets.datasets(recipe), evaluation_data.seen_by(recipe))
    for part in loaded:
        benchmark = part.benchmark
        parquet = storage.join(folder, "scores", f"{benchmark.dataset}.parquet")
        table = read_table(parquet)
        rows = zip(*(table.column(name).to_pylist() for name in table.column_names), strict=True)
        text = tmp_path / f"{benchmark.dataset}.csv"
        text.write_bytes(
            export_files.csv_bytes([tuple(table.column_names), *(tuple(map(str, r)) for r in rows)])
        )
        for uri in (parquet, str(text)):
            scores = align(read_scores(uri, benchmark.classes), benchmark.record_ids, benchmark.dataset)
            own = summary.matrix([table], benchmark)
            again = summary.matrix([scores.table()], benchmark)
            assert again.tobytes() == own.tobytes()


def test_the_job_plans_and_runs(recipe: config.Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    import export as job  # the file in jobs/

    from supreme.runtime.cli import Options

    planned = job.run(recipe, Options(dry_run=True))
    assert planned["bytes"] == (120 + 40 + 30) * 12 * 5000 * 4
    done = job.run(recipe, Options())
    assert {entry["records"] for entry in done["exports"].values()} == {120, 40, 30}  # type: ignore[union-attr]
    assert json.dumps(done, default=str)
