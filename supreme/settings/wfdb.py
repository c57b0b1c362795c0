"""What a user knows better than the files: the same keys in ``[[sources]]`` and ``[predict]``."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from supreme.ecg import LEADS, canonical_lead, millivolts_per_unit


def _check_leads(leads: dict[str, str]) -> dict[str, str]:
    for channel, lead in leads.items():
        if canonical_lead(lead) is None:
            raise ValueError(f"leads: {channel!r} = {lead!r} is none of {', '.join(LEADS)}")
    return leads


#: Converter steps in a millivolt.
GainPerMv = Annotated[float | None, Field(gt=0, allow_inf_nan=False)]
#: Channel name -> lead, with its sign.
ChannelLeads = Annotated[dict[str, str], AfterValidator(_check_leads)]

_UNIT = re.compile(r"\s*(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)?\s*(\S+)\s*")


def split_unit(text: str) -> tuple[float, str]:
    """Factor and unit of ``1e-4 V`` or ``mV``.

    Raises:
        ValueError: it is no voltage.
    """
    match = _UNIT.fullmatch(text)
    factor = float(match[1] or 1) if match else 0.0
    if match is None or millivolts_per_unit(match[2]) is None or factor <= 0:
        raise ValueError(f"unit {text[:40]!r} is no voltage: write mV, uV, V, or with a factor, as '1e-4 V'")
    return factor, match[2]


def _check_unit(text: str) -> str:
    if text:
        split_unit(text)
    return text


#: Unit of the samples in files that name none; empty: not known.
SampleUnit = Annotated[str, Field(max_length=40), AfterValidator(_check_unit)]
