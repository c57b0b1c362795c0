"""The checkpoints of a run: written while training goes on, and found again after whatever ended it.

Each is a folder ``checkpoints/<samples seen>`` of the run, local or on S3, finished by its ``state.json``. A
folder without one was being written when the run ended, and is never read. These folders alone decide where a
run goes on. Ray Train's own list of checkpoints is not used: it is rewritten in place, a kill can truncate
it, and then the run cannot be opened any more.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from supreme import storage
from supreme.training.learner.learner import Learner
from supreme.training.run import checkpoint as checkpoints
from supreme.training.run.checkpoint import Snapshot, State
from supreme.training.run.hooks import StepEvent

FOLDER = "checkpoints"


def folder_of(run: str, samples_seen: int) -> str:
    """The folder of the checkpoint after ``samples_seen`` records."""
    return storage.join(run, FOLDER, f"{samples_seen:012d}")


def latest(run: str) -> str | None:
    """The folder of the last finished checkpoint of a run."""
    names = storage.list_files(storage.join(run, FOLDER), f"/{checkpoints.STATE}")
    return storage.join(run, FOLDER, names[-1].partition("/")[0]) if names else None


class CheckpointWriter:
    """Writes checkpoints in a thread, one at a time, and keeps the best and the latest."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.pool = ThreadPoolExecutor(1, "checkpoint")
        self.writing: Future[None] | None = None

    def save(self, snapshot: Snapshot, state: State) -> None:
        """Begin to write a checkpoint; first wait for the one before, whose error is raised here."""
        self.wait()
        self.writing = self.pool.submit(self._write, snapshot, state)

    def wait(self) -> None:
        """Return when everything is written."""
        if self.writing:
            self.writing.result()

    def _write(self, snapshot: Snapshot, state: State) -> None:
        own = folder_of(self.run, state.samples_seen)
        checkpoints.write(own, snapshot, state)
        best = folder_of(self.run, state.best.samples_seen) if state.best else own
        parent = storage.join(self.run, FOLDER)
        # Older ones only: another process may have written later ones.
        for name in storage.list_folders(parent):
            is_older = name.isdecimal() and int(name) < state.samples_seen
            if is_older and storage.join(parent, name) not in (own, best):
                _delete(storage.join(parent, name))


class Checkpointing:
    """The hook that takes a snapshot of the learner at every checkpoint; rank 0 writes it."""

    def __init__(self, run: str, learner: Learner) -> None:
        self.learner, self.writer = learner, CheckpointWriter(run)

    def on_step(self, event: StepEvent) -> bool:
        """Never asks for a checkpoint itself."""
        return False

    def on_report(self, state: State, *, is_report: bool) -> None:
        """Take a snapshot, and begin to write it."""
        snapshot = Snapshot.of(self.learner)  # all workers take part
        if self.learner.rank == 0:
            self.writer.save(snapshot, state)

    def on_end(self) -> None:
        """Wait until the last checkpoint is written."""
        self.writer.wait()


def _delete(folder: str) -> None:
    # The state first: a folder that is half deleted must not look like a checkpoint.
    storage.delete_file(storage.join(folder, checkpoints.STATE))
    storage.delete_folder(folder)
