"""Back up and restore what cannot be computed again: MLflow's PostgreSQL, and its artifacts.

python cluster/backup.py save FOLDER s3://supreme/mlflow       into an empty folder, or s3:// prefix elsewhere
python cluster/backup.py check FOLDER                          every byte against its sha256
python cluster/backup.py restore FOLDER s3://supreme/mlflow    into an EMPTY database and prefix

The database is that of PGHOST, PGPORT, PGUSER, PGDATABASE and PGPASSWORD (or ~/.pgpass); `pg_dump` and
`pg_restore` must not be older than the server. Stop MLflow while this runs, so that both belong together.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, ValidationError

from supreme import storage

DUMP, OBJECTS, INVENTORY = "postgres.dump", "objects", "backup.json"
_BLOCK = 1 << 22


class Inventory(BaseModel):
    """What a backup holds; written last."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    saved: datetime
    source: str
    """Where the artifacts were."""
    files: dict[str, str]
    """Name below the folder -> sha256."""


def save(folder: str, artifacts: str) -> Inventory:
    """Dump the database and copy the artifacts.

    Raises:
        ValueError: the folder holds something.
        CalledProcessError: `pg_dump` failed; it has said why.
    """
    if storage.list_files(folder):
        raise ValueError(f"{folder} is not empty: name a new folder")
    files = {}
    with tempfile.TemporaryDirectory() as local:
        dump = f"{local}/{DUMP}"
        subprocess.run(["pg_dump", "--format=custom", "--no-owner", f"--file={dump}"], check=True)
        files[DUMP] = _copy(dump, storage.join(folder, DUMP))
    for name in storage.list_files(artifacts):
        place = f"{OBJECTS}/{name}"
        files[place] = _copy(storage.join(artifacts, name), storage.join(folder, place))
    inventory = Inventory(saved=datetime.now(UTC), source=artifacts, files=files)
    storage.write_bytes(storage.join(folder, INVENTORY), inventory.model_dump_json(indent=1).encode())
    return inventory


def check(folder: str) -> Inventory:
    """Read every byte of a backup.

    Raises:
        ValueError: it is unfinished, or a file is missing or has changed.
    """
    try:
        inventory = Inventory.model_validate_json(storage.read_bytes(storage.join(folder, INVENTORY)))
    except (storage.NotFound, ValidationError) as error:
        raise ValueError(f"{folder} is no finished backup: {INVENTORY} is missing or damaged") from error
    for name, digest in inventory.files.items():
        try:
            actual = _copy(storage.join(folder, name), "")
        except storage.NotFound as error:
            raise ValueError(f"{folder}: {name} is missing: take another backup") from error
        if actual != digest:
            raise ValueError(f"{folder}: {name} has changed since it was saved: take another backup")
    return inventory


def restore(folder: str, artifacts: str) -> Inventory:
    """Check a backup, then fill an empty database and an empty prefix from it.

    Raises:
        ValueError: the backup is damaged, or the prefix holds something.
        CalledProcessError: `pg_restore` failed, as it does where tables are; the database is as it was.
    """
    inventory = check(folder)
    if storage.list_files(artifacts):
        raise ValueError(f"{artifacts} is not empty: restore into another prefix, or delete it yourself")
    with tempfile.TemporaryDirectory() as local:
        dump = f"{local}/{DUMP}"
        _copy(storage.join(folder, DUMP), dump)
        database = os.environ.get("PGDATABASE", "mlflow")
        options = ["--no-owner", "--exit-on-error", "--single-transaction", f"--dbname={database}"]
        subprocess.run(["pg_restore", *options, dump], check=True)
    for name in inventory.files:
        if name.startswith(f"{OBJECTS}/"):
            target = storage.join(artifacts, name.removeprefix(f"{OBJECTS}/"))
            _copy(storage.join(folder, name), target)
    return inventory


def _copy(source: str, target: str) -> str:
    """Copy a file of any size, or only read it; returns its sha256."""
    digest = hashlib.sha256()
    with storage.open_file(source) as reading:
        size = reading.size()
        if not target:
            while block := reading.read(_BLOCK):
                digest.update(block)
            return digest.hexdigest()
        with storage.writing(target, size) as writing:
            while block := reading.read(_BLOCK):
                digest.update(block)
                writing.write(block)
    return digest.hexdigest()


def main(arguments: list[str]) -> int:
    """Run one verb; 0 done, 1 failed, 2 wrong usage."""
    verbs: dict[str, tuple[int, Callable[..., Inventory]]] = {
        "save": (2, save),
        "check": (1, check),
        "restore": (2, restore),
    }
    verb, *places = arguments or [""]
    if verb not in verbs or len(places) != verbs[verb][0]:
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    try:
        inventory = verbs[verb][1](*places)
    except (ValueError, storage.StorageError, subprocess.CalledProcessError, FileNotFoundError) as error:
        program = isinstance(error, FileNotFoundError) and not isinstance(error, storage.StorageError)
        print(f"{error}; install PostgreSQL's client" if program else error, file=sys.stderr)
        return 1
    print(json.dumps({"saved": inventory.saved.isoformat(), "files": len(inventory.files)}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
