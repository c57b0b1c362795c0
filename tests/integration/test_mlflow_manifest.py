"""The MLflow of cluster/kuberay, as its manifest starts it: PostgreSQL, logins, allowed host names."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import postgres_server
import pytest
from checks.manifests import Manifest, of_kind
from checks.render import render
from faulty_s3 import server

pytestmark = pytest.mark.slow

BASE = Path(__file__).resolve().parents[2] / "cluster" / "kuberay" / "base"
DATABASE = "postgresql+psycopg2://mlflow@postgres:5432/mlflow"
ADMIN = "admin-of-the-tests"


def _containers() -> tuple[dict, dict, Manifest]:
    """Init container, container, and the ConfigMap of the logins."""
    manifests = render(BASE)
    [server] = [one for one in of_kind(manifests, "Deployment") if one.name == "mlflow"]
    [auth] = [one for one in of_kind(manifests, "ConfigMap") if one.name == "mlflow-auth"]
    pod = ("spec", "template", "spec")
    return server.at(*pod, "initContainers", 0), server.at(*pod, "containers", 0), auth


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of the server, started with the manifest's commands on this machine's addresses."""
    folder = tmp_path_factory.mktemp("mlflow")
    with postgres_server.running():
        database = postgres_server.create_database("mlflow")
        schema, pod, auth = _containers()
        text = auth.at("data", "basic_auth.ini")
        assert DATABASE in text
        (folder / "basic_auth.ini").write_text(text.replace(DATABASE, database))
        with socket.create_server(("127.0.0.1", 0)) as free:
            number = int(free.getsockname()[1])
        literal = {one["name"]: one["value"] for one in pod["env"] if "value" in one}
        environment = (
            os.environ
            | literal
            | {
                "HOME": str(folder),
                "MLFLOW_AUTH_CONFIG_PATH": str(folder / "basic_auth.ini"),
                "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN,
                "MLFLOW_FLASK_SERVER_SECRET_KEY": "key-of-the-tests",
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            }
        )

        def here(command: list[str]) -> list[str]:
            words = [word.replace(DATABASE, database) for word in command]
            words = [word.replace("--port=5000", f"--port={number}") for word in words]
            return [word.replace("--host=0.0.0.0", "--host=127.0.0.1") for word in words]

        subprocess.run(here(schema["command"]), env=environment, cwd=folder, check=True)
        with server(here(pod["command"]), f"http://127.0.0.1:{number}/health", folder / "log", **environment):
            yield number


def _status(port: int, path: str, login: str = "", host: str = "mlflow:5000") -> int:
    request = Request(f"http://127.0.0.1:{port}{path}", headers={"Host": host})
    if login:
        request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    try:
        with urlopen(request, timeout=30) as response:
            return int(response.status)
    except HTTPError as error:
        return error.code
    except (URLError, OSError):
        return 0


API = "/api/2.0/mlflow/experiments/search?max_results=1"


def test_only_logins_and_known_hosts_are_let_in(port: int) -> None:
    assert _status(port, API) == 401
    assert _status(port, API, "admin:wrong") == 401
    assert _status(port, API, f"admin:{ADMIN}") == 200
    assert _status(port, API, f"admin:{ADMIN}", host="evil.example") == 403
    # Probes come with the address of the pod.
    assert _status(port, "/health", host="10.0.0.7:5000") == 200


def test_no_secret_stands_in_an_argument(port: int) -> None:
    """The password of the database comes from PGPASSWORD, which libpq reads."""
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _readable(path)]
    servers = [line for line in lines if f"--port={port}".encode() in line]
    assert servers
    assert all(secret.encode() not in line for line in lines for secret in (ADMIN, postgres_server.PASSWORD))


def _readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True
