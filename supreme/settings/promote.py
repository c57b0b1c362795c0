"""The gate to the champion: the section ``[promote]``."""

from __future__ import annotations

from pydantic import Field

from supreme.settings.section import Section


class Promote(Section):
    """When a candidate replaces the champion."""

    margin: float = Field(default=0.02, ge=0, le=1)
    """A candidate becomes the champion when the 95 % interval of its macro AUROC minus the champion's stays
    above minus this margin."""
