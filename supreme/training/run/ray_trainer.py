"""Ray Train's trainer for a job: waits for workers, ends on Ctrl-C, raises our own errors as they were."""

from __future__ import annotations

import os
from typing import Any

import ray
import ray.train
import ray.train.torch

from supreme import config, log, storage
from supreme.settings.training import Training
from supreme.training.learner.finite import TrainingStopped
from supreme.training.run.failures import shortened

logger = log.get("pretrain")


class Trainer(ray.train.torch.TorchTrainer):
    """Ray's trainer without what does not suit a job."""

    def _register_sigint_handler(self, controller: Any) -> None:
        """Ctrl-C ends the job: Ray's handler waits silently for workers that may never come."""

    def _create_default_callbacks(self) -> list[Any]:
        # A local session has no dashboard, and the cleaner would warn of that every second.
        callbacks = super()._create_default_callbacks()  # type: ignore[misc]
        if os.environ.get("RAY_ADDRESS"):
            return callbacks
        return [c for c in callbacks if type(c).__name__ != "PlacementGroupCleanerCallback"]


def scaling(training: Training) -> ray.train.ScalingConfig:
    """The workers to ask Ray for; a cluster's autoscaler may have to make room for them.

    Raises:
        ConfigError: a local session, which does not grow, has too few CPUs or GPUs.
    """
    least, kind = training.min_workers or training.workers, "GPU" if training.gpu else "CPU"
    available = int(ray.cluster_resources().get(kind, 0))
    if available < least:
        lack = f"{least} training workers need a {kind} each, and Ray has {available}"
        if not os.environ.get("RAY_ADDRESS"):
            remedy = "set training.gpu=false, or " if training.gpu else ""
            raise config.ConfigError(f"{lack}: {remedy}lower training.workers, or submit to a cluster")
        logger.warning("%s: waiting until there are more", lack)
    elastic = (training.min_workers, training.workers)
    workers = elastic if training.min_workers else training.workers
    share = {"GPU": training.gpu_share} if training.gpu and training.gpu_share < 1 else None
    return ray.train.ScalingConfig(
        num_workers=workers,  # type: ignore[arg-type]
        use_gpu=training.gpu,
        resources_per_worker=share,
    )


def fit(trainer: Trainer) -> ray.train.Result:
    """Run a trainer; an error of our own code in the controller, or of the storage, is raised unchanged."""
    try:
        return trainer.fit()
    except ray.train.ControllerError as error:
        cause = error.controller_failure
        is_own = isinstance(cause, TrainingStopped | config.ConfigError | storage.StorageError)
        raise (cause if is_own else error) from None
    except ray.train.WorkerGroupError as error:
        raise shortened(error) from None
