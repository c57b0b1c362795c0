"""The MLflow 3 logged model of a version: its files, and the metrics by which MLflow ranks models."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput

from supreme.inference.bundle.files import BundleFiles

#: Tag of a version: id of its logged model.
MODEL_ID = "model_id"
_DIGEST = "sha256"


def upload(
    client: MlflowClient, bundle: BundleFiles, run_id: str, name: str, tags: Mapping[str, str]
) -> LoggedModel:
    """Make the verified bytes of a bundle a logged model of a run.

    One whose upload was interrupted is completed: a bundle is never two models.
    """
    experiment = client.get_run(run_id).info.experiment_id
    title = re.sub(r"[/:.%\"']", "-", name)  # what MLflow refuses in a logged model's name
    same = client.search_logged_models([experiment], f"tags.{_DIGEST} = '{bundle.digest}'")
    model = next((one for one in same if one.name == title), None)
    if model is None:
        model = client.create_logged_model(
            experiment, title, run_id, tags={**tags, _DIGEST: bundle.digest}, model_type="supreme"
        )
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
    with tempfile.TemporaryDirectory() as temporary:
        for file, content in bundle.contents.items():
            (Path(temporary) / file).write_bytes(content)
        client.log_model_artifacts(model.model_id, temporary)
    return client.finalize_logged_model(model.model_id, "READY")


def link(client: MlflowClient, model_id: str, name: str, version: str) -> None:
    """Show the version on the page of its logged model."""
    places = json.dumps([{"name": name, "version": str(version)}])
    client.set_logged_model_tags(model_id, {"mlflow.modelVersions": places})
