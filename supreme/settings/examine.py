"""A closer look at one model: the section ``[examine]``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from supreme.settings.section import Count, Section, at_most


class Examine(Section):
    """How robust a model is, what its scores come from, and which labels look wrong."""

    records: Count = 200
    """Records of a data set that are made worse in steps, drawn at random; 0: none."""
    explained: Annotated[int, at_most(200, "each takes some 300 passes through the model")] = Field(
        default=8, ge=0
    )
    """ECGs whose scores are explained; 0: none. Fewer than five patients cannot be tested."""
    suspects: Annotated[int, at_most(1000, "nobody looks at more")] = Field(default=20, ge=0)
    """Labels of a data set that a cardiologist should look at first; 0: no audit."""
