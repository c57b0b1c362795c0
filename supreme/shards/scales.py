"""Whether a whole data set is in millivolts: a look at some records before it is built, counts after it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import median

import numpy as np

from supreme import log, quality, storage
from supreme.config import ConfigError
from supreme.ecg import BadRecord
from supreme.preparation import CheckedEcg, check_record
from supreme.read_ahead import futures_ahead
from supreme.records import Entry
from supreme.shards.rows import Job

#: Records that are looked at, evenly over the index.
SAMPLE = 64
#: A larger share of records with `scaled_leads` is refused, unless the source sets `gain_per_mv`.
REFUSE_FRACTION = 0.5
#: A larger share is worth a warning.
WARN_FRACTION = 0.1
#: Median over records of the largest peak-to-peak of their leads. Of eight real sets: 1.9 to 5.2 mV.
USUAL_RANGE_MV = (0.6, 10.0)
_THREADS = 16
_CONTRADICTIONS = ("einthoven", "goldberger")
_CURE = (
    "set sources.N.gain_per_mv=STEPS to the converter steps in a millivolt that the data set documents "
    "(often 1000 or 200), or of HDF5 and .npy files sources.N.unit; a set that real=... finds has to be a "
    "source for that"
)


@dataclass(frozen=True)
class Scales:
    """How many records of a data set are not in millivolts, or look so."""

    records: int
    scaled_leads: int
    contradictory: int
    """Records whose limb leads contradict each other."""
    range_mv: float | None = None
    """Median of the largest peak-to-peak of a record, where it is known."""

    @classmethod
    def of(cls, flags: Sequence[Sequence[str]], ranges_mv: Sequence[float] = ()) -> Scales:
        """From the quality flags of each record."""
        scaled = sum(quality.SCALED_LEADS in one for one in flags)
        contradictory = sum(any(flag.startswith(_CONTRADICTIONS) for flag in one) for one in flags)
        return cls(len(flags), scaled, contradictory, median(ranges_mv) if ranges_mv else None)

    @property
    def must_be_refused(self) -> bool:
        """Whether the larger part of the records has leads with scales of their own."""
        return self.scaled_leads > REFUSE_FRACTION * self.records

    def warnings(self) -> list[str]:
        """What a user should know, with share and remedy, most serious first."""
        texts = []
        if self.scaled_leads > WARN_FRACTION * self.records:
            texts.append(
                f"{self._share(self.scaled_leads)} have a scale of its own in each lead (flag scaled_leads), "
                f"so they are not in millivolts: {_CURE}"
            )
        elif self.contradictory > REFUSE_FRACTION * self.records:
            texts.append(
                f"{self._share(self.contradictory)} have limb leads that contradict each other (flags "
                "einthoven, goldberger): are the leads named wrongly, or not in millivolts?"
            )
        low_mv, high_mv = USUAL_RANGE_MV
        if self.range_mv is not None and not low_mv <= self.range_mv <= high_mv:
            texts.append(
                f"the largest lead of a record spans {self.range_mv:.2g} mV in the median, which is unusual "
                f"({low_mv:g} to {high_mv:g}): if the gain in the headers is wrong, {_CURE}"
            )
        return texts

    def _share(self, count: int) -> str:
        return f"{count:,} of {self.records:,} records ({count / self.records:.0%})"


def check_before_building(job: Job, entries: Sequence[Entry]) -> None:
    """Look at some of the records; warn where they are not in millivolts.

    Raises:
        ConfigError: most of them are not, and the source sets no ``gain_per_mv``.
    """
    if job.source.kind == "simulated":
        return
    scales = _look(job, entries)
    warnings = scales.warnings()
    for text in warnings:
        log.get(__name__).warning(f"{job.source.dataset}: {text}")
    if scales.must_be_refused and job.source.gain_per_mv is None:
        raise ConfigError(f"source {job.source.dataset!r} is refused: {warnings[0]}")


def _look(job: Job, entries: Sequence[Entry]) -> Scales:
    """Flags and ranges of records evenly over the entries, without those that cannot be used."""
    places = np.unique(np.linspace(0, len(entries) - 1, min(SAMPLE, len(entries))).round().astype(int))
    source = job.open_source()

    def look(entry: Entry) -> CheckedEcg | None:
        try:
            return check_record(source.read(entry), derive_limb_leads=True)
        except BadRecord:
            return None

    threads = _THREADS if job.source.uri.startswith("s3://") else 1
    usable: list[CheckedEcg] = []
    # The build meets a storage error as well, retries, and keeps what is finished by then.
    with suppress(storage.Unavailable):
        for future in futures_ahead(
            look, [entries[place] for place in places], threads=threads, depth=threads
        ):
            usable += [ecg] if (ecg := future.result()) else []
    ranges_mv = [float(np.ptp(one.signal_mv, axis=1).max()) for one in usable]
    return Scales.of([one.flags for one in usable], ranges_mv)
