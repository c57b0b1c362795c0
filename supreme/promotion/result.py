"""What `jobs/promote.py` prints."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from supreme.promotion.decision import Decision
from supreme.registry import versions
from supreme.registry.history import HistoryEntry
from supreme.registry.versions import ModelVersion


class Difference(BaseModel):
    """Macro AUROC of the candidate minus the champion's, with its 95 % interval by patient."""

    model_config = ConfigDict(frozen=True)

    difference: float
    low: float
    high: float


class PromotionResult(BaseModel):
    """A decision about a version."""

    model_config = ConfigDict(frozen=True)

    model_uri: str
    version: int
    alias: str
    promoted: bool
    reason: str
    decision: int | None
    """Number in the history; None where the alias was moved by hand."""
    evidence_run: str
    """MLflow run with the artifact `decision.json`."""
    comparisons: dict[str, Difference]

    @classmethod
    def of(cls, version: ModelVersion, decision: Decision, entry: HistoryEntry | None) -> PromotionResult:
        """The result of a decision that is in the history."""
        return cls(
            model_uri=f"models:/{version.name}/{version.version}",
            version=int(version.version),
            alias=versions.CHAMPION if decision.promoted else versions.CANDIDATE,
            promoted=decision.promoted,
            reason=entry.reason if entry else decision.reason,
            decision=entry.number if entry else None,
            evidence_run=entry.run_id if entry else "",
            comparisons={
                one.dataset: Difference(difference=one.difference, low=one.low, high=one.high)
                for one in decision.comparisons
            },
        )


class PromotionHistory(BaseModel):
    """Every decision about a registered model, oldest first."""

    model_config = ConfigDict(frozen=True)

    model: str
    champion: int | None
    previous: int | None
    note: str
    """Says so where the alias is not where the last decision put it."""
    decisions: tuple[HistoryEntry, ...]

    def lines(self) -> list[str]:
        """For people."""
        lines = [entry.line() for entry in self.decisions] or [f"no decision about {self.model} yet"]
        return lines + ([self.note] if self.note else [])
