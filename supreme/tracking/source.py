"""Where a run comes from: who started it, with which code, from which data."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from mlflow.entities import Dataset, DatasetInput, InputTag

from supreme import __version__, storage
from supreme.runtime import origin

#: MLflow refuses longer digests of data.
MAX_DIGEST = 36
_PACKAGE = Path(__file__).resolve().parents[1]
_SOURCES = (".py", ".toml", ".json")


def source_tags() -> dict[str, str]:
    """Version, digest and commit of the code, command, user and hosts, under the names that MLflow shows."""
    come = origin.of_this_process()
    tags = {
        "supreme.code_version": __version__,
        "supreme.source_digest": source_digest(),
        "mlflow.user": come.user,
        "mlflow.source.name": "/".join(Path(sys.argv[0]).parts[-2:]) or "python",
        "mlflow.source.type": "LOCAL",
        "supreme.host": platform.node(),
        "supreme.submitted_from": come.host,
    }
    if come.commit:
        changed = str(come.changed).lower()
        tags |= {"mlflow.source.git.commit": come.commit, "supreme.git.changed": changed}
    return tags


def submitter() -> str:
    """`user@host` of whoever started this process, or submitted its job."""
    come = origin.of_this_process()
    return f"{come.user or 'unknown'}@{come.host}"


@cache
def source_digest(package: Path = _PACKAGE) -> str:
    """A sha256 over this package's code and data files, whether or not there is a git checkout."""
    files = sorted(path for path in package.rglob("*") if path.suffix in _SOURCES)
    sha256 = hashlib.sha256()
    for path in files:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        sha256.update(f"{path.relative_to(package).as_posix()} {content}\n".encode())
    return sha256.hexdigest()


def dataset_inputs(inputs: Mapping[str, str], root: str, context: str) -> list[DatasetInput]:
    """The data of a run as MLflow shows it: name, digest and place of each input.

    Args:
        inputs: stage such as ``shards/ptbxl`` -> digest of its manifest.
        root: folder of the stages.
        context: what the data was used for, such as "training".
    """
    return [
        DatasetInput(
            dataset(name, digest, storage.join(root, name)), [InputTag("mlflow.data.context", context)]
        )
        for name, digest in inputs.items()
    ]


def dataset(name: str, digest: str, uri: str) -> Dataset:
    """A data set as MLflow's entity."""
    kind = "s3" if uri.startswith("s3://") else "local"
    place = json.dumps({"uri": uri.partition("?")[0]})
    return Dataset(name=name, digest=digest[:MAX_DIGEST], source_type=kind, source=place)
