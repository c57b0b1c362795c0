"""A folder of hospital files through the jobs: scored in one command, built into shards, also from S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import format_writers as write
import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny_bundle
from faulty_s3 import KEYS
from wfdb_writer import ecg_mv, write_record

from jobs import predict as job
from supreme import config, storage
from supreme.inference.query_model import EcgQueryModel
from supreme.runtime.cli import Options
from supreme.runtime.session import ray_session
from supreme.settings.data import Shards, Source
from supreme.settings.evaluation import Evaluation, Predict
from supreme.shards import build

pytestmark = [pytest.mark.ray, pytest.mark.slow]

QUERIES = ("atrial fibrillation?", "lbbb")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One ECG in six formats at two depths, a median beat, and a text."""
    place, signal_mv = tmp_path_factory.mktemp("hospital"), ecg_mv(4.0)
    (place / "deep").mkdir()
    (place / "a.dcm").write_bytes(write.dicom([write.dicom_group(signal_mv)]))
    (place / "deep" / "b.xml").write_bytes(write.muse(signal_mv, 500))
    (place / "deep" / "c.xml").write_bytes(write.philips(signal_mv))
    (place / "d.scp").write_bytes(write.scp(signal_mv))
    (place / "e.edf").write_bytes(write.edf(signal_mv))
    write_record(place / "deep", "f", signal_mv)
    (place / "median.dcm").write_bytes(write.dicom([write.dicom_group(signal_mv, label="MEDIAN")]))
    (place / "notes.txt").write_text("no ECG")
    return place


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = str(tmp_path_factory.mktemp("model") / "bundle")
    tiny_bundle.write(place)
    return place


@pytest.fixture(scope="module", params=["local", "s3"])
def uri(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """The folder, and a copy of it below an S3 prefix."""
    if request.param == "local":
        yield str(folder)
        return
    address = request.getfixturevalue("lake")
    with pytest.MonkeyPatch.context() as here:
        for name, value in KEYS.items():
            here.setenv(name, value)
        prefix = f"s3://lake/formats?endpoint_override={address}&scheme=http&region=us-east-1"
        for name in storage.list_files(str(folder)):
            storage.write_bytes(storage.join(prefix, name), (folder / name).read_bytes())
        yield prefix


def test_one_command_scores_what_can_be_read_and_lists_the_rest(
    uri: str, bundle: str, tmp_path: Path
) -> None:
    settings = Predict(uri=uri, queries=QUERIES, output=str(tmp_path / "scores.parquet"))
    recipe = config.Recipe(root=str(tmp_path), predict=settings, evaluation=Evaluation(model_uri=bundle))
    result = job.run(recipe, Options())
    assert {key: result[key] for key in ("records", "scored", "rejected")} == {
        **{"records": 8, "scored": 6, "rejected": 2}
    }
    rejected = pq.read_table(tmp_path / "scores.rejected.parquet").to_pylist()
    reasons = {row["record_id"]: row["reason"] for row in rejected}
    assert reasons == {"median.dcm": "median_beat_only", "notes.txt": "unknown_format"}
    table = pq.read_table(tmp_path / "scores.parquet")
    assert sorted(set(table["record_id"].to_pylist())) == [
        *("a.dcm", "d.scp", "deep/b.xml", "deep/c.xml", "deep/f", "e.edf")
    ]
    expected = EcgQueryModel.from_bundle(bundle).score(ecg_mv(4.0)[None], 500, QUERIES)
    scores = table["score"].to_numpy().reshape(6, 2)
    np.testing.assert_allclose(scores, np.repeat(expected, 6, axis=0), atol=0.02)


def test_shards_are_built_from_any_format(uri: str, tmp_path: Path) -> None:
    source = Source(kind="ecg_folder", name="hospital", uri=uri)
    recipe = config.Recipe(root=str(tmp_path), sources=(source,), shards=Shards(max_rejected_fraction=0.2))
    with ray_session():
        result = build.build(recipe, source).result
    assert (result.records, result.rejected_by_reason) == (6, {"median_beat_only": 1})
    assert result.leakage.same_recording.records == 6
