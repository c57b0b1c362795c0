"""Which trial runs next, and what became of those that ran: the state of a sweep, kept in its ledger.

Short trials come first, then the best settings again at full length. A sweep that was interrupted goes on
with what is not settled, and tries what failed once more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from supreme import log, storage
from supreme.config import ConfigError, Recipe
from supreme.sweep import ledger, space, trials
from supreme.sweep.summary import TrialRecord
from supreme.sweep.trials import Trial

MAX_TRIES = 2

logger = log.get("sweep")


class Watcher(Protocol):
    """Goes along with the trials, in the driver."""

    def on_start(self, record: TrialRecord, trial: Trial) -> None:
        """Before a trial begins or goes on."""
        ...

    def on_end(self, record: TrialRecord, trial: Trial) -> None:
        """After it came to its end, was stopped or failed."""
        ...


class TrialQueue:
    """The trials of a sweep, one process's.

    Args:
        problem: why the model of a trial cannot be trained; empty where it can.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: str,
        records: Sequence[TrialRecord],
        watcher: Watcher,
        problem: Callable[[Trial], str],
    ) -> None:
        self.recipe, self.folder, self.watcher, self.problem = recipe, folder, watcher, problem
        self.records = {record.name: _reopened(record) for record in records}
        self.running: dict[str, float | None] = {}
        """Name -> when its turn to train came in this process; None before that."""
        self.admit: Callable[[str], None] = lambda name: None
        """Called when a trial's turn has come: its processes may be up before that."""
        self.storage_failures: list[str] = []
        ledger.write(folder, list(self.records.values()))

    def next(self) -> Trial | None:
        """The next trial, which counts as running from now on; None where none can begin yet, or at all."""
        for record in self._candidates():
            trial = self._begin(record)
            if trial:
                return trial
        return None

    def is_done(self) -> bool:
        """Whether no trial is left to begin."""
        return next(self._candidates(), None) is None

    def finish(self, name: str, stopped: str = "", lost: str = "") -> None:
        """Settle a trial whose process has ended.

        Args:
            stopped: why the scheduler ended it.
            lost: what became of its process, where that was lost.
        """
        if name not in self.running:
            return
        record = self.records[name]
        trial = trials.trial(self.recipe, record)
        failure = trials.failure(trial)
        began = self.running.pop(name)
        seconds = record.seconds + (0.0 if began is None else round(time.monotonic() - began, 1))
        self._admit()
        if trials.is_finished(trial):
            status, reason = "finished", ""
        elif failure:
            status, reason = "failed", failure.reason
            self.storage_failures += [failure.reason] if failure.of_storage else []
        else:
            status, reason = ("failed", lost) if lost else ("stopped", stopped)
        self._settle(record.model_copy(update={"seconds": seconds}), trial, status, reason)

    def _candidates(self) -> Iterator[TrialRecord]:
        """Short trials, then new ones that the search proposes, then finalists."""
        if self._has_time():
            yield from self._waiting(full=False)
            while self._wants_more() and (added := ledger.propose(self.recipe, self._all())):
                self._add(added)
                yield from self._waiting(full=False)
        if any(not self.records[name].full for name in self.running):
            return
        yield from self._waiting(full=True)
        while added := self._finalists():
            self._add(added)
            yield from self._waiting(full=True)

    def _waiting(self, *, full: bool) -> list[TrialRecord]:
        return [
            record
            for record in self._all()
            if record.full == full and not record.is_settled and record.name not in self.running
        ]

    def _wants_more(self) -> bool:
        is_sequential = self.recipe.sweep.search == "tpe"
        return is_sequential and self._has_time() and not ledger.is_full(self.recipe, self._all())

    def _has_time(self) -> bool:
        return not is_time_over(self.recipe, self._all())

    def _finalists(self) -> list[TrialRecord]:
        """Runs at full length that are still missing, of as many settings as the recipe wants.

        A setting that fails there makes room for the next one.
        """
        full = ledger.settings([record for record in self._all() if record.full])
        failed = {number for number, group in full.items() if any(one.status == "failed" for one in group)}
        best = [group[0] for _, group in ledger.ranking(self._all(), full=False)]
        best = [record for record in best if record.number not in failed]
        for record in best[: self.recipe.sweep.finalists]:
            runs = ledger.runs(self.recipe, record.number, record.changes, full=True)
            if missing := [run for run in runs if run.name not in self.records]:
                return missing
        return []

    def _admit(self) -> None:
        """Give the free turns to those that wait longest."""
        free = self.recipe.sweep.concurrent - sum(began is not None for began in self.running.values())
        for name in [name for name, began in self.running.items() if began is None][:free]:
            self.running[name] = time.monotonic()
            self.admit(name)

    def _begin(self, record: TrialRecord) -> Trial | None:
        try:
            trial = trials.trial(self.recipe, record)
            problem = self.problem(trial)
        except ConfigError as error:  # a combination that the search came up with
            self._settle(record, None, "failed", str(error))
            return None
        self.running[record.name] = None
        self.records[record.name] = record = record.model_copy(update={"status": "running", "reason": ""})
        ledger.write(self.folder, self._all())
        self.watcher.on_start(record, trial)
        if problem:
            trials.write_failure(trial, f"its model cannot be built: {problem}")
            self.finish(record.name)
            return None
        storage.delete_file(storage.join(trial.folder, trials.FAILURE))
        self._admit()
        return trial

    def _settle(self, record: TrialRecord, trial: Trial | None, status: str, reason: str) -> None:
        update = {"status": status, "reason": reason, "tries": record.tries + 1}
        record = record.model_copy(update=update)
        record = trials.measured(record, trial) if trial else record
        self.records[record.name] = record
        ledger.write(self.folder, self._all())
        logger.info("%s", self._line(record))
        if trial:
            self.watcher.on_end(record, trial)

    def _line(self, record: TrialRecord) -> str:
        """How a trial ended, for people."""
        value = "" if record.value is None else f", macro AUROC {record.value:.4f}"
        place = next((one.place for one in ledger.outcomes(self._all()) if one.name == record.name), None)
        alike = sum(one.full == record.full for one in self._all())
        rank = f", place {place} of {alike}" if place else ""
        changes = space.describe(record.changes) or "the recipe itself"
        reason = f": {record.reason}" if record.reason else ""
        return f"{record.name} {record.status} ({changes}){value}{rank}, {record.seconds:.0f} s{reason}"

    def _add(self, added: Sequence[TrialRecord]) -> None:
        self.records |= {record.name: record for record in added}
        ledger.write(self.folder, self._all())

    def _all(self) -> list[TrialRecord]:
        return list(self.records.values())


def is_time_over(recipe: Recipe, records: Sequence[TrialRecord]) -> bool:
    """Whether the short trials have used up ``sweep.hours``."""
    hours = sum(record.seconds for record in records if not record.full) / 3600
    return 0 < recipe.sweep.hours <= hours


def _reopened(record: TrialRecord) -> TrialRecord:
    """A failed trial is tried once more; one that was running goes on."""
    if record.status == "running" or (record.status == "failed" and record.tries < MAX_TRIES):
        return record.model_copy(update={"status": "waiting"})
    return record
