"""TLS among Ray's processes, as cluster/README.md switches it on: who has no certificate is not let in."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pipeline_runs
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TOKEN = "0123456789abcdef" * 4
JOB = """
import ray
ray.init(address="{address}")
print(ray.get(ray.remote(lambda: 42).remote()))
"""


@dataclass(frozen=True)
class Head:
    port: int
    folder: Path
    environment: dict[str, str]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


def _certificates(folder: Path, name: str) -> None:
    """A CA and a certificate for 127.0.0.1: ``name-ca.crt``, ``name.crt``, ``name.key``."""
    (folder / "extensions").write_text("subjectAltName=IP:127.0.0.1")
    new = ["-newkey", "rsa:2048", "-nodes"]
    for words in (
        [
            "req",
            "-x509",
            *new,
            "-keyout",
            f"{name}-ca.key",
            "-out",
            f"{name}-ca.crt",
            "-subj",
            f"/CN={name}-ca",
        ],
        ["req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}"],
        [
            *("x509", "-req", "-in", f"{name}.csr", "-CA", f"{name}-ca.crt", "-CAkey", f"{name}-ca.key"),
            *("-CAcreateserial", "-out", f"{name}.crt", "-extfile", "extensions"),
        ],
    ):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("t")
    _certificates(folder, "own")
    _certificates(folder, "foreign")
    (folder / "token").touch(0o600)
    (folder / "token").write_text(TOKEN)
    ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    port, client, agent = (one.getsockname()[1] for one in ports)
    for one in ports:
        one.close()
    variables = {
        "RAY_TMPDIR": str(folder),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_enable_metrics_collection": "0",
        "RAY_USE_TLS": "1",
        "RAY_TLS_CA_CERT": str(folder / "own-ca.crt"),
        "RAY_TLS_SERVER_CERT": str(folder / "own.crt"),
        "RAY_TLS_SERVER_KEY": str(folder / "own.key"),
    }
    options = ["--head", "--block", "--disable-usage-stats", "--node-ip-address=127.0.0.1", f"--port={port}"]
    options += [f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}"]
    process = subprocess.Popen(
        [
            str(Path(sys.executable).with_name("ray")),
            "start",
            *options,
            "--include-dashboard=false",
            "--num-cpus=2",
        ],
        env=pipeline_runs.environment(**variables),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield Head(port, folder, variables)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def _handshake(head: Head, certificate: str) -> None:
    """Speak TLS with the control store, with a certificate or without; raises where it hangs up."""
    context = ssl.create_default_context(cafile=str(head.folder / "own-ca.crt"))
    context.set_alpn_protocols(["h2"])
    if certificate:
        context.load_cert_chain(head.folder / f"{certificate}.crt", head.folder / f"{certificate}.key")
    with (
        socket.create_connection(("127.0.0.1", head.port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        secured.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        if not secured.recv(9):
            raise ConnectionResetError("hung up")


def _wait(head: Head) -> None:
    for _ in range(120):
        try:
            _handshake(head, "own")
        except OSError:
            time.sleep(0.5)
        else:
            return
    pytest.fail("Ray does not answer with TLS")


def test_work_is_done_with_a_certificate_and_the_control_store_hangs_up_without(head: Head) -> None:
    _wait(head)
    for certificate in ("", "foreign"):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            _handshake(head, certificate)
    with socket.create_connection(("127.0.0.1", head.port), timeout=20) as plain:
        plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        assert not plain.recv(9).startswith(b"\x00\x00")  # no frame of HTTP/2: it wants TLS
    done = subprocess.run(
        [sys.executable, "-c", JOB.format(address=head.address)],
        env=pipeline_runs.environment(**head.environment),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.split()[-1:] == ["42"], done.stderr[-2000:]
