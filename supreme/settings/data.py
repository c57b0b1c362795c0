"""Raw data sets and shards: the sections ``[[sources]]`` and ``[shards]``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from supreme.settings.names import OptionalName
from supreme.settings.section import Section, at_most
from supreme.settings.uris import Uri
from supreme.settings.wfdb import ChannelLeads, GainPerMv, SampleUnit

Records = Annotated[int, Field(gt=0), at_most(20_000_000, "all public ECGs together are ten million")]
Weight = Annotated[int, Field(ge=1), at_most(1_000, "a record seen so often in an epoch is learned by heart")]
MAX_SAMPLES = 1_000_000
"""Of a record in a shard: it is 24 MB then, and a batch of them is held in memory."""
MAX_ROW_GROUP_BYTES = 1 << 30
"""Arrow addresses 2 GiB in a column of a row group."""

#: Each is a module of `supreme.records`; data sets below `real` are recognised in this order.
SourceKind = Literal[
    "simulated", "ptbxl", "csn", "cpsc2018", "cinc2021", "mimic_iv_ecg", "code15", "wfdb_folder", "ecg_folder"
]


class Source(Section):
    """One raw data set."""

    kind: SourceKind
    """Layout of the data set, or `simulated`."""
    name: OptionalName = ""
    """Name of the data set in record ids and folders; the kind when empty."""
    uri: Uri = ""
    """Folder or `s3://` prefix of the data set in its own layout (not used by `simulated`)."""
    records: Records | None = None
    """Number of ECGs to draw for `simulated`; for other kinds the most records to read, first by id."""
    weight: Weight = 1
    """How often a training record is seen in an epoch: more than once for a small data set beside a large."""
    rate_hz: Literal[100, 500] | None = None
    """Which of PTB-XL's two signals to read; the higher rate that is present when not set (`ptbxl` only)."""
    report_filter: Literal["none", "merl"] = "none"
    """`merl`: refuse records whose report has fewer than four words, as MERL does (`mimic_iv_ecg` only)."""
    table: Uri = ""
    """CSV or Parquet table of the records (`wfdb_folder` and `ecg_folder` only). When empty, `wfdb_folder`
    takes the only one in the folder, and `ecg_folder` has every ECG file as a record."""
    gain_per_mv: GainPerMv = None
    """Converter steps in a millivolt of every channel, instead of gains and units in the WFDB headers: for a
    data set whose headers are wrong."""
    leads: ChannelLeads = Field(default_factory=dict)
    """Channel name -> lead, for names that are not understood, as `leads = {CH1 = "I", CH2 = "-aVR"}`."""
    unit: SampleUnit = ""
    """Unit of the samples in HDF5 and `.npy` files that name none, as `mV`, `uV` or `1e-4 V` (`ecg_folder`
    and `code15` only); mV with a warning when empty."""

    @model_validator(mode="after")
    def _only_where_it_is_read(self) -> Source:
        readers = {
            **{"rate_hz": ("ptbxl",), "report_filter": ("mimic_iv_ecg",)},
            **{"table": ("wfdb_folder", "ecg_folder"), "unit": ("ecg_folder", "code15")},
        }
        for field, kinds in readers.items():
            if getattr(self, field) != type(self).model_fields[field].default and self.kind not in kinds:
                names = " and ".join(map(repr, kinds))
                raise ValueError(f"{field} is read by kind {names} only, not by {self.kind!r}")
        if self.kind == "simulated" and (self.gain_per_mv or self.leads):
            raise ValueError("gain_per_mv and leads are read from WFDB headers: 'simulated' has none")
        return self

    @property
    def dataset(self) -> str:
        return self.name or self.kind


class Shards(Section):
    """Sampling rate, length and layout of the shards."""

    rate_hz: Annotated[int, at_most(50_000, "no ECG is sampled faster")] = Field(default=100, ge=10)
    """Sampling rate of the stored signals; other rates are resampled."""
    duration_s: Annotated[float, at_most(86_400, "a record is at most a day")] = Field(default=10.0, gt=0)
    """Length of the stored signals: longer records are cut, shorter ones padded with zeros."""
    records_per_shard: Annotated[int, at_most(1_000_000, "a shard is one file and one task of Ray Data")] = (
        Field(default=2048, gt=0)
    )
    """Records in one Parquet file."""
    row_group_size: Annotated[int, at_most(65_536, "a row group is read as a whole")] = Field(
        default=128, gt=0
    )
    """Records in one Parquet row group, the unit that is read and shuffled."""
    compression: Literal["lz4", "zstd-3", "none", "delta"] = "lz4"
    """Lossless compression of the signals. On real ECGs `lz4` takes 0.37 of the size of int16, `zstd-3` 0.28
    and is a little slower to read, `delta` 0.21 and is slow: for where storage or the network is the limit.
    `none` is the fastest to read, and plain int16 to any reader of Parquet."""
    derive_limb_leads: bool = False
    """Accept records with only I, II and V1-V6, and compute the other four limb leads."""
    max_rejected_fraction: float = Field(default=0.05, ge=0, le=1)
    """The stage fails when a larger share of a data set's records is refused."""

    @model_validator(mode="after")
    def _fits_into_memory(self) -> Shards:
        if not 1 <= self.samples <= MAX_SAMPLES:
            raise ValueError(
                f"rate_hz={self.rate_hz} x duration_s={self.duration_s:g} are {self.samples:,} samples a "
                f"record: 1 to {MAX_SAMPLES:,} are possible"
            )
        if self.row_group_size * self.record_bytes > MAX_ROW_GROUP_BYTES:
            most = MAX_ROW_GROUP_BYTES // self.record_bytes
            raise ValueError(
                f"row_group_size={self.row_group_size} x {self.samples:,} samples are more than 1 GiB, which "
                f"is read as a whole: at most {most:,} records of this length"
            )
        return self

    @property
    def record_bytes(self) -> int:
        """Size of a record's twelve leads in int16, without compression."""
        return 24 * self.samples

    @property
    def samples(self) -> int:
        """Samples of a lead in a stored record."""
        return round(self.rate_hz * self.duration_s)
