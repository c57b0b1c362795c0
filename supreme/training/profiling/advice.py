"""A profile of training in words: a table, and the knobs to turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def lines(found: Mapping[str, Any]) -> list[str]:
    """A profile as lines for people."""
    step = found["step_ms"]
    told = [
        f"{name:<20}{value:>10.2f} ms {100 * value / step:>6.1f} %"
        for name, value in found["milliseconds"].items()
    ]
    use = 100 * found["gflop_per_s"] / found["peak_gflop_per_s"]
    return [
        *told,
        f"{'step':<20}{step:>10.2f} ms",
        f"{found['records_per_s']} ECGs/s on {found['workers']} workers ({found['device']}), "
        f"each with {found['gflop_per_s']} of {found['peak_gflop_per_s']} GFLOP/s ({use:.0f} %) "
        f"and {found['memory_mb']} MB",
        *found["advice"],
    ]


def advice(found: Mapping[str, Any]) -> list[str]:
    """The knobs to turn, most worth first; one line says so when there is none.

    Args:
        found: a result of `profile` without its advice.
    """
    share = {name: value / found["step_ms"] for name, value in found["milliseconds"].items()}
    use = found["gflop_per_s"] / found["peak_gflop_per_s"]
    knobs = [
        (
            share["loader wait"],
            0.02,
            "the step waits for data: give Ray more CPUs than workers, write shards with "
            "shards.compression=none, or keep them nearer to the workers",
        ),
        (
            share.get("all-reduce", 0.0),
            0.15,
            "the workers wait for each other's gradients: raise training.batch_size, or use fewer workers",
        ),
        (
            share["optimizer"] + share["average"],
            0.25,
            "updating the weights costs as much as learning: raise training.batch_size",
        ),
        (
            share["copy and augment"],
            0.2,
            "preparing the batch on the device is dear: take out augmentations",
        ),
        (
            1 - use,
            0.6,
            "the products are small or wait for memory: raise training.batch_size" + _faster(found),
        ),
    ]
    told = [text for value, limit, text in sorted(knobs, key=lambda knob: -knob[0]) if value > limit]
    return told or ["nothing stands out: the time goes into forward and backward products"]


def _faster(found: Mapping[str, Any]) -> str:
    if found["precision"] != "bf16":
        return ", or set training.precision=bf16"
    return "" if found["device"] == "cpu" else ", or set training.compile=true"
