"""What `jobs/plan.py` plans for: the section ``[plan]``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from supreme.settings.names import Name
from supreme.settings.section import Section, at_most
from supreme.settings.uris import Uri

Cores = Annotated[int, at_most(100_000, "no cluster has more")]
Price = Annotated[float, Field(ge=0), at_most(1_000_000, "no instance costs so much")]


class Instance(Section):
    """A kind of machine that can be rented; the price table."""

    name: Name
    """Name of the instance."""
    cores: Cores = Field(gt=0)
    """CPU cores."""
    gpus: Annotated[int, at_most(1000, "no machine has more")] = Field(default=0, ge=0)
    """GPUs; instances without are for every stage but training."""
    price_per_hour: Price = 0.0
    """Price of an hour, in any currency."""


class Planning(Section):
    """Sizes and prices of a plan."""

    records: Annotated[int, at_most(1_000_000_000, "no data set has a billion records")] | None = Field(
        default=None, gt=0
    )
    """ECGs to plan for; the sum of `sources.N.records` when not set."""
    gpus: Cores = Field(default=0, ge=0)
    """GPUs to train on; 0: `training.workers` CPU cores."""
    cores: Cores = Field(default=16, gt=0)
    """CPU cores for the other stages."""
    rates: Uri = ""
    """Result file of `jobs/bench.py rates` on your machine; the project's own rates when empty."""
    instances: Annotated[tuple[Instance, ...], Field(strict=False, max_length=100)] = ()
    """The price table."""
    storage_per_gb_month: Price = 0.0
    """Price of keeping a gigabyte for a month."""
