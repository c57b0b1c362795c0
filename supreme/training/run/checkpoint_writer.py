"""The checkpoints of a run: written while training goes on, and found again after whatever ended it.

Each is a folder ``checkpoints/<samples seen>`` of the run, local or on S3, finished by its ``state.json``:
one without it was being written when the end came, and is never read. These folders alone say where a run
goes on. Ray Train's own list of checkpoints is not used: it is rewritten in place, so that a kill can tear
it, and then the run cannot be opened any more.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from supreme import storage
from supreme.training.run import checkpoint as checkpoints

FOLDER = "checkpoints"


def folder_of(run: str, samples_seen: int) -> str:
    """The checkpoint after ``samples_seen`` records of a run's folder."""
    return storage.join(run, FOLDER, f"{samples_seen:012d}")


def latest(run: str) -> str | None:
    """The last finished checkpoint of a run's folder."""
    names = storage.list_files(storage.join(run, FOLDER), f"/{checkpoints.STATE}")
    return storage.join(run, FOLDER, names[-1].partition("/")[0]) if names else None


class Saver:
    """Writes checkpoints in a thread, one at a time, and keeps the best and the latest."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.pool = ThreadPoolExecutor(1, "checkpoint")
        self.writing: Future[None] | None = None

    def save(self, snapshot: checkpoints.Snapshot, state: checkpoints.State) -> None:
        """Begin to write a checkpoint; first wait for the one before, whose error is raised here."""
        self.wait()
        self.writing = self.pool.submit(self._write, snapshot, state)

    def wait(self) -> None:
        """Return when all is written."""
        if self.writing:
            self.writing.result()

    def _write(self, snapshot: checkpoints.Snapshot, state: checkpoints.State) -> None:
        mine = folder_of(self.run, state.samples_seen)
        checkpoints.write(mine, snapshot, state)
        kept = {mine, folder_of(self.run, int(state.best.get("samples_seen", -1)))}
        parent = storage.join(self.run, FOLDER)
        # Older ones only: what another process may have written after this one is not ours.
        for name in storage.list_folders(parent):
            is_older = name.isdecimal() and int(name) < state.samples_seen
            if is_older and storage.join(parent, name) not in kept:
                _delete(storage.join(parent, name))


def _delete(folder: str) -> None:
    # Its end first: a folder half deleted must not pass for a checkpoint.
    storage.delete_file(storage.join(folder, checkpoints.STATE))
    storage.delete_folder(folder)
