"""Bounded read-ahead: the next results are computed in threads while the current one is in use."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def futures_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int, depth: int
) -> Iterator[Future[Result]]:
    """Futures of ``function`` of each item, in order; at most ``depth`` are submitted ahead.

    An error is raised where the caller asks a future for its result. What is not started is cancelled when
    the caller stops early.
    """
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > depth:
                    yield pending.popleft()
            while pending:
                yield pending.popleft()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def buffered(items: Iterable[Item], depth: int) -> Iterator[Item]:
    """The same items, taken by a thread that is up to ``depth`` of them ahead; its error is raised here."""
    buffer: queue.Queue[tuple[Item] | Exception | None] = queue.Queue(depth)

    def fill() -> None:
        try:
            for item in items:
                buffer.put((item,))
            buffer.put(None)
        except Exception as error:
            buffer.put(error)

    threading.Thread(target=fill, daemon=True).start()
    while (entry := buffer.get()) is not None:
        if isinstance(entry, Exception):
            raise entry
        yield entry[0]
