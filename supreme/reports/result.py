"""What a finished label stage says of itself."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from supreme.manifest import Manifest, Stage


class LabelResult(BaseModel):
    """Counts of a label stage."""

    model_config = ConfigDict(frozen=True)

    records: int
    statements: int = 0
    statements_without_entity: int = 0
    statements_corrected: int = 0
    corrections_unused: int = 0
    statements_refused: dict[str, int] = {}
    """Why a language model's reply was refused -> statements."""
    names_linked: dict[str, int] = {}
    """How a language model's names were linked to entities -> names."""
    coverage: float = 0.0
    """Share of the records with at least one entity present."""
    vocabulary: int = 0
    """Entities that are queries of pre-training."""
    held_out: list[str] = []
    """Ids of the entities kept out of pre-training."""
    entities: dict[str, dict[str, dict[str, int]]] = {}
    """Entity -> split -> "present", "uncertain" or "absent" -> records."""


LABELS = Stage(
    name="labels",
    job="label",
    result=LabelResult,
    files=(
        *("statements.parquet", "entities.json", "links.json", "labels.parquet", "vocabulary.json"),
        *("audit.html", "audit.json"),
    ),
)
LabelManifest = Manifest[LabelResult]
