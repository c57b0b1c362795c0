"""A stage folder has one owner at a time: the process whose ``owner.json`` lies in it.

The file is created only where there is none, which local disks and S3 decide for all who try at once, and is
renewed while its owner works. One that stays the same for :data:`GONE_AFTER_S` belongs to a process that is
gone, and is taken over; on the same machine a process that is gone is seen at once.
"""

from __future__ import annotations

import _thread
import os
import platform
import random
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from supreme import log, storage
from supreme.config import ConfigError

FILE = "owner.json"
#: An owner that has not renewed its file for so long is gone.
GONE_AFTER_S = 60.0
RENEW_S = 5.0
_LOOK_EVERY_S = 0.5

logger = log.get("owner")


class Owner(BaseModel):
    """The process that works in a folder."""

    model_config = ConfigDict(frozen=True)

    token: str
    job: str
    host: str
    pid: int
    process: str
    """What tells this process from one that later gets its number; empty where the system does not tell."""
    since: str
    renewed: int = 0

    @classmethod
    def this_process(cls) -> Owner:
        """This process, running the job that its command line names."""
        return cls(
            token=uuid.uuid4().hex,
            job=Path(sys.argv[0]).name or "python",
            host=platform.node(),
            pid=os.getpid(),
            process=_identity(os.getpid()),
            since=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def __str__(self) -> str:
        return f"{self.job}, process {self.pid} on {self.host}, since {self.since}"

    def has_ended(self) -> bool:
        """Whether it was a process of this machine that is no more; False where that cannot be seen."""
        machine = self.process.rpartition(" ")[0]
        is_here = bool(machine) and machine == _identity(os.getpid()).rpartition(" ")[0]
        return is_here and _identity(self.pid) != self.process


@contextmanager
def owned(folder: str) -> Iterator[None]:
    """Own a folder for the block.

    Raises:
        ConfigError: another process owns it; the message names it.
        StorageError: the folder cannot be written to.
        KeyboardInterrupt: another process has taken it over, as this one was suspended for a minute.
    """
    uri, mine = storage.join(folder, FILE), Owner.this_process()
    _acquire(uri, folder, mine)
    done = threading.Event()
    renewing = threading.Thread(target=_renew, args=(uri, mine, done), daemon=True, name="owner")
    renewing.start()
    try:
        yield
    finally:
        done.set()
        renewing.join()
        with suppress(storage.StorageError):  # it is seen to be gone by itself
            earlier = _read(uri)
            if earlier and earlier.token == mine.token:
                storage.delete_file(uri)
                storage.delete_empty_folders(folder)


def _acquire(uri: str, folder: str, mine: Owner) -> None:
    while not _create(uri, mine):
        earlier = _read(uri)
        if earlier is None:
            continue  # it has just ended
        if not earlier.has_ended():
            logger.info(f"{folder}: {earlier} may be at work here: looking for a sign of life")
            # Two that wait do not find it gone at the same moment.
            latest = _watch(uri, earlier, GONE_AFTER_S * random.uniform(1, 1.2))
            if latest is None:
                continue
            if latest != earlier:
                raise ConfigError(
                    f"{folder}: {latest} is at work here: let it end or stop it, then run the same command"
                )
        if _read(uri) == earlier:
            logger.warning(f"{folder}: {earlier} is gone: going on from what it left")
            storage.delete_file(uri)


def _create(uri: str, mine: Owner) -> bool:
    """Whether the folder is ours now. A store that ignores the condition keeps what was written last."""
    if not storage.create(uri, mine.model_dump_json().encode()):
        return False
    latest = _read(uri)
    return latest is not None and latest.token == mine.token


def _watch(uri: str, earlier: Owner, seconds: float) -> Owner | None:
    """The owner as soon as its file changes, or else after a while; None where it has ended."""
    deadline = time.monotonic() + seconds
    while (latest := _read(uri)) == earlier and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)
    return latest


def _renew(uri: str, mine: Owner, done: threading.Event) -> None:
    count = 0
    while not done.wait(RENEW_S):
        count += 1
        # Storage that is away, or full, shows in what the job itself writes.
        with suppress(storage.StorageError):
            latest = _read(uri)
            if latest is not None and latest.token != mine.token:
                logger.error(f"{uri}: {latest} has taken over, as this process did not renew it in time")
                _thread.interrupt_main()
                return
            renewed = mine.model_copy(update={"renewed": count})
            storage.write_bytes(uri, renewed.model_dump_json().encode())


def _read(uri: str) -> Owner | None:
    try:
        return Owner.model_validate_json(storage.read_bytes(uri, limit=1 << 16))
    except storage.NotFound:
        return None
    except ValidationError as error:
        raise ConfigError(f"{uri} is damaged: delete it if no job works in that folder") from error


def _identity(pid: int) -> str:
    """Machine since its last start, container and start of a process; empty if there is none, or no /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        container = Path("/proc/self/ns/pid").readlink()
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
    return f"{boot} {container} {started}"
