"""The planner: arithmetic against figures by hand, laws that a plan obeys, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks import labels, model
from benchmarks import rates as bench_rates
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme import config
from supreme.planning import rates
from supreme.planning.forecast import Forecast, forecast, table

pytestmark = pytest.mark.unit

TRAINING = {"encoder": "vit1d_tiny", "samples": 5000, "records_per_s": 1000.0, "scored_per_s": 500.0}
MACHINE = {
    "machine": "test",
    "device": "gpu",
    "measured": "2026-01-31",
    "by": "jobs/bench.py",
    "host": {"built_per_s": 2000.0, "labelled_per_s": 5000.0, "read_per_s": 4000.0},
    "training": [TRAINING],
}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("rates") / "rates.json"
    file.write_text(json.dumps(MACHINE))
    return str(file)


def _plan(own: str, *overrides: str) -> Forecast:
    return forecast(config.load("plan", [f"plan.rates={own}", *overrides]))


def test_a_plan_by_hand(own: str) -> None:
    result = _plan(own, "plan.records=1000000", "plan.gpus=4", "plan.cores=32", "shards.compression=none")
    stages = {one.stage: one for one in result.stages}
    assert result.raw_bytes == result.shard_bytes == 1_000_000 * 12 * 5000 * 2
    assert stages["shard"].hours == pytest.approx(1e6 / (2000 * 32) / 3600, abs=1e-3)
    assert stages["label"].hours == pytest.approx(1e6 / (5000 * 32) / 3600, abs=1e-3)
    hours = 16 * 0.8e6 / (4 * 1000) / 3600
    assert stages["pretrain"].hours == pytest.approx(hours, abs=1e-3)
    assert (stages["pretrain"].instances, stages["pretrain"].instance) == (4, "gpu-spot")
    assert stages["pretrain"].price == pytest.approx(hours * 4 * 1.6, abs=0.01)
    assert (stages["shard"].instances, stages["shard"].instance) == (2, "cpu-16")
    assert result.storage_per_month == pytest.approx(120 * 0.023)
    assert result.price == pytest.approx(sum(one.price or 0 for one in result.stages), abs=0.01)
    assert "test, 2026-01-31, jobs/bench.py" in result.rates
    assert len(list(table(result))) == 6


@settings(max_examples=25, deadline=None)
@given(records=st.integers(100_000, 20_000_000), gpus=st.integers(1, 64), times=st.integers(2, 5))
def test_twice_the_records_take_twice_as_long_and_twice_the_gpus_half(
    own: str, records: int, gpus: int, times: int
) -> None:
    one, more, faster = (
        _plan(own, f"plan.records={r}", f"plan.gpus={g}").stages[2]
        for r, g in ((records, gpus), (times * records, gpus), (records, times * gpus))
    )
    assert more.hours == pytest.approx(times * one.hours, abs=0.01)
    assert faster.hours == pytest.approx(one.hours / times, abs=0.01)
    assert faster.price == pytest.approx(one.price, rel=0.01, abs=0.5)  # as many GPU hours


def test_a_gpu_that_waits_for_data_is_said_and_counted(own: str) -> None:
    few = "plan.instances=[{name='big', gpus=8, cores=1, price_per_hour=1}, {name='c', cores=4}]"
    slow, fast = _plan(own, few), _plan(own)
    assert any("waits for data" in warning for warning in slow.warnings)
    assert not any("waits for data" in warning for warning in fast.warnings)
    # Eight GPUs have one core: 4,000 records/s of the 8,000 that they could train on.
    assert slow.stages[2].hours == pytest.approx(2 * fast.stages[2].hours, rel=0.01)


def test_the_cheapest_instance_is_taken_by_gpu(own: str) -> None:
    one = "{name='one', gpus=1, cores=8, price_per_hour=2}"
    eight = "{name='eight', gpus=8, cores=96, price_per_hour=12}"
    prices = f"plan.instances=[{one}, {eight}, {{name='c', cores=4}}]"
    stage = _plan(own, prices, "plan.gpus=16").stages[2]
    assert (stage.instance, stage.instances) == ("eight", 2)


def test_stored_rates_are_valid_and_a_reported_one_is_marked() -> None:
    machines = rates.load("")
    assert {one.device for one in machines} == {"cpu", "gpu"}
    result = forecast(config.load("plan"))
    assert any("not measured here" in warning for warning in result.warnings)
    assert forecast(config.load("smoke")).warnings == ()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.encoder=vit1d_base"], "no rate of model.encoder=vit1d_base on a GPU"),
        (["plan.rates=missing.json"], "missing.json"),
        (["plan.instances=[{name='c', cores=4}]"], "no instance with GPUs"),
    ],
)
def test_what_cannot_be_planned_names_the_remedy(overrides: list[str], message: str) -> None:
    with pytest.raises(config.ConfigError, match=message):
        forecast(config.load("plan", overrides))


def test_a_damaged_file_of_rates_names_the_command(tmp_path: Path) -> None:
    (tmp_path / "rates.json").write_text('{"suite": "training"}')
    with pytest.raises(config.ConfigError, match=r"bench.py rates --result-file"):
        rates.load(str(tmp_path / "rates.json"))


def test_records_are_those_of_the_sources_or_must_be_named() -> None:
    assert forecast(config.load("smoke")).records == 400
    with pytest.raises(config.ConfigError, match=r"plan.records=N"):
        forecast(config.load("ptbxl"))


def test_what_the_bench_measures_can_be_planned_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_rates, "SAMPLES", (100,))
    monkeypatch.setattr(bench_rates, "DISTINCT", 64)
    monkeypatch.setattr(bench_rates, "REPORTS", 200)
    monkeypatch.setattr(labels, "_POOL", 100)
    monkeypatch.setattr(model, "ENTITIES", 8)
    recipe = config.load("smoke", [f"root={tmp_path}", "training.batch_size=2", "bench.repetitions=1"])
    result = bench_rates.measure(recipe, lambda: pytest.fail("Ray is not needed"))  # type: ignore[arg-type]
    (tmp_path / "rates.json").write_text(json.dumps(result))
    planned = forecast(config.load("smoke", [f"plan.rates={tmp_path}/rates.json"]))
    assert planned.rates == (rates.load(str(tmp_path / "rates.json"))[0].source,)
