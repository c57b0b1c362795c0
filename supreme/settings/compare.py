"""Comparison of evaluated models: the section ``[compare]``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from supreme.settings.section import Section
from supreme.settings.uris import ModelUri


class Compare(Section):
    """Which models stand side by side, and what difference matters."""

    models: Annotated[tuple[ModelUri, ...], Field(strict=False, max_length=20)] = ()
    """Two models or more, as `evaluation.model_uri`; the first one is compared with each of the others."""
    margin: float = Field(default=0.02, ge=0, le=1)
    """A model is *not worse* when the 95 % interval of the difference stays above minus this margin."""
