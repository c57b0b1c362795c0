"""What a finished pre-training stage says of itself."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from supreme.manifest import Manifest, Stage


class WeightSelection(BaseModel):
    """Which weights are released, and the number by which models are compared."""

    model_config = ConfigDict(frozen=True)

    metric: str
    value: float | None
    """None where no class has a positive."""
    rule: str


class PretrainResult(BaseModel):
    """Facts of a finished run."""

    model_config = ConfigDict(frozen=True)

    steps: int
    samples_seen: int
    epochs: float
    seconds: float
    records_per_s: float
    parameters: int
    weights_sha256: str
    stopped_early: bool
    selection: WeightSelection
    validation_digest: str
    """Two validation numbers are comparable only where this is equal."""
    start: str = ""
    """The model that training went on from, and the first digits of its digest."""
    run_id: str = ""
    """MLflow run."""


#: Files of a training run, relative to its folder.
RUN_FILES = (
    *("queries.safetensors", "reports.safetensors", "weights.safetensors", "state.json", "metrics.jsonl"),
    *("run.json", "bundle/*", "encoder/*", "start/*", "checkpoints/**", "ray/**"),
)
PRETRAIN = Stage(name="pretrain", job="pretrain", result=PretrainResult, files=RUN_FILES)
PretrainManifest = Manifest[PretrainResult]
