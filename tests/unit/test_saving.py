"""Checkpoints of a run: what is unfinished is never taken, best and latest stay, training does not wait."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
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


def samples(run: str) -> list[int]:
    """Of the checkpoints that a run has, whole or not."""
    return [int(name[:12]) for name in storage.list_folders(f"{run}/checkpoints")]


def test_best_and_latest_are_kept(tmp_path: Path) -> None:
    run, saver = str(tmp_path), CheckpointWriter(str(tmp_path))
    assert latest(run) is None
    for number, best in ((1, 1), (2, 2), (3, 2), (4, 2)):
        saver.save(snapshot(number), state(number, best))
        saver.wait()
        assert check(latest(run) or "") == number
    assert samples(run) == [2, 4]
    best = checkpoints.read_state(latest(run) or "", REQUEST).best_checkpoint
    assert check(folder_of(run, best)) == 2
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
    assert samples(run) == [2_000_000], left


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


def test_two_attempts_write_side_by_side_and_either_can_be_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is cut off while it writes, the second starts, writes as far, and then the first goes on."""
    run, first = str(tmp_path), CheckpointWriter(str(tmp_path))
    for number in (1, 2):
        first.save(snapshot(number), state(number, best=1))
        first.wait()
    begun = checkpoints.read_state(latest(run) or "", REQUEST)
    resume, write = threading.Event(), storage.write_bytes

    def held(uri: str, content: bytes) -> None:
        write(uri, content)
        if first.attempt in uri and uri.endswith(checkpoints.EMA):
            assert resume.wait(30)

    monkeypatch.setattr(storage, "write_bytes", held)
    first.save(snapshot(-3), state(3, best=1))  # of as many records, and other bits
    second = CheckpointWriter(run, begun.best_checkpoint)
    for number in (3, 4):
        second.save(snapshot(number), state(number, best=3))
        second.wait()
    own = storage.join(run, "checkpoints", f"{4:012d}-{second.attempt}")
    assert latest(run) == own
    resume.set()
    first.wait()
    first.save(snapshot(5), state(5, best=1))
    first.wait()
    # Whichever is latest, it is whole, and so is the best that its state names.
    for place in (own, latest(run) or ""):
        check(place)
        best = folder_of(run, checkpoints.read_state(place, REQUEST).best_checkpoint)
        assert check(best) in (1, 3)
    assert samples(run) == [1, 3, 4, 5]
    third = CheckpointWriter(run, checkpoints.read_state(latest(run) or "", REQUEST).best_checkpoint)
    third.save(snapshot(6), state(6, best=6))
    third.wait()
    assert samples(run) == [1, 6], "the next attempt clears up"


def test_what_cannot_be_written_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(storage.StorageError, match="checkpoints"):  # noqa: PT012
        saver = CheckpointWriter(str(tmp_path))
        saver.save(snapshot(1), state(1))
        saver.wait()
