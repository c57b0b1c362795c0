"""Raw data sets and what a shard holds: the sections ``[[sources]]`` and ``[shards]``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from supreme.ecg import LEADS, canonical_lead
from supreme.settings.section import Section

#: Each is a module of `supreme.records`; a folder of unknown layout is shown to them in this order.
SourceKind = Literal[
    "simulated", "ptbxl", "csn", "cpsc2018", "cinc2021", "mimic_iv_ecg", "code15", "wfdb_folder"
]


class Source(Section):
    """One raw data set."""

    kind: SourceKind
    name: str = ""
    """Data set name in record ids and folders; the kind when empty."""
    uri: str = ""
    """Folder or s3:// prefix of the data set in its own layout (not used by `simulated`)."""
    records: int | None = Field(default=None, gt=0)
    """How many records: the number to draw for `simulated`, a limit (first by id) for the others."""
    rate_hz: Literal[100, 500] | None = None
    """Which of PTB-XL's signals; the highest rate that is there when not set (`ptbxl` only)."""
    report_filter: Literal["none", "merl"] = "none"
    """`merl`: refuse records whose report has fewer than four words, as MERL counts (`mimic_iv_ecg` only)."""
    table: str = ""
    """CSV or Parquet file of the records; the only one in the folder when empty (`wfdb_folder` only)."""
    gain_per_mv: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Converter steps in a millivolt of every channel, instead of gains and units in the WFDB headers: for a
    data set whose headers are wrong."""
    leads: dict[str, str] = Field(default_factory=dict)
    """Channel name -> lead, for names that are not understood, as `leads = {CH1 = "I", CH2 = "-aVR"}`."""

    @model_validator(mode="after")
    def _only_where_it_is_read(self) -> Source:
        readers = {"rate_hz": "ptbxl", "report_filter": "mimic_iv_ecg", "table": "wfdb_folder"}
        for field, kind in readers.items():
            if getattr(self, field) != type(self).model_fields[field].default and self.kind != kind:
                raise ValueError(f"{field} is read by kind {kind!r} only, not by {self.kind!r}")
        if self.kind == "simulated" and (self.gain_per_mv or self.leads):
            raise ValueError("gain_per_mv and leads are read from WFDB headers: 'simulated' has none")
        for channel, lead in self.leads.items():
            if canonical_lead(lead) is None:
                raise ValueError(f"leads: {channel!r} = {lead!r} is none of {', '.join(LEADS)}")
        return self

    @property
    def dataset(self) -> str:
        return self.name or self.kind


class Shards(Section):
    """What a shard holds."""

    rate_hz: int = Field(default=100, gt=0)
    duration_s: float = Field(default=10.0, gt=0)
    records_per_shard: int = Field(default=2048, gt=0)
    row_group_size: int = Field(default=128, gt=0)
    compression: Literal["lz4", "zstd-3", "none", "delta"] = "lz4"
    """How signals are held, losslessly (measured by `jobs/bench.py reading`). `lz4`: 0.37 of int16 on real
    ECGs. `zstd-3`: 0.28, and a little slower to read. `delta`: 0.21 and slow, where storage or the network is
    the limit. `none`: plain int16 to any reader of Parquet, and the fastest."""
    derive_limb_leads: bool = False
    """Accept records with I, II, V1-V6 only and compute the other four limb leads."""
    max_rejected_fraction: float = Field(default=0.05, ge=0, le=1)
    """More refused records than this fail the stage."""

    @property
    def samples(self) -> int:
        return round(self.rate_hz * self.duration_s)
