"""Training with a worker on each of two hosts: the bits of one, also where a host is lost on the way."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hosts
import pytest
import training_data
from hosts import Cluster, Host
from training_data import Trained

from supreme.config import Recipe

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
DEADLINE_S = 400


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three hosts: two for the workers, one to read for them."""
    with hosts.cluster(tmp_path_factory.mktemp("hosts"), 3) as made:
        yield made


class Run:
    """`jobs/pretrain.py`, submitted to the cluster."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.recipe = cluster, training_data.long_recipe(folder)
        self.log, self.file = folder / "pretrain.log", folder / "pretrain.json"
        self.process = cluster.submit(*training_data.command("pretrain", self.recipe, folder), log=self.log)
        self.deadline = time.monotonic() + DEADLINE_S

    def has_reported(self, least: int) -> int:
        """Wait for so many reports; how many there are."""
        while (found := len(training_data.reports(self.recipe))) < least:
            self._wait()
        return found

    def hosts(self) -> list[Host]:
        """Wait for the two workers; where they are."""
        while len(found := [h for h in self.cluster.hosts if h.processes("RayTrainWorker")]) < 2:
            self._wait()
        return found

    def result(self) -> dict[str, Any]:
        while not self.file.exists():
            self._wait()
        result: dict[str, Any] = json.loads(self.file.read_text())
        return result

    def _wait(self) -> None:
        assert self.process.poll() in (None, 0), self.log.read_text()[-5000:]
        assert time.monotonic() < self.deadline, self.log.read_text()[-5000:]
        time.sleep(0.1)


def losses(recipe: Recipe) -> list[tuple[int, float, float]]:
    lines = training_data.reports(recipe)
    return [(line["samples_seen"], line["loss"], line["validation_macro_auroc"]) for line in lines]


def test_two_hosts_train_to_the_bits_of_one(
    cluster: Cluster, undisturbed_training: Trained, tmp_path: Path
) -> None:
    run = Run(cluster, tmp_path)
    run.has_reported(1)
    assert len(run.hosts()) == 2
    assert run.result()["weights_sha256"] == undisturbed_training.result["weights_sha256"]
    assert losses(run.recipe) == losses(undisturbed_training.recipe)


def test_a_lost_host_changes_nothing(cluster: Cluster, undisturbed_training: Trained, tmp_path: Path) -> None:
    run = Run(cluster, tmp_path)
    run.has_reported(2)
    lost = next(host for host in run.hosts() if host is not cluster.head)
    cluster.lose(lost)
    assert run.has_reported(2) < training_data.REPORTS - 4, "it was lost too late to prove anything"
    cluster.join(1)
    assert run.result()["weights_sha256"] == undisturbed_training.result["weights_sha256"]
    # Every report once, and none with another number.
    assert losses(run.recipe) == losses(undisturbed_training.recipe)
