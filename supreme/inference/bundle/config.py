"""``config.json`` of a bundle: architecture, input convention and text encoder, with a version."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from supreme.inference.bundle.documents import first_line, read_json
from supreme.inference.bundle.layout import REMEDY, BundleError
from supreme.inference.convention import MAX_SAMPLES, InputConvention, TextEncoderSpec
from supreme.inference.provenance import SeenDataset
from supreme.models.supreme import Head
from supreme.settings.model import Model
from supreme.settings.section import Section

#: Version of ``config.json`` that is written. Files of version 1 name no version.
VERSION = 2

#: As `training.objective`; what simclr trains has no head, and no bundle.
Objective = Literal["supreme", "ked", "merl", "linear", "simclr"]


class BundleConfig(Section):
    """The facts that make a model of a bundle's tensors."""

    version: Literal[2] = 2
    model: Model
    head: Head
    text_dim: int = Field(gt=0)
    samples: int = Field(gt=0, le=MAX_SAMPLES)
    input: InputConvention
    text: TextEncoderSpec
    objective: Objective
    trained_on: tuple[SeenDataset, ...] | None = None
    """None: unknown, as of bundles of before this was recorded."""

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> BundleConfig:
        if self.samples != self.input.samples:
            raise ValueError(f"samples={self.samples}, but input.samples={self.input.samples}")
        if self.text_dim != self.text.dim:
            raise ValueError(f"text_dim={self.text_dim}, but text.dim={self.text.dim}")
        if self.head == "none":
            raise ValueError("head=none is an encoder alone, which answers no queries")
        return self

    def to_json(self) -> bytes:
        """The file; equal facts give equal bytes."""
        return (json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True) + "\n").encode()


def read_config(content: bytes, where: str) -> BundleConfig:
    """The configuration in a file of any version.

    Args:
        where: the file, for the message.

    Raises:
        BundleError: it is damaged, of a later version, or says what cannot be.
    """
    values = read_json(content, where)
    if not isinstance(values, dict):
        raise BundleError(f"{where} holds no keys: {REMEDY}")
    version = values.get("version", 1)
    if version == 1:
        values = _of_version_1(values)
    elif version != VERSION or isinstance(version, bool):
        raise BundleError(
            f"{where} has version {str(version)[:20]!r}, this package reads up to {VERSION}: install the "
            "supreme-ecg that its requirements.txt names"
        )
    try:
        return BundleConfig.model_validate_json(json.dumps(values))
    except ValidationError as error:
        reasons = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}".removeprefix(": ")
            for item in error.errors()[:3]
        )
        raise BundleError(f"{where}: {first_line(ValueError(reasons))}: {REMEDY}") from None


def _of_version_1(values: dict[str, Any]) -> dict[str, Any]:
    """The keys of version 2, made of those of a bundle that was written before there was a version."""
    old = dict(values)
    preprocessing = old.pop("preprocessing", None)
    if isinstance(preprocessing, dict):
        old["text"] = preprocessing.get("text")
        signal = preprocessing.get("signal")
        if isinstance(signal, dict):
            old["input"] = {**signal, "leads": preprocessing.get("leads")}
    return {"head": "fusion", "objective": "supreme", **old, "version": VERSION}
