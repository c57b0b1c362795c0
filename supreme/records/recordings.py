"""Which recording a record is: one key for the same recording in several data sets.

A public collection numbers its recordings, and others repeat them: PTB-XL's record 1 is CinC 2021's HR00001.
`data/collections.toml` lists the collections.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict


class Collection(BaseModel):
    """Recordings that are published under numbers of their own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kinds: tuple[str, ...]
    """Source kinds whose records belong here."""
    records: str = ".*"
    """Regular expression of local record names, where one kind holds several collections."""
    same_as: str = ""
    """The collection that holds these recordings under the same numbers."""


@cache
def collections() -> dict[str, Collection]:
    """Read `data/collections.toml`; the order matters, the first collection that fits wins."""
    text = (files("supreme.records") / "data" / "collections.toml").read_text()
    return {name: Collection.model_validate(values) for name, values in tomllib.loads(text).items()}


def collection_of(kind: str, record_id: str) -> str:
    """Name of the collection that a record of a source kind belongs to; empty when none is known."""
    local = _local(record_id)
    for name, collection in collections().items():
        if kind in collection.kinds and re.fullmatch(collection.records, local):
            return name
    return ""


def recording_key(kind: str, record_id: str, *, fingerprint: str = "", source_uri: str = "") -> str:
    """A key that two records share if and only if they are known to be the same recording.

    Args:
        kind: source kind of the record's data set.
        record_id: `dataset/local id`.
        fingerprint: of the signal; tells apart records of two folders that happen to have the same id.
        source_uri: of a simulated record, which names the seed.

    Returns:
        ``collection:number`` in a known collection. A simulated record is its seed and number; any other
        record is its id and fingerprint.
    """
    name = collection_of(kind, record_id)
    number = re.search(r"\d+", _local(record_id))
    if name and number is not None:
        return f"{collections()[name].same_as or name}:{int(number.group())}"
    if kind == "simulated" and source_uri:
        return source_uri
    return f"{record_id}#{fingerprint}" if fingerprint else record_id


def _local(record_id: str) -> str:
    return record_id.rpartition("/")[2]
