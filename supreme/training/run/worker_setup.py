"""What every Ray Train worker does before the loop: its process, data, learner, and the latest checkpoint."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

import ray.train
import ray.train.torch
import torch
from ray.train.collective import broadcast_from_rank_zero

from supreme import log, storage
from supreme.config import ConfigError
from supreme.objectives.make import make_task
from supreme.runtime.session import quieten_ray_data
from supreme.training.data.batch import Batch
from supreme.training.data.labels import LabelMatrix, positive_rate
from supreme.training.data.order import replay
from supreme.training.data.queries import Queries
from supreme.training.data.reports import Reports
from supreme.training.learner import memory, parallel
from supreme.training.learner.learner import Learner
from supreme.training.run import checkpoint as checkpoints
from supreme.training.run.checkpoint import State
from supreme.training.run.checkpoint_writer import latest
from supreme.training.run.failures import quieten_worker
from supreme.training.run.stage import QUERIES, REPORTS, PretrainStage
from supreme.training.run.worker import WorkerRun

#: Ray names this logger by its file; it logs every report with all its values, on every worker.
_RAY_REPORT_LOGGER = str(sys.modules["ray.train.v2._internal.execution.context"].__file__)


def train_loop(stage: PretrainStage, turn: Callable[[], None] = lambda: None) -> None:
    """Train from the latest checkpoint, or from nothing, to the end; first call ``turn``, which may wait."""
    run, state = open_run(stage)
    turn()
    run.train(state)


def open_run(stage: PretrainStage) -> tuple[WorkerRun, State]:
    """This worker's run, and the state of the latest checkpoint that it goes on from.

    Reads the embedded queries (and reports) that the driver wrote to the folder, and the label table.
    """
    recipe, inputs = stage.recipe, stage.inputs
    _configure_process(recipe.training.threads_per_worker, stage.label)
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    log.bind(recipe.name, "sweep" if stage.label else "pretrain", rank)
    queries = Queries.read(storage.join(stage.folder, QUERIES))
    labels = inputs.read_labels(with_unseen=queries.unseen is not None)
    learner = _make_learner(stage, labels, queries, rank, world)
    state = _restore(stage, learner)
    order = replay(stage.corpus.sizes, recipe.seed, state.history, world, recipe.training.batch_size)
    reads_reports = learner.task.reads_reports
    run = WorkerRun(
        recipe.training,
        learner,
        stage.corpus,
        inputs.validation,
        labels,
        order,
        rank,
        world,
        stage.folder,
        Reports.read(storage.join(stage.folder, REPORTS)) if reads_reports else None,
    )
    return run, state


def _configure_process(threads: int, label: str) -> None:
    log.configure(label=label)
    for name in ("ray.data", "ray.train", _RAY_REPORT_LOGGER):
        logging.getLogger(name).setLevel(logging.WARNING)
    quieten_ray_data()
    quieten_worker()
    torch.set_num_threads(threads)
    memory.disable_malloc_trim()
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False


def _make_learner(
    stage: PretrainStage, labels: LabelMatrix, queries: Queries, rank: int, world: int
) -> Learner:
    """A learner before its first step, the same on all workers: untrained, or with the weights of a start.

    Raises:
        ConfigError: the embedded queries are not those of the labels, or the start has other weights.
    """
    recipe, samples, entities = stage.recipe, stage.inputs.train.samples, labels.codes.shape[1]
    if len(queries.offsets) - 1 != entities:
        raise ConfigError(f"{len(queries.offsets) - 1} queries for {entities} entities: start with --new")
    torch.manual_seed(recipe.seed)
    task = make_task(recipe, queries.known(), samples, positive_rate(labels.codes))
    if stage.start:
        stage.start.load_into(task)
    learner = Learner(
        task,
        recipe.training,
        queries,
        rate_hz=recipe.shards.rate_hz,
        seed=recipe.seed,
        rank=rank,
        device=ray.train.torch.get_device(),
    )
    if world > 1 and recipe.training.sharding == "none":
        _warm_up_ddp(learner, samples, entities, queries.embeddings.shape[1])
    return learner


def _warm_up_ddp(learner: Learner, samples: int, entities: int, text_dim: int) -> None:
    """Two passes on zeros that leave the weights unchanged.

    DDP rebuilds its gradient buckets after the first step, and with more than two workers the layout decides
    the order of the sums: without this, a resumed run would differ in the last bit.
    """
    # torch.compile compiles for one batch size.
    count = learner.micro_batch if learner.training.compile else 2
    zeros = Batch.empty(count, samples, entities, text_dim)
    learner.wrapped.train()
    with parallel.preserve_state(learner.task):
        for _ in range(2):
            learner.wrapped(learner.inputs(zeros, step=0))[0].backward()


def _restore(stage: PretrainStage, learner: Learner) -> State:
    """Load the latest checkpoint into the learner; its state, or that of a fresh run."""
    state = State(request=stage.request)
    # Only rank 0 looks for it: all workers must go on from the same one.
    folder = broadcast_from_rank_zero(latest(stage.folder) if learner.rank == 0 else None)
    if folder:
        state = checkpoints.read_state(folder, stage.request)
        checkpoints.load_learner(folder, state, learner)
        if learner.training.micro_batch == "auto":
            learner.micro_batch = state.micro_batch or learner.micro_batch
    return state.model_copy(update={"micro_batch": learner.micro_batch})
