"""Evaluation and batch prediction: the sections ``[evaluation]`` and ``[predict]``."""

from __future__ import annotations

from pydantic import Field

from supreme.settings.section import Section


class Evaluation(Section):
    min_positives: int = Field(default=5, ge=1)
    """A class with fewer positives is reported but left out of the headline macro mean."""
    bootstrap: int = Field(default=500, ge=0)
    """Patient-bootstrap replicates; 0 for none."""
    model_uri: str = ""
    """`models:/name@alias` or a bundle folder; the champion when empty."""
    plates: int = Field(default=8, ge=0)


class Predict(Section):
    """Scores for a folder of WFDB records."""

    uri: str = ""
    queries: tuple[str, ...] = ()
    output: str = Field(default="", pattern=r"^$|\.parquet$")
    """A Parquet file; by default `predictions.parquet` in the recipe's folder."""
