"""A profile of training in words: a table, and the settings to change."""

from __future__ import annotations

from supreme.training.profiling.profile import Profile


def lines(profile: Profile) -> list[str]:
    """A profile as lines of text."""
    step = profile.step_ms
    phases = [
        f"{name:<20}{value:>10.2f} ms {100 * value / step:>6.1f} %"
        for name, value in profile.milliseconds.items()
    ]
    return [
        *phases,
        f"{'step':<20}{step:>10.2f} ms",
        f"{profile.records_per_s} ECGs/s on {profile.workers} workers ({profile.device}), "
        f"each with {profile.gflop_per_s} of {profile.peak_gflop_per_s} GFLOP/s "
        f"({100 * profile.utilization:.0f} %) and {profile.memory_mb} MB",
        *profile.advice,
    ]


def advice(profile: Profile) -> list[str]:
    """The settings to change, largest gain first; one line says so when there is none."""
    rules = [
        (
            profile.share("loader wait"),
            0.02,
            "the step waits for data: give Ray more CPUs than workers, write shards with "
            "shards.compression=none, or keep them closer to the workers",
        ),
        (
            profile.share("all-reduce"),
            0.15,
            "the workers wait for each other's gradients: raise training.batch_size, or use fewer workers",
        ),
        (
            profile.share("optimizer") + profile.share("average"),
            0.25,
            "updating the weights costs as much as learning: raise training.batch_size",
        ),
        (
            profile.share("copy and augment"),
            0.2,
            "preparing the batch on the device is expensive: remove augmentations",
        ),
        (
            1 - profile.utilization,
            0.6,
            "the matrix products are small or wait for memory: raise training.batch_size" + _faster(profile),
        ),
    ]
    texts = [text for share, limit, text in sorted(rules, key=lambda rule: -rule[0]) if share > limit]
    return texts or ["nothing stands out: the time goes into forward and backward passes"]


def _faster(profile: Profile) -> str:
    if profile.precision != "bf16":
        return ", or set training.precision=bf16"
    return "" if profile.device == "cpu" else ", or set training.compile=true"
