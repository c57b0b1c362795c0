"""A PostgreSQL of the tests' own, on a free port of loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from benchmarks.object_store import free_ports

USER, PASSWORD = "mlflow", "correct-horse-battery"
_PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path())
#: PostgreSQL refuses to run as root.
_RUNNER = "nobody" if os.getuid() == 0 else None


@dataclass(frozen=True)
class Postgres:
    """A server that asks for the password."""

    folder: Path
    port: int

    def run(self, program: str, *arguments: str) -> None:
        """Run a program of PostgreSQL."""
        command = [str(_PROGRAMS / program), *arguments]
        subprocess.run(
            command, check=True, user=_RUNNER, cwd=self.folder, stdout=subprocess.DEVNULL, timeout=120
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        self._control("-l", f"{self.folder}/log", "-o", options, "start")

    def die(self) -> None:
        """End it without a checkpoint, as when its host goes."""
        self._control("-m", "immediate", "stop")

    def _control(self, *arguments: str) -> None:
        self.run("pg_ctl", "-D", f"{self.folder}/data", "-w", *arguments)


@contextmanager
def running() -> Iterator[Postgres]:
    """A fresh server, which the variables PG* name for the block; skips where PostgreSQL is missing."""
    if not (_PROGRAMS / "initdb").is_file() or not shutil.which("pg_dump"):
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="supreme-pg-", dir="/tmp"))  # sockets have short names
    (folder / "password").write_text(PASSWORD)
    for path in (folder, folder / "password"):
        if _RUNNER:
            shutil.chown(path, _RUNNER)
    server = Postgres(folder, free_ports(1)[0])
    who = ["-U", USER, "--auth=scram-sha-256", f"--pwfile={folder}/password"]
    server.run("initdb", "-D", f"{folder}/data", *who)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGHOST", "127.0.0.1")
        patch.setenv("PGPORT", str(server.port))
        patch.setenv("PGUSER", USER)
        patch.setenv("PGPASSWORD", PASSWORD)
        try:
            yield server
        finally:
            server.die()
            shutil.rmtree(folder)


def create_database(name: str) -> str:
    """The address of a new database of the server that PG* variables name, without the password."""
    sql(f"CREATE DATABASE {name}")
    return f"postgresql+psycopg2://{USER}@127.0.0.1:{os.environ['PGPORT']}/{name}"


def sql(statement: str) -> None:
    """Run a statement as the administrator."""
    subprocess.run(["psql", "-q", "-d", "postgres", "-c", statement], check=True)
