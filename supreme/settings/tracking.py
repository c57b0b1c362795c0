"""MLflow: the section ``[tracking]``."""

from __future__ import annotations

from pydantic import Field

from supreme.settings.names import Name
from supreme.settings.section import Section
from supreme.settings.uris import ServerUri


class Tracking(Section):
    """Where MLflow keeps runs and models."""

    uri: ServerUri = ""
    """Address of the tracking server; when empty MLFLOW_TRACKING_URI, and without that a sqlite file under
    `root`. A login comes from MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."""
    experiment: Name = "supreme"
    """Experiment of the runs."""
    model: Name = "supreme-ecg"
    """Name of the registered model."""
    licence: str = Field(default="", max_length=200)
    """Licence of registered models, for their card: that of the data may forbid to share weights."""
