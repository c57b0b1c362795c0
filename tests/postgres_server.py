"""A PostgreSQL of the tests' own, on a free port of loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER, PASSWORD = "mlflow", "correct-horse-battery"
_PROGRAMS = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), Path())
#: PostgreSQL refuses to run as root.
_RUNNER = "nobody" if os.getuid() == 0 else None


@contextmanager
def running() -> Iterator[dict[str, str]]:
    """The variables PG* of a fresh server that asks for the password; skips where PostgreSQL is missing."""
    if not (_PROGRAMS / "initdb").is_file() or not shutil.which("pg_dump"):
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="supreme-pg-", dir="/tmp"))  # sockets have short names
    (folder / "password").write_text(PASSWORD)
    for path in (folder, folder / "password"):
        if _RUNNER:
            shutil.chown(path, _RUNNER)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])

    def run(*command: str) -> None:
        subprocess.run(command, check=True, user=_RUNNER, cwd=folder, stdout=subprocess.DEVNULL)

    who = ["-U", USER, "--auth=scram-sha-256", f"--pwfile={folder}/password"]
    run(str(_PROGRAMS / "initdb"), "-D", f"{folder}/data", *who)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    control = [str(_PROGRAMS / "pg_ctl"), "-D", f"{folder}/data", "-w"]
    run(*control, "-l", f"{folder}/log", "-o", options, "start")
    try:
        yield {"PGHOST": "127.0.0.1", "PGPORT": port, "PGUSER": USER, "PGPASSWORD": PASSWORD}
    finally:
        run(*control, "-m", "immediate", "stop")
        shutil.rmtree(folder)


def create_database(name: str) -> str:
    """The address of a new database of the server that PG* variables name, without the password."""
    sql(f"CREATE DATABASE {name}")
    return f"postgresql+psycopg2://{USER}@127.0.0.1:{os.environ['PGPORT']}/{name}"


def sql(statement: str) -> None:
    """Run a statement as the administrator."""
    subprocess.run(["psql", "-q", "-d", "postgres", "-c", statement], check=True)
