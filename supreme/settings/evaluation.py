"""Evaluation and batch prediction: the sections ``[evaluation]`` and ``[predict]``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from supreme.settings.section import Count, Names, Section, at_most
from supreme.settings.uris import ModelUri, Uri, Uris
from supreme.settings.wfdb import ChannelLeads, GainPerMv, SampleUnit

Fractions = Annotated[
    tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(strict=False, min_length=1, max_length=20)
]


class Probes(Section):
    """Linear probes on frozen embeddings."""

    fractions: Fractions = (0.01, 0.05, 0.1, 1.0)
    """Shares of the training patients."""
    draws: Annotated[int, at_most(1000, "each draw fits every class anew")] = Field(default=10, ge=1)
    """Random draws of each fraction below 1."""
    draw: Literal["plain", "stratified"] = "plain"
    """`stratified` gives each class its share of positive patients, at least one where there is room."""


class Evaluation(Section):
    """Zero-shot evaluation, and the page about it."""

    min_positives: Count = Field(default=5, ge=1)
    """A class with fewer positive or negative patients is reported, but not part of the headline mean."""
    bootstrap: Annotated[int, at_most(100_000, "more replicates change no shown digit")] = Field(
        default=500, ge=0
    )
    """Replicates of the bootstrap over patients when models are compared; 0 takes the closed form."""
    model_uri: ModelUri = ""
    """`models:/name@alias`, `models:/name/version` or the folder of a bundle; the champion when empty."""
    protocols: Names = ("merl", "merl-corrected", "strict")
    """Protocols of the benchmarks: `merl` as published, `merl-corrected` with true CSN labels, `strict`."""
    splits: Uri = ""
    """Folder of released label files, which name the records of each split; splits by rule when empty."""
    split: Literal["test", "validation", "train", "all"] = "test"
    """Records of a benchmark that are scored; `all` takes what is there of a partial copy."""
    benchmarks: Uris = ()
    """TOML files with label sets of your own: columns, and the codes that make each positive."""
    prompts: Uris = ("phrasings",)
    """Prompt sets: `name`, `definition`, `phrasings`, or JSON or TOML files of class -> text or texts."""
    plates: Annotated[int, at_most(1000, "a browser cannot show more on one page")] = Field(default=8, ge=0)
    """12-lead examples on the report's page."""
    probes: Probes = Probes()
    corrections: Uri = ""
    """CSV of a cardiologist's verdicts on suspect labels (benchmark, record_id, class, verdict: present,
    absent or uncertain); results are given with and without them."""


class Predict(Section):
    """Scores for a folder of ECG files."""

    uri: Uri = ""
    """Folder or `s3://` prefix of ECG files of any known format, at any depth."""
    queries: Names = ()
    """Text queries, such as `["atrial fibrillation?"]`."""
    gain_per_mv: GainPerMv = None
    """Converter steps in a millivolt of every channel, instead of gains and units in the headers, as
    `sources.N.gain_per_mv`."""
    leads: ChannelLeads = Field(default_factory=dict)
    """Channel name -> lead, for names that are not understood, as `sources.N.leads`."""
    unit: SampleUnit = ""
    """Unit of the samples in HDF5 and `.npy` files that name none, as `sources.N.unit`."""
    output: Uri = Field(default="", pattern=r"^$|\.parquet(\?|$)")
    """Parquet file to write; `predictions.parquet` in the recipe's folder when empty."""


class Export(Section):
    """Signals for another program, prepared as its model wants them."""

    convention: str = Field(default="merl", max_length=3000)
    """Input convention: a name (`merl`, `ecg-fm` ...), or a .toml file of your own."""
    protocol: str = Field(default="", max_length=100)
    """Protocol whose cut is made first: `merl` takes 5 s of CPSC2018; the whole record when empty."""
    datasets: Names = ()
    """Data sets that are exported; all with evaluation shards when empty."""
    splits: Names = ()
    """Splits that are exported, such as `["test"]`; all when empty."""
