"""Pieces of a batch: their gradient is the batch's; how large they may be; what is said without memory."""

from __future__ import annotations

import copy
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_step import DIM, SAMPLES, Batch, batch, learner, queries  # noqa: F401 (a fixture)

from supreme.config import ConfigError
from supreme.settings.training import Training
from supreme.training.data.queries import Queries
from supreme.training.learner import memory
from supreme.training.learner.learner import Learner

pytestmark = pytest.mark.unit

VIT = {"encoder": "vit1d", "heads": 2, "patch": 20}
CPU = torch.device("cpu")


@pytest.mark.parametrize("uncertain", ["mask", "soft"])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_pieces_give_the_gradient_and_the_loss_of_the_whole_batch(
    queries: Queries,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    uncertain: str,
    count: int,
) -> None:
    one = learner(queries, dropout=0.0, model=VIT, uncertain=uncertain, sampled_queries=2)
    one.task.double()
    # What comes before the encoder is computed in float32.
    monkeypatch.setattr(one.task.model, "encode", one.task.model.encoder.forward)
    inputs = one.inputs(batch(), step=0)
    inputs = type(inputs)(
        tuple(view.double() for view in inputs.views), inputs.codes, inputs.queries.double(), seed=7
    )
    inputs.codes[:5, :] = 2  # pieces of very different weight, one of none
    inputs.codes[5:, 0] = 1

    def found() -> tuple[torch.Tensor, list[torch.Tensor]]:
        loss, _ = one._gradients(inputs)
        return loss, [weight.grad.clone() for weight in one.task.parameters() if weight.grad is not None]

    whole = found()
    one.micro_batch = count
    # The loss itself is computed in float32.
    torch.testing.assert_close(found()[0], whole[0], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(found()[1], whole[1], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"objective": "merl", "micro_batch": 4}, "merl compares the ECGs"),
        ({"batch_size": 32, "micro_batch": 12}, "does not divide"),
        ({"sharding": "fsdp", "micro_batch": "auto"}, "give a number"),
    ],
)
def test_what_cannot_be_cut_is_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Training.model_validate(values)


def test_auto_takes_the_largest_divisor_that_fits_and_changes_nothing_else(
    queries: Queries,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = learner(queries)
    before = copy.deepcopy(plain.task.state_dict())
    each = memory._pass_bytes(plain._dry_run, 4, CPU) - memory._pass_bytes(plain._dry_run, 3, CPU)
    weights = 4 * sum(weight.nbytes for weight in plain.task.parameters())
    always = memory._pass_bytes(plain._dry_run, 4, CPU) - 4 * each
    for records, fitting in ((100, 32), (31, 16), (9, 8), (1.5, 1)):
        room = (always + weights + records * each) / memory._SHARE
        monkeypatch.setattr(memory, "free_bytes", lambda device, room=room: room)
        found = learner(queries, micro_batch="auto")
        assert found.micro_batch == fitting
    assert all(torch.equal(before[name], value) for name, value in found.task.state_dict().items())
    assert all(weight.grad is None for weight in found.task.parameters())
    monkeypatch.setattr(memory, "free_bytes", lambda device: 0.0)
    with pytest.raises(ConfigError, match="not even one ECG fits"):
        learner(queries, micro_batch="auto")


def test_what_a_pass_keeps_grows_with_its_records(queries: Queries) -> None:  # noqa: F811
    one = learner(queries, model=VIT)
    two, four, eight = (memory._pass_bytes(one._dry_run, count, CPU) for count in (2, 4, 8))
    assert eight - four == pytest.approx(2 * (four - two), rel=0.05)


def test_free_memory_is_what_the_process_may_still_take() -> None:
    limit = memory._kilobytes("/proc/self/status", "VmSize") + 3e8
    old = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (int(limit), old[1]))
    try:
        assert memory.free_bytes(CPU) == pytest.approx(3e8, rel=0.2)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old)
    assert memory.free_bytes(CPU) > 3e8


HUNGRY = """
import resource, sys
sys.path.insert(0, {tests!r})
import torch
from test_memory import large_step
torch.set_num_threads(1)
large_step({count}, {room})
"""


def large_step(count: int, room: float) -> None:
    """One step of ``count`` records in what the process holds now and ``room`` bytes more."""
    embeddings = torch.randn(7, DIM)
    data = Queries(embeddings, embeddings.mean(0), torch.eye(DIM), torch.tensor([0, 3, 4, 7]))
    one: Learner = learner(data, model=VIT | {"width": 32, "tokens": "leadwise"}, batch_size=count)
    nothing = Batch.empty(count, SAMPLES, 3, DIM)
    one.step(batch(), 0, 0, 100)
    one.micro_batch = count
    most = memory._kilobytes("/proc/self/status", "VmSize") + room
    resource.setrlimit(resource.RLIMIT_AS, (int(most), int(most)))
    try:
        one.step(nothing, 1, 0, 100)
    except ConfigError as error:
        print(error)
        one.micro_batch = int(str(error).rpartition("=")[2])
        one.step(nothing, 1, 0, 100)
        print("done")


def test_out_of_memory_says_what_fits_and_that_does_fit() -> None:
    """In a process of its own, whose memory really ends."""
    code = HUNGRY.format(tests=str(Path(__file__).parent), count=1024, room=120e6)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stdout.splitlines()[-1:] == ["done"], ran.stdout + ran.stderr[-2000:]
    assert "out of memory with 1024 ECGs at once" in ran.stdout
    assert "would fit: set training.micro_batch=" in ran.stdout


STEPS = """
import resource, sys, threading, torch
from supreme.training.learner import memory

def steps():
    for number in range(12):
        if number == 2:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        kept = [torch.ones(size) for size in (3_000_000, 100_000) * 10]
        del kept
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

if sys.argv[1:] == ["kept"]:
    memory.disable_malloc_trim()
thread = threading.Thread(target=steps)
thread.start()
thread.join()
"""


def test_what_a_step_frees_is_there_for_the_next() -> None:
    """In a thread, as Ray runs the loop; each in a process of its own, whose memory has no past."""
    command = [sys.executable, "-c", STEPS]
    given_back, kept = (
        int(subprocess.run([*command, *how], capture_output=True, text=True, check=True).stdout)
        for how in ([], ["kept"])
    )
    assert kept < given_back / 4, f"{kept} page faults instead of {given_back}"
