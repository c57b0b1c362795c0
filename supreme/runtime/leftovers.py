"""Folders of Ray that a killed job has left: the next one removes them.

A job holds a lock on a file in its folder for as long as it lives. A folder whose lock can be taken has lost
its owner, whatever became of that, also in another container; one without the file is somebody else's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

PREFIX, _LOCK = "ray.", "supreme.lock"


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Own the folder until the end of the block, or of this process."""
    new = folder / f"{_LOCK}.new"
    with new.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        new.rename(folder / _LOCK)  # only now is there something that another job could take
        yield


def remove(parent: Path) -> None:
    """Delete the folders below ``parent`` that this user's jobs made and that have no owner any more."""
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # it is being removed by another job
            status = folder.lstat()
            if folder.is_symlink() or not folder.is_dir() or status.st_uid != os.getuid():
                continue
            with (folder / _LOCK).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _delete(folder)


def _delete(folder: Path) -> None:
    # The lock goes last: what could not be deleted is found again.
    for entry in folder.iterdir():
        if entry.name == _LOCK:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    shutil.rmtree(folder)
