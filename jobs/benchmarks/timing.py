"""Time and memory of rival ways in one run: interleaved, since what else a machine does comes and goes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

MEMORY_EVERY_S = 0.1

_Measured = TypeVar("_Measured")


def interleaved(ways: Mapping[str, Callable[[], _Measured]], repetitions: int) -> dict[str, list[_Measured]]:
    """What each way gives, measured in turn: A B C A B C, not A A B B C C."""
    found: dict[str, list[_Measured]] = {name: [] for name in ways}
    for _ in range(repetitions):
        for name, measure in ways.items():
            found[name].append(measure())
    return found


class Peak:
    """The most bytes that were seen."""

    value = 0


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """The most that `memory_bytes` gives inside the block."""
    peak, done = Peak(), threading.Event()

    def watch() -> None:
        while not done.wait(MEMORY_EVERY_S):
            peak.value = max(peak.value, memory_bytes())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def memory_bytes() -> int:
    """Memory of this process and its descendants, each page counted once.

    Anonymous and shared pages, so with Ray's object store, but without the page cache of files.
    """
    return sum(_own_bytes(process) for process in _family(os.getpid()))


def processor_seconds() -> float:
    """Processor time that this process, its descendants and those of them that have ended have had."""
    ticks = 0
    for process in _family(os.getpid()):
        for line in _lines(Path(f"/proc/{process}/stat")):
            # After the name, which may hold anything: state is field 3, times are fields 14 to 17.
            ticks += sum(map(int, line.rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _family(process: int) -> list[int]:
    found = [process]
    for parent in found:
        for listing in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for line in _lines(listing) for child in line.split()]
    return found


def _own_bytes(process: int) -> int:
    lines = [line.split() for line in _lines(Path(f"/proc/{process}/smaps_rollup"))]
    return sum(1024 * int(line[1]) for line in lines if line[0] in ("Pss_Anon:", "Pss_Shmem:"))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return []  # the process has ended


def drop_page_cache(files: Iterable[str]) -> None:
    """Let go of the pages that the operating system keeps of files; what lies below it keeps its own."""
    for name in files:
        descriptor = os.open(name, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
