"""What a shard build has to do: the index of the source against the parts that exist.

Entries that are in no part yet become new parts, numbered on. What a manifest describes is never rewritten:
the old manifest holds until the new one replaces it, and a reader sees the data set before or after, never
between. Built from scratch, the parts follow from the index and the configuration alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from supreme import config, manifest, storage
from supreme.config import ConfigError
from supreme.manifest import Manifest, Request
from supreme.preparation import PREPARATION_VERSION
from supreme.records import SPLITS, Entry, split_of
from supreme.records.simulated import SIMULATOR_VERSION
from supreme.settings.data import Source
from supreme.shards import estimate, leakage, part
from supreme.shards.estimate import PlanSummary
from supreme.shards.part import Job, ShardPart
from supreme.shards.result import SHARDS, ShardManifest, ShardResult
from supreme.shards.schema import SCHEMA, part_name
from supreme.storage.parquet import read_table

EVALUATION_SHARDS = "evaluation_shards"
#: Records in a row group of evaluation shards, which may be minutes long.
_WHOLE_ROW_GROUP = 32
_EXAMPLES = 5
_NO_RECORDS = pa.schema([SCHEMA.field(name) for name in leakage.COLUMNS]).empty_table()
_REQUESTS = 16
#: What a build leaves that was interrupted.
_LEFTOVER = re.compile(
    r"(rejected/)?(train|validation|test)-\d{5,}\.parquet"
    r"|((rejected/|parts/)?(train|validation|test)-\d{5,}\.(parquet|json)|(manifest|stage)\.json)"
    r"\.[0-9a-f]{8}\.partial"
)
_T = TypeVar("_T")


class TooManyRejected(RuntimeError):
    """More records were refused than `shards.max_rejected_fraction` allows."""


@dataclass(frozen=True)
class Plan:
    """A build of one source: what is there and what is to do."""

    job: Job
    request: Request
    new: bool
    """Everything that is there is deleted first."""
    published: ShardManifest | None
    done: dict[str, ShardPart]
    """Finished parts by name."""
    todo: dict[str, list[Entry]]
    """Parts to make, by name."""
    stale: tuple[str, ...]
    """Unpublished parts of an index that has changed since."""

    @property
    def dataset(self) -> str:
        return self.job.source.dataset

    @property
    def title(self) -> str:
        """For people: the data set, and whether these are its evaluation shards."""
        return f"{self.dataset} (evaluation)" if self.job.whole else self.dataset

    @property
    def finished(self) -> Manifest | None:
        """The manifest, where nothing is left to do."""
        if self.todo or self.published is None:
            return None
        described = self.published.files.keys()
        return self.published if all(one.files.keys() <= described for one in self.done.values()) else None

    def records(self) -> tuple[int, int]:
        """Entries in finished parts, and in those to make."""
        return sum(len(one.entries) for one in self.done.values()), sum(map(len, self.todo.values()))

    def summary(self) -> PlanSummary:
        """Records, shards, and what the rest takes."""
        done, to_do = self.records()
        return PlanSummary(
            dataset=self.title,
            folder=self.job.folder,
            finished=self.finished is not None,
            records=done + to_do,
            records_to_do=to_do,
            shards=len(self.done) + len(self.todo),
            shards_to_do=len(self.todo),
            bytes=round(to_do * self._bytes_per_record()),
            seconds=estimate.seconds(to_do),
        )

    def _bytes_per_record(self) -> float:
        """Of the finished parts, or of real ECGs elsewhere."""
        if records := sum(part.records for part in self.done.values()):
            return sum(file.bytes for part in self.done.values() for file in part.files.values()) / records
        shards = self.job.shards
        if self.job.whole:  # as most data sets have them
            shards = shards.model_copy(update={"rate_hz": 500, "duration_s": 10.0})
        return estimate.bytes_per_record(shards)


def folder_of(recipe: config.Recipe, source: Source, *, whole: bool = False) -> str:
    """Of the training shards of a source, or of its evaluation shards (``whole``)."""
    return recipe.folder(f"{EVALUATION_SHARDS if whole else 'shards'}/{source.dataset}")


def survey(recipe: config.Recipe, source: Source, *, new: bool = False, whole: bool = False) -> Plan:
    """Compare the index of a source with what is built of it; writes nothing.

    Args:
        whole: evaluation shards, whose records have the rate and length of their source.

    Raises:
        ConfigError: no such data set, nothing in it, an id twice, a folder made with another
            configuration or version of the preparation, or published records that have changed or vanished.
    """
    folder = folder_of(recipe, source, whole=whole)
    shards = recipe.shards
    if whole:
        shards = shards.model_copy(update={"row_group_size": _WHOLE_ROW_GROUP})
    job = Job(source, shards, recipe.seed, folder, whole)
    request = _request(job)
    if not new:
        _check_preparation(folder, request)
    index = _index(job)
    if new or not manifest.is_started(folder, SHARDS, request):
        return Plan(job, request, new, None, {}, _new_parts(index, job, names=()), ())
    published, sizes = manifest.read(folder, SHARDS), storage.sizes(folder)
    names = [name[6:-5] for name in sorted(sizes) if name.startswith("parts/") and name.endswith(".json")]
    known = dict(zip(names, _in_threads(lambda name: part.read(folder, name), names), strict=True))
    stale = _stale(known, part.digests(index), published, folder)
    known = {name: one for name, one in known.items() if name not in stale}
    done = {name: one for name, one in known.items() if one.is_there(sizes)}
    part_of = {record_id: name for name, one in known.items() for record_id in one.entries}
    # A part whose files are gone or cut off is made again, of the same entries and so with the same bytes.
    todo: dict[str, list[Entry]] = {name: [] for name in known if name not in done}
    rest: list[Entry] = []
    for entry in index:
        name = part_of.get(entry.record_id)
        if name not in done:
            (todo[name] if name else rest).append(entry)
    return Plan(job, request, new, published, done, todo | _new_parts(rest, job, names=known), tuple(stale))


def begin(plan: Plan) -> None:
    """Open the folder for the parts to come."""
    manifest.begin(plan.job.folder, SHARDS, plan.request, new=plan.new)
    for name in plan.stale:
        storage.delete_file(part.part_uri(plan.job.folder, name))


def publish(plan: Plan) -> ShardManifest:
    """Describe all parts in the manifest, once those to make are made.

    Raises:
        TooManyRejected: the parts stay.
    """
    folder = plan.job.folder
    parts = plan.done | dict(
        zip(plan.todo, _in_threads(lambda name: part.read(folder, name), plan.todo), strict=True)
    )
    for name, entries in plan.todo.items():
        if parts[name].entries != part.digests(entries):
            raise RuntimeError(f"{folder}: another build has written {name}: let it end, then run this again")
    files = {name: entry for one in parts.values() for name, entry in one.files.items()}
    counts = _counts(folder, list(parts.values()))
    _refuse_if_too_many(counts, plan.job.shards.max_rejected_fraction, folder)
    published = manifest.publish(folder, SHARDS, plan.request, counts, files)
    for name in storage.list_files(folder):
        if name not in files and _LEFTOVER.fullmatch(name):
            storage.delete_file(storage.join(folder, name))  # of a part that was never finished
    return published


def _index(job: Job) -> list[Entry]:
    index, source = job.open_source().index(), job.source
    if not index:
        raise ConfigError(f"source {source.dataset!r}: {source.uri} holds no records")
    times = Counter(entry.record_id for entry in index)
    if len(times) < len(index):
        twice = [record_id for record_id, count in times.items() if count > 1]
        problem = f"{len(twice):,} record ids more than once ({_examples(twice)})"
        raise ConfigError(f"source {source.dataset!r}: {source.uri} has {problem}: keep or rename one each")
    return index


def _request(job: Job) -> Request:
    # What decides the content: not the limit, the weight in training, or a unit that is not set.
    shards = job.shards.model_dump(mode="json", exclude={"max_rejected_fraction"})
    if job.whole:
        shards |= {"rate_hz": 0, "duration_s": 0}  # of the source
    # Only training reads the weight; a unit that is new and not set is no other configuration.
    source = job.source.model_dump(mode="json", exclude={"weight"} if job.source.unit else {"weight", "unit"})
    sections = {"source": source, "shards": shards, "seed": job.seed, "columns": SCHEMA.names}
    versions = {"simulator": SIMULATOR_VERSION} if job.source.kind == "simulated" else {}
    return Request(stage="shards", config=sections | {"preparation": PREPARATION_VERSION, **versions})


def _check_preparation(folder: str, request: Request) -> None:
    """Refuse shards that other code would not make again, also where only new records are to be added."""
    if (earlier := manifest.read_request(folder, SHARDS.remedy)) is None:
        return
    before, now = earlier.config | {"simulator": earlier.config.get("simulator", 1)}, request.config
    for what in ("preparation", *(["simulator"] if before["source"]["kind"] == "simulated" else [])):
        if (version := before.get(what, 0)) != now.get(what):
            raise ConfigError(
                f"{folder} was made by {what} {version}, this is {now.get(what)}, which gives other samples "
                "or verdicts. Make it again with jobs/shard.py --new, or give another name=... to keep it"
            )


def _stale(
    known: dict[str, ShardPart], digests: dict[str, str], published: ShardManifest | None, folder: str
) -> list[str]:
    """The parts that the index contradicts. Raises ConfigError when one is published."""
    differing = {name: one.differing(digests) for name, one in known.items()}
    described = published.files.keys() if published else set()
    fixed = [ids for name, ids in differing.items() if known[name].files.keys() <= described]
    if any(fixed):
        vanished = sorted(record_id for ids in fixed for record_id in ids if record_id not in digests)
        changed = sorted(record_id for ids in fixed for record_id in ids if record_id in digests)
        problems = {"have vanished from the source": vanished, "have changed in its index": changed}
        raise ConfigError(
            f"{folder}: of the records in its shards, "
            + " and ".join(f"{len(ids):,} {what} ({_examples(ids)})" for what, ids in problems.items() if ids)
            + ". Finished shards are not rewritten: restore the source, give another name=... to keep these "
            "shards, or --new to replace them"
        )
    return [name for name, ids in differing.items() if ids]


def _examples(ids: list[str]) -> str:
    return ", ".join(ids[:_EXAMPLES]) + (", ..." if len(ids) > _EXAMPLES else "")


def _new_parts(entries: list[Entry], job: Job, names: Iterable[str]) -> dict[str, list[Entry]]:
    """ShardPart name -> its entries, by split and in the order of the index."""
    parts, existing, size = {}, set(names), job.shards.records_per_shard
    for split in SPLITS:
        in_split = [entry for entry in entries if split_of(entry) == split]
        free = (name for number in count() if (name := part_name(split, number)) not in existing)
        for start in range(0, len(in_split), size):
            parts[next(free)] = in_split[start : start + size]
    return parts


def _counts(folder: str, parts: list[ShardPart]) -> ShardResult:
    by_split, refused = Counter[str](), Counter[str]()
    for one in parts:
        by_split[one.split] += one.records
        refused.update(one.rejected)
    shards = [storage.join(folder, name) for one in parts for name in one.files if "/" not in name]
    records = pa.concat_tables([_NO_RECORDS, *_in_threads(_metadata, shards)])
    return ShardResult(
        records=sum(by_split.values()),
        records_train=by_split["train"],
        records_validation=by_split["validation"],
        records_test=by_split["test"],
        patients=pc.count_distinct(records["patient_id"]).as_py(),
        rejected=sum(refused.values()),
        rejected_by_reason=dict(sorted(refused.items())),
        leakage=leakage.within(records),
    )


def _metadata(shard: str) -> pa.Table:
    return read_table(shard, leakage.COLUMNS, schema=SCHEMA)


def _in_threads(function: Callable[[str], _T], names: Iterable[str]) -> list[_T]:
    """Of every name, several at a time: on object storage each is a round trip or two."""
    with ThreadPoolExecutor(_REQUESTS) as threads:
        return list(threads.map(function, names))


def _refuse_if_too_many(counts: ShardResult, limit: float, folder: str) -> None:
    seen = counts.records + counts.rejected
    if counts.rejected <= limit * seen + 1e-9 and counts.records:
        return
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in counts.rejected_by_reason.items())
    raise TooManyRejected(
        f"{counts.rejected:,} of {seen:,} records were refused ({reasons}), more than "
        f"shards.max_rejected_fraction={limit:g} allows; each is listed in {folder}/rejected. Repair "
        "the source and run again with --new, or accept it with a larger shards.max_rejected_fraction"
    )
