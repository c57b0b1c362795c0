"""What a finished shard folder says of itself."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from supreme.manifest import Manifest, Stage


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True)


class RepeatedRecordings(_Facts):
    """Records whose signal another record of the data set has as well."""

    records: int = 0
    records_across_splits: int = 0
    records_of_several_patients: int = 0
    examples: list[list[str]] = []
    """Groups of record ids."""


class SharedReports(_Facts):
    """Reports, and records that share theirs with another one."""

    records: int = 0
    distinct: int = 0
    records_sharing: int = 0
    records_sharing_across_splits: int = 0


class Leakage(_Facts):
    """Patients, recordings and reports on both sides of a border between splits, in one data set."""

    patients_across_splits: int = 0
    same_recording: RepeatedRecordings = RepeatedRecordings()
    reports: SharedReports = SharedReports()


class SharedRecordings(_Facts):
    """Recordings that two data sets both hold."""

    datasets: tuple[str, str]
    recordings: int
    train_and_test: int
    """Those that one data set has in its training and the other in its test split."""
    examples: list[tuple[str, str]]
    """Pairs of record ids."""


class ShardResult(_Facts):
    """Counts of a shard build."""

    records: int
    records_train: int = 0
    records_validation: int = 0
    records_test: int = 0
    patients: int = 0
    rejected: int = 0
    rejected_by_reason: dict[str, int] = {}
    leakage: Leakage = Leakage()

    @property
    def by_split(self) -> dict[str, int]:
        """Split -> records."""
        return {
            "train": self.records_train,
            "validation": self.records_validation,
            "test": self.records_test,
        }


SHARDS = Stage(
    name="shards",
    job="shard",
    result=ShardResult,
    files=(
        *(f"{split}-*.parquet" for split in ("train", "validation", "test")),
        *("rejected/*.parquet", "parts/*.json"),
    ),
)
ShardManifest = Manifest[ShardResult]
