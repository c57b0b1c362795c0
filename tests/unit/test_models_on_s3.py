"""Scores, embeddings, programs and exports on object storage: the same as in a local folder."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import boto3
import evaluation_data
import numpy as np
import program_files
import pytest
from moto.server import ThreadedMotoServer

from supreme import storage
from supreme.config import ConfigError
from supreme.evaluation import export
from supreme.evaluation.embeddings import Embeddings, read_embeddings, write_embeddings
from supreme.evaluation.score_files import read_scores
from supreme.inference.any_model import open_model
from supreme.settings.evaluation import Export

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        _, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="models")
        yield "s3://models"
    server.stop()


def test_scores_and_embeddings(bucket: str) -> None:
    storage.write_bytes(f"{bucket}/s.csv", b"\xef\xbb\xbf\nrecord_id;AF;SB\na;0.5;1\nb;0.25;2\n")
    read = read_scores(f"{bucket}/s.csv", ["SB", "AF"])
    assert read.record_ids == ("a", "b")
    assert read.values.tolist() == [[1, 0.5], [2, 0.25]]
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    write_embeddings(f"{bucket}/e.parquet", Embeddings(("a", "b", "c"), values))
    stream = io.BytesIO()
    np.save(stream, values)
    storage.write_bytes(f"{bucket}/out/e.npy", stream.getvalue())
    storage.write_bytes(f"{bucket}/out/records.csv", b"record_id\na\nb\nc\n")
    for name in ("e.parquet", "out/e.npy"):
        assert np.array_equal(read_embeddings(f"{bucket}/{name}").values, values)
    with pytest.raises(ConfigError, match=r"absent.csv at .*: not found"):
        read_scores(f"{bucket}/absent.csv")


def test_a_program(bucket: str, tmp_path: Path) -> None:
    local = program_files.export(
        tmp_path / "m.pt2", program_files.Pooled(), toml=program_files.description(("a", "b", "c"))
    )
    for name in ("m.pt2", "m.toml"):
        storage.write_bytes(f"{bucket}/{name}", (tmp_path / name).read_bytes())
    signal = np.random.default_rng(0).normal(size=(2, 12, 200))
    expected = open_model(local).scorer()(signal, 100)
    assert open_model(f"{bucket}/m.pt2").scorer()(signal, 100).tobytes() == expected.tobytes()


def test_an_export(bucket: str, tmp_path: Path) -> None:
    recipe = evaluation_data.recipe(tmp_path, export=Export(convention="ked", datasets=("cpsc2018",)))
    evaluation_data.write_all_shards(recipe)
    (job,) = export.plan(recipe)
    export.run(job)
    export.run(replace(job, folder=f"{bucket}/exports"))
    for name in ("signals.npy", "records.csv", "convention.toml", "README.md"):
        assert storage.read_bytes(f"{bucket}/exports/{name}") == Path(job.folder, name).read_bytes()
    assert storage.list_files(f"{bucket}/exports/parts") == []
