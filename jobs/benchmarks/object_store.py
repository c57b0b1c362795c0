"""An S3 server on this machine for as long as a measurement: SeaweedFS, where its package is installed."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyarrow import fs

from supreme import storage

_DEADLINE_S = 90.0
_SERVICES = ("master", "volume", "filer", "s3")


def server() -> str | None:
    """The path of the server's program, or None where it is not installed."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


@contextmanager
def serving(program: str, folder: Path) -> Iterator[str]:
    """A bucket on the loopback interface that asks for no credentials; gives its ``s3://`` URI.

    Raises:
        TimeoutError: the server does not come up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ports = free_ports(2 * len(_SERVICES))
    names = [f"-{service}.port{kind}" for service in _SERVICES for kind in ("", ".grpc")]
    command = [program, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]
    command += ["-volume.max=20", "-master.volumeSizeLimitMB=256"]
    command += [f"{name}={port}" for name, port in zip(names, ports, strict=True)]
    # Off, or two servers on a machine would meet on these fixed ports.
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        yield _bucket(f"127.0.0.1:{ports[-2]}", process)
    finally:
        process.kill()  # nothing of it is kept
        process.wait()


def copy(source: str, target: str) -> None:
    """Copy a finished stage folder, its manifest last."""
    for name in sorted(storage.list_files(source), key=lambda name: name == "manifest.json"):
        storage.write_bytes(storage.join(target, name), storage.read_bytes(storage.join(source, name)))


def _bucket(address: str, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + _DEADLINE_S
    options = {"endpoint_override": address, "scheme": "http", "region": "us-east-1"}
    while True:
        try:
            # The gateway answers a little before the storage behind it does.
            system = fs.S3FileSystem(anonymous=True, allow_bucket_creation=True, **options)
            system.create_dir("bench")
            query = "&".join(f"{name}={value}" for name, value in options.items())
            return f"s3://bench?anonymous=true&{query}"
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(f"the S3 server at {address} does not come up: {error}") from error
            time.sleep(0.5)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
