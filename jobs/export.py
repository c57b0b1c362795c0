"""Write the signals of data sets as a model from elsewhere wants them: a memory map, ids, and the convention.

python jobs/export.py --config demo real=FOLDER export.convention=ecg-fm 'export.splits=["test"]'
"""

from __future__ import annotations

from collections.abc import Mapping

from supreme.config import Recipe
from supreme.runtime.cli import Options, main


def run(recipe: Recipe, options: Options) -> Mapping[str, object]:
    """Export the data sets of the recipe and of `real`."""
    from supreme.evaluation import export

    jobs = export.plan(recipe)
    if options.dry_run:
        exports = {job.folder: {"records": job.records, "bytes": job.bytes} for job in jobs}
        return {"stage": "export", "bytes": sum(job.bytes for job in jobs), "exports": exports}
    return {"exports": {job.folder: export.run(job, new=options.new).result.model_dump() for job in jobs}}


if __name__ == "__main__":
    main(run, __doc__)
