"""What a run will take, before it does: bytes, hours, instances and money, from measured rates.

python jobs/plan.py --config plan plan.records=10000000 plan.gpus=8
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from supreme.config import Recipe
from supreme.runtime.cli import Options, main


def run(recipe: Recipe, options: Options) -> Mapping[str, object]:
    """Forecast every stage; nothing is read or written, with or without `--dry-run`."""
    from supreme import log
    from supreme.planning import forecast

    result = forecast.forecast(recipe)
    for line in forecast.table(result):
        log.get("plan").info(line)
    for warning in result.warnings:
        log.get("plan").warning(warning)
    return asdict(result)


if __name__ == "__main__":
    main(run, __doc__)
