"""The trials of a sweep in ``trials.json``: all that were ever planned, in the order of their numbers.

A sweep only grows: a trial keeps its number, name and folder whatever the space becomes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel, ConfigDict, JsonValue

from supreme import storage
from supreme.config import ConfigError, Recipe
from supreme.objectives.make import OBJECTIVES
from supreme.storage.documents import read_document
from supreme.sweep import search, space, trials
from supreme.sweep.summary import TrialOutcome, TrialRecord

TRIALS = "trials.json"
_REMEDY = "run jobs/sweep.py with --new, which trains all trials again"
_MAX_SLUG = 40


class Ledger(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True)

    trials: list[TrialRecord] = []


def read(folder: str) -> list[TrialRecord]:
    """All trials of a sweep; none before the first is planned.

    Raises:
        ConfigError: the file is damaged; the message names it and the remedy.
    """
    uri = storage.join(folder, TRIALS)
    return read_document(uri, Ledger, remedy=_REMEDY).trials if storage.exists(uri) else []


def write(folder: str, records: Sequence[TrialRecord]) -> None:
    """Write all trials, as a whole."""
    ledger = Ledger(trials=list(records))
    storage.write_json(storage.join(folder, TRIALS), ledger.model_dump(mode="json"))


def settings(records: Sequence[TrialRecord]) -> dict[int, list[TrialRecord]]:
    """Runs by the number of their setting."""
    grouped: dict[int, list[TrialRecord]] = {}
    for record in records:
        grouped.setdefault(record.number, []).append(record)
    return grouped


def plan(recipe: Recipe, earlier: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Earlier trials and those that the recipe adds; with ``tpe`` the next ones follow from the results.

    Raises:
        ConfigError: the space cannot be searched, or a combination does not go together.
    """
    space.check(recipe)
    records = [*earlier]
    if not records:
        records += runs(recipe, 0, {})
    for number, group in settings([record for record in records if not record.full]).items():
        known = {record.seed for record in group}
        changes = group[0].changes
        records += [run for run in runs(recipe, number, changes) if run.seed not in known]
    if recipe.sweep.search == "grid":
        known_changes = [record.changes for record in records]
        combinations = [search.normalized(recipe, changes) for changes in space.grid(recipe)]
        for changes in [one for one in combinations if one not in known_changes]:
            if is_full(recipe, records):
                break
            records += runs(recipe, next_number(records), changes)
    elif recipe.sweep.search == "random":
        while not is_full(recipe, records) and (added := propose(recipe, records)):
            records += added
    for record in records:
        _refuse_impossible(recipe, record)
    return records


def propose(recipe: Recipe, records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The runs of one more setting; none where the space has no other."""
    number = next_number(records)
    changes = search.propose(recipe, number, records)
    return [] if changes is None else runs(recipe, number, changes)


def runs(
    recipe: Recipe, number: int, changes: Mapping[str, JsonValue], *, full: bool = False
) -> list[TrialRecord]:
    """A setting with each of its seeds."""
    changes = dict(sorted(changes.items()))  # in the order in which they are read back
    first = changes.get("seed", recipe.seed)
    assert isinstance(first, int)
    return [
        TrialRecord(
            number=number,
            name=_name(number, changes, extra=offset, full=full),
            changes=changes,
            seed=first + offset,
            full=full,
        )
        for offset in range(recipe.sweep.seeds)
    ]


def is_full(recipe: Recipe, records: Sequence[TrialRecord]) -> bool:
    """Whether there are as many settings as the recipe allows."""
    return recipe.sweep.trials is not None and len(settings(records)) >= recipe.sweep.trials


def left_out(recipe: Recipe, records: Sequence[TrialRecord]) -> int:
    """Combinations of the grid that are not tried, as ``sweep.trials`` is too small."""
    if recipe.sweep.search != "grid":
        return 0
    known = [record.changes for record in records]
    return sum(search.normalized(recipe, changes) not in known for changes in space.grid(recipe))


def next_number(records: Sequence[TrialRecord]) -> int:
    """The number of a new setting."""
    return max((record.number for record in records), default=-1) + 1


def ranking(records: Sequence[TrialRecord], *, full: bool) -> list[tuple[float, list[TrialRecord]]]:
    """Settings all of whose runs came to their end, by the mean of their values, best first."""
    groups = settings([record for record in records if record.full == full]).values()
    means = [
        (sum(record.value or 0.0 for record in group) / len(group), group)
        for group in groups
        if all(record.status == "finished" and record.value is not None for record in group)
    ]
    return sorted(means, key=lambda pair: (-pair[0], pair[1][0].number))


def outcomes(records: Sequence[TrialRecord]) -> Iterator[TrialOutcome]:
    """All trials with their places: whole runs first, then by place, then those without one."""
    places: dict[str, int] = {}
    for full in (False, True):
        for place, (_, group) in enumerate(ranking(records, full=full), 1):
            places |= {record.name: place for record in group}
    last = len(records) + 1
    for record in sorted(records, key=lambda r: (not r.full, places.get(r.name, last), r.number, r.seed)):
        yield TrialOutcome(**record.model_dump(), place=places.get(record.name))


def _refuse_impossible(recipe: Recipe, record: TrialRecord) -> None:
    if record.is_settled:
        return
    changes = space.describe(record.changes) or "the recipe itself"
    where = f"sweep.space: trial {record.number} ({changes})"
    try:
        training = trials.trial(recipe, record).recipe.training
    except ConfigError as error:
        raise ConfigError(f"{where} is impossible: {error}") from None
    if not OBJECTIVES[training.objective].answers_queries:
        raise ConfigError(f"{where}: {training.objective} answers no queries, so nothing ranks it")


def _name(number: int, changes: Mapping[str, JsonValue], *, extra: int, full: bool) -> str:
    values = "-".join(space.shown(value) for value in changes.values()) or "recipe"
    slug = re.sub(r"[^A-Za-z0-9.]+", "-", values)[:_MAX_SLUG].strip("-.")
    parts = [f"{number:02d}", slug, f"seed{extra}" if extra else "", "full" if full else ""]
    return "-".join(part for part in parts if part)
