"""Registered models: versions and aliases of MLflow's registry; `load` gives a model that answers queries."""

from __future__ import annotations

from supreme.inference.record_scores import score_records as score_records
from supreme.registry.pyfunc import _load_pyfunc as _load_pyfunc  # MLflow looks for it here
from supreme.registry.versions import load as load
