"""Measure ours against what it competes with, in one run on one machine.

python jobs/bench.py building                simulated records in the layout of MIMIC-IV-ECG
python jobs/bench.py labels bench.records=800256   reports to labels on all cores
python jobs/bench.py model                   a training step: plain transformer, ViT-tiny, whole model
python jobs/bench.py rates --result-file FILE     what `jobs/plan.py` plans with, as plan.rates=FILE
python jobs/bench.py reading                 simulated ECGs
python jobs/bench.py reading real=FOLDER     those of the data sets in a folder instead
python jobs/bench.py rules real=FOLDER       reports read by the rules
python jobs/bench.py scoring                 the scoring engine: records/s against a bare loop
python jobs/bench.py training                Ray Train: one worker, two workers, the wait for data
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module

from supreme.config import ConfigError, Recipe
from supreme.runtime.cli import Options, main
from supreme.runtime.session import ray_session

#: Suite -> function of (recipe, what starts Ray) that gives the result.
SUITES = {
    "building": "benchmarks.building.compare",
    "labels": "benchmarks.labels.compare",
    "model": "benchmarks.model.compare",
    "rates": "benchmarks.rates.measure",
    "reading": "benchmarks.reading.compare",
    "rules": "benchmarks.reports.compare_rules",
    "scoring": "benchmarks.scoring.compare",
    "training": "benchmarks.training.compare",
}


def run(recipe: Recipe, options: Options) -> Mapping[str, object]:
    """Run one suite; the result holds its ratios."""
    suite = recipe.bench.suite
    if suite not in SUITES:
        raise ConfigError(f"bench.suite={suite!r} is none of {', '.join(SUITES)}")
    if options.dry_run:
        return {"suite": suite, **recipe.bench.model_dump(mode="json")}
    module, _, function = SUITES[suite].rpartition(".")
    result: Mapping[str, object] = getattr(import_module(module), function)(recipe, ray_session)
    return result


if __name__ == "__main__":
    words = [f"bench.suite={word}" if word in SUITES else word for word in sys.argv[1:]]
    main(run, __doc__, words)
