"""The list of registered models: the section ``[models]``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from supreme.settings.section import Section


class Models(Section):
    """Which versions `jobs/models.py` prints."""

    where: Annotated[dict[str, str], Field(max_length=50)] = Field(default_factory=dict)
    """Tag -> value, in which `*` stands for anything: `models.where.encoder="vit1d*"`."""
