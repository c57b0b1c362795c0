"""Raw records to shards, on Ray Data: a part of the index is one task, which writes one shard.

Parts that are done are not done again. The bytes depend on the records and the configuration alone, not on
how many workers there were or how often they were interrupted.
"""

from __future__ import annotations

import os
from functools import partial
from itertools import chain

import ray
from ray.exceptions import RayTaskError

from supreme import config, log, owner
from supreme.runtime import observability
from supreme.settings.data import Source
from supreme.shards import part, plan, scales
from supreme.shards.plan import Plan
from supreme.shards.result import ShardManifest


def build(recipe: config.Recipe, source: Source, *, new: bool = False) -> ShardManifest:
    """Make the shards of one source under `<root>/<name>/shards/<dataset>`, or continue, extend or find them.

    Needs a running Ray session.

    Raises:
        ConfigError: as :func:`plan.survey`.
        TooManyRejected: after everything is written.
    """
    return carry_out(plan.survey(recipe, source, new=new))


def carry_out(planned: Plan) -> ShardManifest:
    """Make what a plan leaves to do, and publish it.

    Raises:
        ConfigError: most records are not in millivolts; nothing is written.
        Unavailable: storage does not answer or is full; what is finished stays.
        TooManyRejected: after everything is written.
    """
    if planned.finished:
        return planned.finished
    scales.check_before_building(planned.job, [*chain(*planned.todo.values())])
    with owner.owned(planned.job.folder):
        plan.begin(planned)
        if planned.todo:
            _make_parts(planned)
        return plan.publish(planned)


def _make_parts(planned: Plan) -> None:
    job, logger = planned.job, log.get(__name__)
    done, to_do = planned.records()
    if done:
        what = "extending" if planned.published else "continuing"
        logger.info(f"{job.source.dataset}: {what}, {done:,} of {done + to_do:,} records are done")
    progress = log.Progress(logger, f"{job.source.dataset}: records", done + to_do, done=done)
    # Each task is sent its own slice of the index: reading all of it would cost more than the work.
    items = [{"part": name, "entries": part.dump(entries)} for name, entries in planned.todo.items()]
    tasks = ray.data.from_items(items, override_num_blocks=len(items)).map(
        partial(part.write, job=job), num_cpus=logical_cpus_per_core()
    )
    refused = 0
    try:
        for row in tasks.iter_rows():
            done, refused = done + row["seen"], refused + row["rejected"]
            observability.add("supreme_records_total", row["seen"])
            observability.add("supreme_rejected_total", row["rejected"])
            progress.update(done, rejected=refused)
    except RayTaskError as error:
        raise error.cause or error from None


def logical_cpus_per_core() -> float:
    """What a task asks for, where Ray was told of more CPUs than the machine has cores."""
    here = ray.get_runtime_context().get_node_id()
    logical = sum(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["NodeID"] == here)
    return max(1.0, logical // (os.cpu_count() or 1))
