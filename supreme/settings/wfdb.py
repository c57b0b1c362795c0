"""What a user knows better than WFDB headers: the same keys in ``[[sources]]`` and ``[predict]``."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from supreme.ecg import LEADS, canonical_lead


def _check_leads(leads: dict[str, str]) -> dict[str, str]:
    for channel, lead in leads.items():
        if canonical_lead(lead) is None:
            raise ValueError(f"leads: {channel!r} = {lead!r} is none of {', '.join(LEADS)}")
    return leads


#: Converter steps in a millivolt.
GainPerMv = Annotated[float | None, Field(gt=0, allow_inf_nan=False)]
#: Channel name -> lead, with its sign.
ChannelLeads = Annotated[dict[str, str], AfterValidator(_check_leads)]
