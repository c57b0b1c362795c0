"""The MLflow run of each trial: begun when the trial begins, closed when it ends, whatever ends it."""

from __future__ import annotations

from collections.abc import Mapping

from supreme import tracking
from supreme.config import Recipe
from supreme.sweep import space, trials
from supreme.sweep.summary import SweepResult, TrialRecord
from supreme.sweep.trials import Trial
from supreme.tracking.stage import ABORT_WAIT_S, Status

_STATUS: Mapping[str, Status] = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
#: Tag: how far a trial is, in the sweep's own words.
TAG, REASON_TAG = "supreme.trial", "supreme.trial_reason"


class TrialRuns:
    """Nested runs of a sweep; a trial that waits has none yet."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._uri = ""
        self._parent: tracking.StageRun | None = None
        self._inputs: Mapping[str, str] = {}
        self._open: dict[str, tracking.StageRun] = {}

    def open(self, uri: str, parent: tracking.StageRun, inputs: Mapping[str, str]) -> None:
        """Begin runs below ``parent`` from now on; ``inputs``: digests of the data."""
        self._uri, self._parent, self._inputs = uri, parent, inputs

    def on_start(self, record: TrialRecord, trial: Trial) -> None:
        """Begin the trial's run, or go on in it."""
        self._open[record.name] = tracking.start_or_resume(
            self._uri,
            self.recipe.tracking.experiment,
            trial.folder,
            trial.name,
            trial.recipe.model_dump(mode="json", exclude={"sweep"}),
            {**self._inputs, **tags(record)},
            self._parent,
        )

    def on_end(self, record: TrialRecord, trial: Trial) -> None:
        """Close the trial's run with its status and the reason."""
        if run := self._open.pop(record.name, None):
            run.finish(_STATUS[record.status], tags=tags(record))

    def abort(self, status: Status) -> None:
        """Close the runs of trials that are cut off."""
        for run in self._open.values():
            run.finish(status, ABORT_WAIT_S, tags={TAG: "interrupted"})
        self._open = {}

    def complete(self, result: SweepResult) -> None:
        """Send a server that was away what it lacks of trials that have ended."""
        for outcome in result.trials.values():
            if outcome.is_settled and tracking.is_behind(trials.folder_of(self.recipe, outcome)):
                trial = trials.trial(self.recipe, outcome)
                self.on_start(outcome, trial)
                self.on_end(outcome, trial)


def tags(record: TrialRecord) -> dict[str, str]:
    """What tells trials apart in a list of runs."""
    return {
        TAG: record.status,
        REASON_TAG: record.reason,
        "supreme.trial_changes": space.describe(record.changes) or "the recipe itself",
        "supreme.trial_length": "full" if record.full else "short",
    }
