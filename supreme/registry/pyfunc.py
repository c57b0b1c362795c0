"""Entry point of MLflow's python_function flavor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from supreme.inference.bundle import DOWNLOAD_NOTE, BundleError
from supreme.inference.bundle.documents import read_yaml
from supreme.inference.query_model import EcgQueryModel
from supreme.registry.versions import find, sha256_of

_MAX_NOTE_BYTES = 2**16


class _QueryFunction:
    """What `mlflow.pyfunc` calls: ECGs at the model's own rate and length, queries as a parameter."""

    def __init__(self, model: EcgQueryModel) -> None:
        self.model = model

    def predict(self, model_input: np.ndarray, params: Mapping[str, Any] | None = None) -> np.ndarray:
        """Probabilities ``(B, Q)`` of ``params["queries"]``, or of the whole vocabulary."""
        names = [entity.name for entity in self.model.vocabulary]
        queries = (params or {}).get("queries", names)
        return self.model.score(np.asarray(model_input), self.model.convention.rate_hz, queries)


def _load_pyfunc(path: str) -> _QueryFunction:
    """Entry point of the python_function flavor.

    Raises:
        BundleError: the files are not those that were registered, or hold anything but a bundle.
    """
    return _QueryFunction(EcgQueryModel.from_bundle(path, _registered_digest(Path(path) / DOWNLOAD_NOTE)))


def _registered_digest(note: Path) -> str:
    """The digest of the version that MLflow has downloaded, by the note that it leaves; "" for a folder."""
    if not note.is_symlink() and not note.exists():
        return ""
    if note.is_symlink() or not note.is_file() or note.stat().st_size > _MAX_NOTE_BYTES:
        raise BundleError(f"{note} is not what MLflow writes: download the model again")
    origin = read_yaml(note.read_bytes(), str(note))
    if not {"model_name", "model_version"} <= origin.keys():
        raise BundleError(f"{note} names no version: download the model again")
    version = find(f"models:/{origin['model_name']}/{origin['model_version']}")
    return sha256_of(version) if version else ""
