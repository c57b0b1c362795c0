"""What a model expects of its inputs: the ECG's rate, length, unit and leads, and the text encoder."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from supreme import ecg
from supreme.settings.model import Text
from supreme.settings.section import Section

#: Of a window: half an hour at 500 Hz.
MAX_SAMPLES = 2**20


def _each_lead_once(leads: tuple[str, ...]) -> tuple[str, ...]:
    if sorted(leads) != sorted(ecg.LEADS):
        raise ValueError(f"the leads must be {', '.join(ecg.LEADS)} in any order")
    return leads


class InputConvention(Section):
    """One window of a model: float32 ``(12, samples)`` at ``rate_hz``."""

    rate_hz: int = Field(gt=0, le=100_000)
    samples: int = Field(gt=0, le=MAX_SAMPLES)
    unit: Literal["mV"] = "mV"
    leads: Annotated[tuple[str, ...], AfterValidator(_each_lead_once)] = ecg.LEADS
    """In the model's own order."""

    @property
    def duration_s(self) -> float:
        return self.samples / self.rate_hz

    @property
    def lead_order(self) -> list[int]:
        """Position in `ecg.LEADS` of each lead of the model."""
        return [ecg.LEADS.index(lead) for lead in self.leads]


class TextEncoderSpec(Text):
    """The frozen text encoder of training: a recipe's section `[text]`, and what it resolved to."""

    digest: str = Field(min_length=1, max_length=200)
    """Equal digests mean equal embeddings."""
    dim: int = Field(gt=0)

    @property
    def settings(self) -> Text:
        """The section `[text]` that opens it."""
        return Text.model_validate({name: getattr(self, name) for name in Text.model_fields})
