"""The checkpoints of a run: written while training goes on, and found again after whatever ended it.

Each is a folder ``checkpoints/<samples seen>-<attempt>`` of the run, local or on S3, finished by its
``state.json``. A folder without one was being written when the run ended, and is never read. An attempt is
one start of the workers. One that is cut off from the cluster may go on writing beside the next: neither
writes into a folder of the other, nor deletes what the other needs. These folders alone decide where a run
goes on. Ray Train's own list of checkpoints is not used: it is rewritten in place, a kill can truncate
it, and then the run cannot be opened any more.
"""

from __future__ import annotations

import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor

from supreme import storage
from supreme.runtime import observability
from supreme.training.learner.learner import Learner
from supreme.training.run import checkpoint as checkpoints
from supreme.training.run.checkpoint import Snapshot, State
from supreme.training.run.hooks import StepEvent

FOLDER = "checkpoints"


def folder_of(run: str, name: str) -> str:
    """The folder of a checkpoint."""
    return storage.join(run, FOLDER, name)


def latest(run: str) -> str | None:
    """The folder of the last finished checkpoint of a run."""
    names = storage.list_files(storage.join(run, FOLDER), f"/{checkpoints.STATE}")
    return storage.join(run, FOLDER, names[-1].partition("/")[0]) if names else None


class CheckpointWriter:
    """Writes the checkpoints of one attempt in a thread, one at a time, and keeps the best and the latest.

    Args:
        run: the folder of the run.
        best: name of the best checkpoint so far, from the state that this attempt goes on from.
    """

    def __init__(self, run: str, best: str = "") -> None:
        self.run, self.best = run, best
        self.attempt = uuid.uuid4().hex[:8]
        # What earlier attempts add from now on is theirs, and its state may name this best one.
        self.replaced = set(storage.list_folders(storage.join(run, FOLDER))) - {best}
        self.pool = ThreadPoolExecutor(1, "checkpoint")
        self.writing: Future[None] | None = None

    def save(self, snapshot: Snapshot, state: State) -> None:
        """Begin to write a checkpoint; first wait for the one before, whose error is raised here."""
        self.wait()
        name = f"{state.samples_seen:012d}-{self.attempt}"
        if state.best and state.best.samples_seen == state.samples_seen:
            self.best = name
        state = state.model_copy(update={"best_checkpoint": self.best})
        self.writing = self.pool.submit(self._write, name, snapshot, state)

    def wait(self) -> None:
        """Return when everything is written."""
        if self.writing:
            self.writing.result()

    def _write(self, name: str, snapshot: Snapshot, state: State) -> None:
        checkpoints.write(folder_of(self.run, name), snapshot, state)
        observability.put("supreme_checkpoint_timestamp_seconds", time.time())
        self.replaced.add(name)
        # Older ones only: another process may have written later ones.
        older = {one for one in self.replaced if one[:12].isdecimal() and one < f"{state.samples_seen:012d}"}
        for one in sorted(older - {state.best_checkpoint}):
            _delete(folder_of(self.run, one))
            self.replaced.remove(one)


class Checkpointing:
    """The hook that takes a snapshot of the learner at every checkpoint; rank 0 writes it.

    Args:
        run: the folder of the run.
        best: as of `CheckpointWriter`.
    """

    def __init__(self, run: str, learner: Learner, best: str) -> None:
        self.learner = learner
        self.writer = CheckpointWriter(run, best) if learner.rank == 0 else None

    def on_step(self, event: StepEvent) -> bool:
        """Never asks for a checkpoint itself."""
        return False

    def on_report(self, state: State, *, is_report: bool) -> None:
        """Take a snapshot, and begin to write it."""
        snapshot = Snapshot.of(self.learner)  # all workers take part
        if self.writer:
            self.writer.save(snapshot, state)

    def on_end(self) -> None:
        """Wait until the last checkpoint is written."""
        if self.writer:
            self.writer.wait()


def _delete(folder: str) -> None:
    # The state first: a folder that is half deleted must not look like a checkpoint. Files of others stay.
    storage.delete_file(storage.join(folder, checkpoints.STATE))
    own = (checkpoints.STATE, checkpoints.MODEL, checkpoints.EMA, checkpoints.OPTIMIZER)
    for name in storage.list_files(folder):
        if storage.final_name(name) in own:
            storage.delete_file(storage.join(folder, name))
    storage.delete_empty_folders(folder)
