"""An MLflow server of the tests' own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.object_store import free_ports
from faulty_s3 import BIN, server


@contextmanager
def running(
    folder: Path, database: str, artifacts: str, workers: int = 1, **environment: str
) -> Iterator[str]:
    """The address of `mlflow server` on a free port; its log is ``server.log`` in the folder.

    Args:
        database: of runs and models.
        artifacts: folder or prefix of the files.
    """
    [port] = free_ports(1)
    command = [str(BIN / "mlflow"), "server", "--host=127.0.0.1", f"--port={port}", f"--workers={workers}"]
    command += [f"--backend-store-uri={database}", f"--artifacts-destination={artifacts}"]
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | environment
    with server(command, f"http://127.0.0.1:{port}/health", folder / "server.log", **environment):
        yield f"http://127.0.0.1:{port}"
