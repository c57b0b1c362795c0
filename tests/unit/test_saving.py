"""Checkpoints of a run: what is unfinished is never taken, best and latest stay, training does not wait."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from supreme import storage
from supreme.manifest import Request
from supreme.training.run import checkpoint as checkpoints
from supreme.training.run.checkpoint import Snapshot, State
from supreme.training.run.checkpoint_writer import CheckpointWriter, folder_of, latest
from supreme.training.run.history import Report

pytestmark = pytest.mark.unit

REQUEST = Request(stage="pretrain", config={})
SIZE = 100_000


def snapshot(number: int) -> Snapshot:
    weights = {"w": torch.full((SIZE,), float(number))}
    return Snapshot(weights, weights, {"state": {0: {"step": torch.tensor(float(number))}}})


def state(number: int, best: int = 0) -> State:
    reports = [Report(best, 0.5, {"validation_macro_auroc": 0.9})] if best else []
    return State(request=REQUEST, samples_seen=number, reports=reports)


def check(place: str) -> int:
    """The samples seen of a checkpoint that is whole."""
    found = checkpoints.read_state(place, REQUEST)
    for name in (checkpoints.MODEL, checkpoints.EMA, checkpoints.OPTIMIZER):
        checkpoints.read_file(place, name, found)
    weights = checkpoints.load(checkpoints.read_file(place, checkpoints.MODEL, found))["w"]
    assert (weights == found.samples_seen).all()
    return found.samples_seen


def test_best_and_latest_are_kept(tmp_path: Path) -> None:
    run, saver = str(tmp_path), CheckpointWriter(str(tmp_path))
    assert latest(run) is None
    for number, best in ((1, 1), (2, 2), (3, 2), (4, 2)):
        saver.save(snapshot(number), state(number, best))
        saver.wait()
        assert check(latest(run) or "") == number
    assert [int(name) for name in storage.list_folders(f"{run}/checkpoints")] == [2, 4]
    assert check(folder_of(run, 2)) == 2
    # Going back to an older one takes nothing from a process that may have gone further.
    saver.save(snapshot(3), state(3, 2))
    saver.wait()
    assert check(latest(run) or "") == 4


def kill_often(run: str) -> None:
    """Until there are 15 checkpoints and 15 kills: what is found after each is whole, and none is lost."""
    torch.set_num_threads(1)
    rng, before, kills, patience_s = np.random.default_rng(0), 0, 0, 0.06
    while before < 15 or kills < 15:
        child = os.fork()
        if child == 0:
            saver = CheckpointWriter(run)
            for number in range(before + 1, 1_000_000):
                saver.save(snapshot(number), state(number))
        time.sleep(rng.uniform(0.001, patience_s))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        reached = check(latest(run) or "") if latest(run) else 0
        assert reached >= before
        if reached == before:
            patience_s *= 1.1
        before, kills = reached, kills + 1


def test_killed_while_it_writes_and_deletes_the_latest_is_always_whole(tmp_path: Path) -> None:
    run = str(tmp_path)
    # In a process without other threads: forked from one with some, a child may wait for a lock for ever.
    process = multiprocessing.get_context("spawn").Process(target=kill_often, args=(run,))
    process.start()
    process.join(60)
    process.kill()
    assert process.exitcode == 0
    left = [name for name in storage.list_files(f"{run}/checkpoints") if name.endswith(".partial")]
    saver = CheckpointWriter(run)
    saver.save(snapshot(2_000_000), state(2_000_000))
    saver.wait()
    assert storage.list_folders(f"{run}/checkpoints") == ["000002000000"], left


def test_it_is_written_while_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = storage.write_bytes

    def slowly(uri: str, content: bytes) -> None:
        time.sleep(0.05)
        write(uri, content)

    monkeypatch.setattr(storage, "write_bytes", slowly)
    saver, began = CheckpointWriter(str(tmp_path)), time.monotonic()
    saver.save(snapshot(1), state(1))
    assert time.monotonic() - began < 0.05
    assert latest(str(tmp_path)) is None
    saver.save(snapshot(2), state(2))  # waits for the first
    assert time.monotonic() - began > 0.2
    assert check(latest(str(tmp_path)) or "") == 1
    saver.wait()
    assert check(latest(str(tmp_path)) or "") == 2


def test_what_cannot_be_written_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    saver = CheckpointWriter(str(tmp_path))
    saver.save(snapshot(1), state(1))
    with pytest.raises(storage.StorageError, match="checkpoints"):
        saver.wait()
