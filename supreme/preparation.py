"""The one way from a record to what is stored or scored.

:func:`check_record` puts the leads in order and judges the signal at the rate of its source;
:func:`resample_uv` brings it to a rate and length in whole microvolts. The shards, the predict stage, the
query model and the benchmarks all come through here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from supreme import quality, signal
from supreme.ecg import order_leads, to_microvolts, to_millivolts, whole_microvolts
from supreme.records import Record

#: Version of everything that decides a stored sample, flag, fingerprint or refusal: this module, `ecg`,
#: `signal`, `quality`, the readers in `records`, `shards.fingerprint` and `shards.codec`. Raise it whenever
#: one of them gives another result for some record: older shards are then refused instead of being mixed
#: with new ones. `tests/meta/test_preparation_version.py` fails as a reminder.
PREPARATION_VERSION = 1


class CheckedEcg(NamedTuple):
    """An ECG that passed :func:`quality.check`."""

    signal: np.ndarray
    """``(12, T)`` in the order of `ecg.LEADS`: int16 microvolts where that is exact, else float32 mV."""
    rate_hz: float
    """Of the source."""
    flags: list[str]
    """Of :mod:`supreme.quality`, and ``derived_limb_leads``."""

    @property
    def signal_mv(self) -> np.ndarray:
        """``(12, T)`` float32 millivolts."""
        return to_millivolts(self.signal)


def check_record(
    record: Record, *, derive_limb_leads: bool = False, duration_s: float | None = None
) -> CheckedEcg:
    """Put the leads of a record in order, cut it to its first seconds and judge it.

    Args:
        derive_limb_leads: compute III, aVR, aVL and aVF where a record has only I, II and V1 to V6.
        duration_s: how much of the record is used; all of it when None.

    Raises:
        BadRecord: the leads or the signal cannot be used, with the reason.
    """
    derive = derive_limb_leads or record.stores_eight_leads
    ordered, derived = order_leads(record.signal, record.leads, derive_limb_leads=derive)
    if duration_s is not None:
        # A copy, since a view would keep all of a long record in memory.
        ordered = np.ascontiguousarray(signal.first_seconds(ordered, record.rate_hz, duration_s))
    exact = whole_microvolts(ordered)
    flags = quality.check(exact, record.rate_hz)
    if quality.SCALED_LEADS not in flags and quality.has_wrong_gains(
        record.signal, record.leads, record.gains
    ):
        flags.append(quality.SCALED_LEADS)
    return CheckedEcg(exact, record.rate_hz, [*flags, "derived_limb_leads"] if derived else flags)


def resample_uv(ecg: np.ndarray, rate_hz: float, to_rate_hz: float, samples: int) -> tuple[np.ndarray, int]:
    """Resample ``(12, T)``, crop or zero-pad it to ``samples``, and only then round to microvolts.

    Args:
        ecg: int16 microvolts or float millivolts.

    Returns:
        int16 microvolts ``(12, samples)``, and how many of the samples are signal.
    """
    prepared, n_valid = signal.prepare(ecg, rate_hz, to_rate_hz, samples)
    return to_microvolts(prepared), n_valid
