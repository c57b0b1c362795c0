"""How a model from elsewhere wants its input: a value read from TOML, one file a model in `conventions/`.

A bundle's own `convention.InputConvention` is another type: it is a part of the bundle's bytes, has all
twelve leads, and its signals are rounded to microvolts as in the shards.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from supreme import ecg
from supreme.config import ConfigError
from supreme.inference.convention import MAX_SAMPLES
from supreme.settings.section import Section
from supreme.storage.toml_file import parse_toml, read_file

_NAME = r"[a-z0-9][a-z0-9_-]{0,63}"

Normalisation = Literal["none", "min_max", "min_max_by_lead", "z_score", "z_score_by_lead"]


class NotchFilter(Section):
    """`scipy.signal.iirnotch`, forwards and backwards."""

    kind: Literal["notch"]
    hz: float = Field(gt=0)
    quality: float = Field(gt=0)

    @property
    def highest_hz(self) -> float:
        return self.hz


class ButterworthFilter(Section):
    """`scipy.signal.butter`, forwards and backwards: a high-pass, low-pass or band-pass."""

    kind: Literal["butterworth"]
    order: int = Field(ge=1, le=20)
    low_hz: float | None = Field(default=None, gt=0)
    """Lower edge; none for a low-pass."""
    high_hz: float | None = Field(default=None, gt=0)
    """Upper edge; none for a high-pass."""
    sections: bool = True
    """Second-order sections (`sosfiltfilt`), or one polynomial (`filtfilt`)."""

    @model_validator(mode="after")
    def _has_an_edge(self) -> ButterworthFilter:
        if self.low_hz is None and self.high_hz is None:
            raise ValueError("give low_hz, high_hz or both")
        if self.low_hz is not None and self.high_hz is not None and self.low_hz >= self.high_hz:
            raise ValueError(f"low_hz={self.low_hz:g} must be below high_hz={self.high_hz:g}")
        return self

    @property
    def highest_hz(self) -> float:
        return max(self.low_hz or 0.0, self.high_hz or 0.0)


class FirFilter(Section):
    """`scipy.signal.firwin` band-pass, forwards only, so that the signal is delayed by half the taps."""

    kind: Literal["fir"]
    taps: int = Field(ge=3, le=100_000)
    low_hz: float = Field(gt=0)
    high_hz: float = Field(gt=0)

    @property
    def highest_hz(self) -> float:
        return self.high_hz


class MedianBaseline(Section):
    """Subtracts a running median; outside of the signal are zeros, as in `scipy.signal.medfilt`."""

    kind: Literal["median_baseline"]
    seconds: float = Field(gt=0, le=60)
    highest_hz: float = Field(default=0.0, le=0.0)


FilterStep = Annotated[
    NotchFilter | ButterworthFilter | FirFilter | MedianBaseline, Field(discriminator="kind")
]


def _twelve_lead_names(names: tuple[str, ...]) -> tuple[str, ...]:
    leads: list[str] = []
    for name in names:
        lead = ecg.canonical_lead(name)
        if lead is None or lead.sign < 0:
            raise ValueError(
                f"unknown lead {name[:40]!r}: leads are {', '.join(ecg.LEADS)}; correct it or leave it out"
            )
        if lead.name in leads:
            raise ValueError(f"lead {lead.name} is named twice: name each once")
        leads.append(lead.name)
    return tuple(leads)


class ForeignConvention(Section):
    """One window of a model: float32 ``(leads, samples)``, and what is done to a signal before.

    In this order: leads by name, unit, resampling to ``filter_rate_hz`` (or ``rate_hz``), filters, resampling
    to ``rate_hz``, zeros up to ``samples``, normalisation. With ``scope="record"`` filters and normalisation
    come before the signal is cut and padded.
    """

    name: str = Field(pattern=rf"^{_NAME}$")
    rate_hz: int = Field(gt=0, le=100_000)
    seconds: float = Field(gt=0)
    leads: Annotated[
        tuple[str, ...], Field(strict=False, min_length=1, max_length=100), AfterValidator(_twelve_lead_names)
    ] = ecg.LEADS
    """In the model's own order; any of the twelve."""
    unit: Literal["mV", "uV"] = "mV"
    normalisation: Normalisation = "none"
    """``min_max``: to [0, 1] over all leads; ``min_max_by_lead``: to [-1, 1]; ``z_score``: over all leads."""
    epsilon: float = Field(default=0.0, ge=0, le=1)
    """Added to the range or the standard deviation; without it what is constant becomes 0."""
    filters: Annotated[tuple[FilterStep, ...], Field(strict=False, max_length=10)] = ()
    filter_rate_hz: int | None = Field(default=None, gt=0, le=100_000)
    """Rate at which the filters run, where it is not ``rate_hz``."""
    scope: Literal["window", "record"] = "window"
    """What filters and normalisation see."""
    resampling: Literal["polyphase", "fourier", "linear"] = "polyphase"
    padding: Literal["end", "centre"] = "end"
    """Where a signal that is too short stands among the zeros: in front, or in the middle."""
    licence: str = Field(default="", max_length=200)
    source: str = Field(min_length=1, max_length=1000)
    """Where this is written or coded."""
    confidence: Literal["confirmed", "digest", "recollection"]
    """Read in the authors' code; read in a digest; or remembered, and to be checked before it is quoted."""
    notes: Annotated[tuple[str, ...], Field(strict=False, max_length=20)] = ()
    """Where this differs from the authors' code."""

    @model_validator(mode="after")
    def _is_possible(self) -> ForeignConvention:
        samples = self.rate_hz * self.seconds
        if abs(samples - round(samples)) > 1e-6 or not 1 <= round(samples) <= MAX_SAMPLES:
            raise ValueError(
                f"{self.seconds:g} s at {self.rate_hz} Hz are {samples:g} samples: must be a whole number "
                f"from 1 to {MAX_SAMPLES:,}"
            )
        for step in self.filters:
            if step.highest_hz >= self.working_rate_hz / 2:
                raise ValueError(
                    f"the {step.kind} filter at {step.highest_hz:g} Hz must lie below half of the "
                    f"{self.working_rate_hz} Hz that it runs at"
                )
        return self

    @property
    def samples(self) -> int:
        return round(self.rate_hz * self.seconds)

    @property
    def working_rate_hz(self) -> int:
        return self.filter_rate_hz or self.rate_hz

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.leads), self.samples

    @property
    def rows(self) -> list[int]:
        """Position in `ecg.LEADS` of each lead of the model."""
        return [ecg.LEADS.index(lead) for lead in self.leads]

    @property
    def missing_leads(self) -> tuple[str, ...]:
        """Leads that the model does not take."""
        return tuple(lead for lead in ecg.LEADS if lead not in self.leads)


def shipped() -> tuple[str, ...]:
    """Names of the conventions of this package."""
    folder = files("supreme.inference") / "conventions"
    return tuple(sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if _is_toml(file.name)))


def open_convention(name_or_uri: str) -> ForeignConvention:
    """A convention of this package by its name (``merl``), or a TOML file, local or on S3.

    Raises:
        ConfigError: no such name or file, or its content is wrong; the message names file, key and remedy.
    """
    return parse_toml(convention_file(name_or_uri), name_or_uri, ForeignConvention)


def convention_file(name_or_uri: str) -> bytes:
    """The file of :func:`open_convention`.

    Raises:
        ConfigError: no such name or file.
    """
    if _is_toml(name_or_uri.partition("?")[0] if name_or_uri.startswith("s3://") else name_or_uri):
        return read_file(name_or_uri)
    if name_or_uri not in shipped():
        raise ConfigError(
            f"no input convention {name_or_uri[:80]!r}: give a .toml file or one of {', '.join(shipped())}"
        )
    return (files("supreme.inference") / "conventions" / f"{name_or_uri}.toml").read_bytes()


def _is_toml(name: str) -> bool:
    return name.endswith(".toml")
