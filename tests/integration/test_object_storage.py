"""Every stage on object storage: an S3 server that checks signatures, an MLflow server beside it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from pipeline_runs import TINY, finish, result
from pyarrow import fs

from supreme import manifest, storage
from supreme.shards.read import Shards

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1200)]

KEYS = {"AWS_ACCESS_KEY_ID": "supreme-tests", "AWS_SECRET_ACCESS_KEY": "correct-horse-battery"}
WRONG = KEYS | {"AWS_SECRET_ACCESS_KEY": "staple-incorrect-donkey"}
BIN = Path(sys.executable).parent


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def _server(command: list[str], answers: str, log: Path) -> Iterator[None]:
    """A server process for as long as the block; ``answers`` is a URL that it serves once it is up."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, cwd=log.parent, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 180
        while not _is_up(answers):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.2)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # they take half a minute to end, and nothing is kept
        process.wait()


def _is_up(url: str) -> bool:
    try:
        urlopen(url, timeout=5).close()
    except HTTPError as refused:
        return refused.code == 403
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`s3://` root on a SeaweedFS server that knows one user."""
    folder = tmp_path_factory.mktemp("weed")
    credentials = [{"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}]
    user = {"name": "tests", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List"]}
    (folder / "keys.json").write_text(json.dumps({"identities": [user]}))
    names = ("master", "volume", "filer", "s3")
    ports = dict(zip([n + k for n in names for k in (".port", ".port.grpc")], _free_ports(8), strict=True))
    command = [str(BIN / "weed"), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += ["-filer", "-s3", f"-s3.config={folder / 'keys.json'}", "-volume.max=20"]
    command += ["-master.volumeSizeLimitMB=64", *(f"-{name}={port}" for name, port in ports.items())]
    address = f"127.0.0.1:{ports['s3.port']}"
    with _server(command, f"http://{address}/", folder / "weed.log"), pytest.MonkeyPatch.context() as here:
        for name, value in KEYS.items():
            here.setenv(name, value)
        options = {"endpoint_override": address, "scheme": "http", "region": "us-east-1"}
        _make_bucket(options)
        yield f"s3://lake/runs?endpoint_override={address}&scheme=http&region=us-east-1"


def _make_bucket(options: dict[str, str]) -> None:
    """The S3 gateway answers a little before the storage behind it does."""
    deadline = time.monotonic() + 120
    while True:
        try:
            fs.S3FileSystem(**options, allow_bucket_creation=True).create_dir("lake")
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


@pytest.fixture(scope="module")
def tracking_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("mlflow")
    [port] = _free_ports(1)
    command = [str(BIN / "mlflow"), "server", "--host=127.0.0.1", f"--port={port}", "--workers=1"]
    command += [
        f"--backend-store-uri=sqlite:///{folder}/server.db",
        f"--artifacts-destination={folder}/files",
    ]
    with pytest.MonkeyPatch.context() as here:
        here.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
        uri = f"http://127.0.0.1:{port}"
        with _server(command, f"{uri}/health", folder / "server.log"):
            yield uri


def test_the_whole_way_on_object_storage(root: str, tracking_uri: str, tmp_path: Path) -> None:
    wanted = [*TINY, f"root={root}", f"tracking.uri={tracking_uri}"]
    done = finish("pipeline", *wanted, **KEYS)
    found = result(done)
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in done.stderr + done.stdout
    assert found["promoted"]
    stages = ["shards/simulated", "labels", "pretrain", "report"]
    folders = [storage.join(root, "smoke", stage) for stage in stages] + [found["folder"]]
    for folder in folders:
        made = manifest.require(folder, "pipeline")
        assert made.files
        for name, entry in made.files.items():
            assert storage.sha256(storage.read_bytes(storage.join(folder, name))) == entry.sha256, name
    assert storage.read_bytes(found["report"]).startswith(b"<!")
    assert len(Shards.open(folders[0]).table(["record_id"])) == 160

    for job in ("shard", "label"):
        result(finish(job, *TINY, f"root={tmp_path}"))
    for stage, folder in zip(stages[:2], folders, strict=False):
        local = manifest.require(str(tmp_path / "smoke" / stage), stage)
        assert local.digest() == manifest.require(folder, stage).digest(), stage

    again = result(finish("pipeline", *wanted, **KEYS))
    assert {**again, "seconds": 0} == {**found, "seconds": 0}


def test_a_wrong_key_is_refused_with_the_name_of_what_was_asked(root: str) -> None:
    done = finish("label", *TINY, f"root={root}", "name=other", **WRONG)
    assert done.returncode != 0
    assert "lake" in done.stderr
    assert "runs/other" in done.stderr
    assert "Traceback" not in done.stderr
    for secret in (WRONG["AWS_SECRET_ACCESS_KEY"], KEYS["AWS_SECRET_ACCESS_KEY"]):
        assert secret not in done.stderr + done.stdout


def test_a_root_on_object_storage_needs_a_tracking_server(root: str) -> None:
    done = finish("pipeline", *TINY, f"root={root}", **KEYS)
    assert done.returncode == 2
    assert "tracking.uri" in done.stderr
