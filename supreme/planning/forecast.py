"""Bytes, hours, instances and money of a recipe, before anything runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from supreme.config import ConfigError, Recipe
from supreme.planning import rates
from supreme.planning.rates import MachineRates, TrainingRate
from supreme.settings.planning import Instance
from supreme.shards import estimate

#: Splits by patient where a data set has none of its own.
TRAIN_SHARE, TEST_SHARE = 0.8, 0.1
#: Of the rates of building and reading.
_SAMPLES = 5000


@dataclass(frozen=True)
class StageForecast:
    """What one stage takes."""

    stage: str
    records: int
    """Read, or trained on in all epochs together."""
    hours: float
    instances: int
    instance: str
    """Of the price table; empty without one."""
    price: float | None


@dataclass(frozen=True)
class Forecast:
    """What a whole run takes."""

    records: int
    raw_bytes: int
    """int16 at the recipe's rate and length."""
    shard_bytes: int
    stages: tuple[StageForecast, ...]
    hours: float
    price: float | None
    """None without a price table."""
    storage_per_month: float | None
    rates: tuple[str, ...]
    """Machine, date and method of every rate that was used."""
    warnings: tuple[str, ...]


def forecast(recipe: Recipe) -> Forecast:
    """Plan shard, label, pretrain and evaluate for `plan.records` ECGs; reads no data.

    Rates are those of one core or one GPU times their number: what many hosts lose by waiting for each
    other, and what queueing and starting nodes takes, comes on top. Labels are by rules: a language model's
    time and money are in the plan of `jobs/label.py`.

    Raises:
        ConfigError: no number of records, or no rate for the recipe's encoder on such a device.
    """
    plan, records = recipe.plan, _records(recipe)
    known = rates.load(plan.rates)
    device = "gpu" if plan.gpus else "cpu"
    machine, training = _training(known, device, recipe)
    host, scoring = _training(known, "cpu", recipe) if device == "gpu" else (machine, training)
    base, core = next((one, one.host) for one in known if one.host)
    few, many = _instance(plan.instances, gpu=False), _instance(plan.instances, gpu=plan.gpus > 0)
    scored_per_s = _scaled(scoring, recipe, scoring.scored_per_s or scoring.records_per_s)
    units = plan.gpus or recipe.training.workers
    trained_per_s = _scaled(training, recipe, training.records_per_s) * units
    loaded_per_s = core.read_per_s * _SAMPLES / recipe.shards.samples * _loading_cores(recipe, many)
    warnings = list(_warnings((base, machine, host), recipe))
    if loaded_per_s < trained_per_s:
        warnings.append(
            f"training waits for data: {loaded_per_s:,.0f} of {trained_per_s:,.0f} records/s; add cores a GPU"
        )
    epochs = round(records * TRAIN_SHARE * recipe.training.epochs)
    test = max(1, round(records * TEST_SHARE))
    stages = (
        _stage("shard", records, core.built_per_s * plan.cores, few, plan.cores),
        _stage("label", records, core.labelled_per_s * plan.cores, few, plan.cores),
        _stage("pretrain", epochs, min(trained_per_s, loaded_per_s), many, units),
        _stage("evaluate", test, scored_per_s * plan.cores, few, plan.cores),
    )
    raw, stored = records * recipe.shards.record_bytes, records * estimate.bytes_per_record(recipe.shards)
    priced = bool(plan.instances)
    return Forecast(
        records=records,
        raw_bytes=raw,
        shard_bytes=round(stored),
        stages=stages,
        hours=round(sum(one.hours for one in stages), 2),
        price=round(sum(one.price or 0.0 for one in stages), 2) if priced else None,
        storage_per_month=round(stored / 1e9 * plan.storage_per_gb_month, 2) if priced else None,
        rates=tuple(dict.fromkeys(one.source for one in (base, machine, host))),
        warnings=tuple(warnings),
    )


def table(result: Forecast) -> Iterator[str]:
    """The forecast as lines for people."""
    raw, stored = (f"{size / 1e9:,.1f} GB" for size in (result.raw_bytes, result.shard_bytes))
    yield f"{result.records:,} records: {raw} as int16, {stored} in shards"
    for one in result.stages:
        price = "" if one.price is None else f", {one.price:,.2f}"
        where = f"{one.instances} x {one.instance}" if one.instance else f"{one.instances} workers"
        yield f"{one.stage:9} {one.hours:10,.2f} h on {where}{price}"
    if result.price is not None:
        storage = f"storage {result.storage_per_month:,.2f} a month"
        yield f"together {result.hours:,.2f} h, {result.price:,.2f}; {storage}"


def _records(recipe: Recipe) -> int:
    if recipe.plan.records:
        return recipe.plan.records
    counts = [source.records for source in recipe.sources]
    if None in counts:
        raise ConfigError(
            "plan.records is not set, and a source does not say how many it has: plan.records=N"
        )
    return sum(count or 0 for count in counts)


def _training(
    machines: Iterable[MachineRates], device: str, recipe: Recipe
) -> tuple[MachineRates, TrainingRate]:
    """The first machine with such a device that trained the encoder, and its rate at the nearest length."""
    encoder = recipe.model.encoder
    for machine in machines:
        fitting = [one for one in machine.training if one.encoder == encoder]
        if machine.device == device and fitting:
            return machine, min(fitting, key=lambda one: abs(math.log(one.samples / recipe.shards.samples)))
    gpu = " training.gpu=true" if device == "gpu" else ""
    raise ConfigError(
        f"no rate of model.encoder={encoder} on a {device.upper()}: `python jobs/bench.py rates{gpu} "
        f"model.encoder={encoder} --result-file rates.json` on such a machine, then plan.rates=rates.json"
    )


def _scaled(rate: TrainingRate, recipe: Recipe, per_s: float) -> float:
    """Tokens, and with them the time of a record, grow with its length."""
    return per_s * rate.samples / recipe.shards.samples


def _loading_cores(recipe: Recipe, instance: Instance | None) -> float:
    """Cores beside the GPUs; on CPU workers alone, one beside each."""
    if recipe.plan.gpus and instance:
        return recipe.plan.gpus * instance.cores / max(1, instance.gpus)
    return float(recipe.plan.gpus * 8 or recipe.training.workers)


def _instance(instances: Iterable[Instance], gpu: bool) -> Instance | None:
    """The cheapest of the table, by GPU or by core.

    Raises:
        ConfigError: the table has prices, but for the other kind of instance only.
    """
    table_of = list(instances)
    fitting = [one for one in table_of if bool(one.gpus) == gpu]
    if table_of and not fitting:
        raise ConfigError(f"plan.instances has no instance {'with' if gpu else 'without'} GPUs: add one")
    return min(fitting, key=lambda one: one.price_per_hour / (one.gpus or one.cores), default=None)


def _stage(name: str, records: int, per_s: float, instance: Instance | None, units: int) -> StageForecast:
    """Hours and money of a stage from its rate and its units: cores, or GPUs."""
    hours = records / per_s / 3600
    if instance is None:
        return StageForecast(name, records, round(hours, 3), units, "", None)
    count = math.ceil(units / (instance.gpus or instance.cores))
    price = round(hours * count * instance.price_per_hour, 2)
    return StageForecast(name, records, round(hours, 3), count, instance.name, price)


def _warnings(machines: Iterable[MachineRates], recipe: Recipe) -> Iterator[str]:
    for machine in dict.fromkeys(machines):
        if machine.by != "jobs/bench.py":
            yield f"rates of {machine.machine} were not measured here ({machine.by}): give plan.rates"
    if recipe.labels.extractor == "llm":
        yield "labels are planned by rules; `python jobs/label.py --dry-run` has the language model's share"
