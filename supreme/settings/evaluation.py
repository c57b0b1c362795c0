"""Evaluation and batch prediction: the sections ``[evaluation]`` and ``[predict]``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from supreme.settings.section import Count, Names, Section, at_most
from supreme.settings.uris import ModelUri, Uri


class Evaluation(Section):
    """Zero-shot evaluation, and the page about it."""

    min_positives: Count = Field(default=5, ge=1)
    """A class with fewer positive or negative patients is reported, but stays out of the headline mean."""
    bootstrap: Annotated[int, at_most(100_000, "more replicates change no shown digit")] = Field(
        default=500, ge=0
    )
    """Replicates of the bootstrap over patients in comparisons of models; 0 takes the closed form instead."""
    model_uri: ModelUri = ""
    """`models:/name@alias`, `models:/name/version` or the folder of a bundle; the champion when empty."""
    plates: Annotated[int, at_most(1000, "a browser cannot show more on one page")] = Field(default=8, ge=0)
    """12-lead examples on the report's page."""


class Predict(Section):
    """Scores for a folder of WFDB records."""

    uri: Uri = ""
    """Folder or `s3://` prefix of the records."""
    queries: Names = ()
    """Text queries, such as `["atrial fibrillation?"]`."""
    output: Uri = Field(default="", pattern=r"^$|\.parquet(\?|$)")
    """Parquet file to write; `predictions.parquet` in the recipe's folder when empty."""
