"""CSN (Chapman-Shaoxing-Ningbo, PhysioNet `ecg-arrhythmia`): WFDB with SNOMED CT codes, no reports."""

from __future__ import annotations

from supreme import config, storage
from supreme.records.wfdb_files import LabelledFolder, WfdbReader

LAYOUT = "CSN: WFDBRecords/ and ConditionNames_SNOMED-CT.csv"


def recognise(folder: str) -> list[config.Source]:
    """The folder itself where it has this layout."""
    names = ("WFDBRecords", "ConditionNames_SNOMED-CT.csv")
    if all(storage.exists(storage.join(folder, name)) for name in names):
        return [config.Source(kind="csn", uri=folder)]
    return []


def open_folder(source: config.Source) -> LabelledFolder:
    """The records below `WFDBRecords/`.

    Raises:
        ConfigError: another layout.
    """
    if not storage.is_folder(storage.join(source.uri, "WFDBRecords")):
        raise config.ConfigError(f"{source.uri} is not a CSN folder: no WFDBRecords/ in it")
    return LabelledFolder(source.dataset, source.uri, WfdbReader.of(source), below="WFDBRecords")
