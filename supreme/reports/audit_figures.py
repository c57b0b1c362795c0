"""What the audit of a label stage found, as it is written to `audit.json` and shown on its page."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from supreme.reports.result import LabelResult


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AuditRequest(_Figures):
    """What decides an audit: an equal request gives an equal page."""

    labels: str
    """Digest of the label stage."""
    compare_with: str
    """Digest of the earlier label stage, or ""."""
    samples: int
    seed: int


class EntityCounts(_Figures):
    """Records that say an entity is present, uncertain or absent; ``train`` of the present ones."""

    id: str
    name: str
    group: str
    use: str
    """"query", "held out" or "rare"."""
    train: int
    present: int
    uncertain: int
    absent: int


class Unmatched(_Figures):
    """Statements without an entity, and how often they occur among all ``of`` occurrences."""

    statements: int
    occurrences: int
    of: int
    most_frequent: list[tuple[str, int]]


class CodeCounts(_Figures):
    """Agreement of the reports with one code of a data set; counts are of records."""

    code: str
    entities: tuple[str, ...]
    coded: int
    stated: int
    both: int
    precision: float | None
    recall: float | None
    f1: float | None
    kappa: float | None
    uncertain: int


class SampleStatement(_Figures):
    """A statement of a sample report; a mention is (start, end, entity, assertion, cue)."""

    text: str
    corrected: bool
    mentions: list[tuple[int, int, str, str, str]]


class Sample(_Figures):
    """A record drawn at random: its codes, its labels by assertion, its report's statements."""

    record_id: str
    codes: list[str]
    labels: dict[str, tuple[str, ...]]
    statements: list[SampleStatement]


class EntityAgreement(_Figures):
    """How far two readings agree that an entity is in a statement; counts are of unique statements."""

    entity: str
    both: int
    first_only: int
    second_only: int
    kappa: float | None
    """Cohen's; None where neither or both name it everywhere."""
    same_assertion: float | None
    """Share of ``both``."""


class DifferentStatement(_Figures):
    """A statement that two readings read differently: entity -> assertion that only one of them has."""

    text: str
    records: int
    first: dict[str, str]
    second: dict[str, str]


class ReadingComparison(_Figures):
    """Two readings of ``shared`` statements; of the ``different`` ones the most frequent are examples."""

    shared: int
    entities: list[EntityAgreement]
    different: int
    examples: list[DifferentStatement]


class VocabularyChange(_Figures):
    """Entities that one of two vocabularies lacks, and what has changed in the others."""

    added: list[str]
    removed: list[str]
    changed: dict[str, list[str]]


class RecordChange(_Figures):
    """An entity's records by assertion, before and after."""

    entity: str
    before: dict[str, int]
    after: dict[str, int]


class VersionChange(_Figures):
    """What has changed since an earlier label stage."""

    earlier: str
    configuration: list[str]
    vocabulary: VocabularyChange
    records: list[RecordChange]
    coverage: tuple[float, float]
    statements: ReadingComparison


class LinkedName(_Figures):
    """Where a name of the language model led, as in `links.json`."""

    name: str
    entity: str
    how: str
    similarity: float
    records: int


class Audit(_Figures):
    """All figures of an audit."""

    request: AuditRequest
    recipe: str
    created: str
    config: dict[str, Any]
    """The configuration of the label stage."""
    counts: LabelResult
    entities: list[EntityCounts]
    unmatched: Unmatched
    links: list[LinkedName]
    rules: ReadingComparison | None
    """The language model against the rules."""
    codes: dict[str, list[CodeCounts]]
    """Data set -> its codes, the most frequent first."""
    samples: list[Sample]
    versions: VersionChange | None

    def to_json(self) -> dict[str, Any]:
        """What `audit.json` holds; records by entity are in the label stage's own manifest."""
        return self.model_dump(mode="json", exclude={"counts": {"entities"}})
