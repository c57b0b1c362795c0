"""Entry point of MLflow's python_function flavor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from supreme.inference.bundle import DOWNLOAD_NOTE
from supreme.inference.query_model import EcgQueryModel
from supreme.registry.versions import _sha256, find


class _QueryFunction:
    """What `mlflow.pyfunc` calls: ECGs at the model's own rate and length, queries as a parameter."""

    def __init__(self, model: EcgQueryModel) -> None:
        self.model = model

    def predict(self, model_input: np.ndarray, params: Mapping[str, Any] | None = None) -> np.ndarray:
        names = [entity.name for entity in self.model.vocabulary]
        queries = (params or {}).get("queries", names)
        return self.model.score(
            np.asarray(model_input), self.model.convention.rate_hz, [str(query) for query in queries]
        )


def _load_pyfunc(path: str) -> _QueryFunction:
    """Entry point of the python_function flavor."""
    note = Path(path) / DOWNLOAD_NOTE
    expected = ""
    if note.exists():
        origin = yaml.safe_load(note.read_text())
        version = find(f"models:/{origin['model_name']}/{origin['model_version']}")
        expected = _sha256(version) if version else ""
    return _QueryFunction(EcgQueryModel.from_bundle(path, expected))
