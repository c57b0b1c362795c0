"""A profile's advice names the phase that costs most, and nothing where all is well."""

from __future__ import annotations

import pytest

from supreme.training.profiling.advice import advice, lines
from supreme.training.profiling.profile import Profile

pytestmark = pytest.mark.unit

WELL = {
    "loader wait": 0.5,
    "copy and augment": 4.0,
    "forward": 40.0,
    "backward": 40.0,
    "check": 1.0,
    "optimizer": 8.0,
    "average": 2.0,
    "all-reduce": 2.5,
    "other": 2.0,
}


PLAIN = Profile(
    device="cpu",
    workers=2,
    threads=1,
    precision="fp32",
    batch_size=32,
    milliseconds=WELL,
    step_ms=100.0,
    records_per_s=640.0,
    gflop_per_record=0.1,
    gflop_per_s=60.0,
    peak_gflop_per_s=100.0,
    memory_mb=900,
)


def profile(without: str = "", changes: dict[str, object] | None = None, **milliseconds: float) -> Profile:
    phases = WELL | {name.replace("_", " "): value for name, value in milliseconds.items()}
    phases = {name: value for name, value in phases.items() if name != without}
    return PLAIN.model_copy(update={"milliseconds": phases, **(changes or {})})


def test_what_is_done_already_is_not_advised() -> None:
    for device, compiles in (("cpu", False), ("NVIDIA H100", True)):
        [only] = advice(profile(changes={"gflop_per_s": 20.0, "precision": "bf16", "device": device}))
        assert ("compile" in only) == compiles
        assert "bf16" not in only


def test_where_all_is_well_no_knob_is_named() -> None:
    [only] = advice(profile())
    assert "nothing stands out" in only


@pytest.mark.parametrize(
    ("found", "knob"),
    [
        (profile(loader_wait=3.0), "waits for data"),
        (profile(changes={"milliseconds": WELL | {"all-reduce": 30.0}}), "each other's gradients"),
        (profile(optimizer=30.0), "training.batch_size"),
        (profile(copy_and_augment=30.0), "augmentations"),
        (profile(changes={"gflop_per_s": 20.0}), "training.precision=bf16"),
    ],
)
def test_each_cost_has_its_knob(found: Profile, knob: str) -> None:
    [only] = advice(found)
    assert knob in only


def test_the_dearest_comes_first_and_one_worker_has_no_all_reduce() -> None:
    first, second = advice(profile(without="all-reduce", loader_wait=30.0, optimizer=40.0))
    assert "updating the weights" in first
    assert "waits for data" in second


def test_the_table_adds_up_to_the_step() -> None:
    told = lines(profile(changes={"advice": ["x"]}))
    assert told[0].split() == ["loader", "wait", "0.50", "ms", "0.5", "%"]
    assert told[-1] == "x"
    assert "(60 %)" in told[-2]
    assert "100.00 ms" in told[-3]
    assert len(told) == len(WELL) + 3
