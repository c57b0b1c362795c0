"""One function over many items: in this process, or on all cores of the Ray cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Shared = TypeVar("Shared")
Result = TypeVar("Result")


class Spread(Protocol):
    """Results come in the order of the items, whatever order they are made in."""

    def __call__(
        self, work: Callable[[Item, Shared], Result], items: Sequence[Item], shared: Shared
    ) -> Iterator[Result]: ...


def in_process(
    work: Callable[[Item, Shared], Result], items: Sequence[Item], shared: Shared
) -> Iterator[Result]:
    """One after the other, here."""
    return (work(item, shared) for item in items)


def on_ray(work: Callable[[Item, Shared], Result], items: Sequence[Item], shared: Shared) -> Iterator[Result]:
    """As tasks of the running Ray session; ``shared`` travels once to each node.

    One item is not worth a task. No more results wait in memory than twice what runs at once.
    """
    if len(items) < 2:
        yield from in_process(work, items, shared)
        return
    import ray

    from supreme.shards.build import logical_cpus_per_core

    cpus = logical_cpus_per_core()
    task = ray.remote(num_cpus=cpus)(work)
    window = 2 * max(1, int(ray.cluster_resources().get("CPU", 1) // cpus))
    reference = ray.put(shared)
    waiting: deque = deque()
    for item in items:
        if len(waiting) >= window:
            yield ray.get(waiting.popleft())
        waiting.append(task.remote(item, reference))
    while waiting:
        yield ray.get(waiting.popleft())
