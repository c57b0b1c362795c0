"""MLflow: the section ``[tracking]``."""

from __future__ import annotations

from supreme.settings.section import Section


class Tracking(Section):
    """MLflow."""

    uri: str = ""
    """Tracking server; when empty, MLFLOW_TRACKING_URI, or without that a sqlite file under `root`.
    Credentials: MLFLOW_TRACKING_USERNAME etc."""
    experiment: str = "supreme"
    model: str = "supreme-ecg"
    """Registered model name."""
