"""Raw ECGs to shards: every source that is pre-trained on, and every real data set that is evaluated on."""

from __future__ import annotations

from typing import Any

from supreme import log
from supreme.config import Recipe
from supreme.job import Options, main, ray_session
from supreme.records import all_sources


def run(recipe: Recipe, options: Options) -> dict[str, Any]:
    from supreme.shards import build

    sources = all_sources(recipe)
    if options.dry_run:
        plans = [build.plan(recipe, source) for source in sources]
        totals = {key: sum(plan[key] for plan in plans) for key in ("records", "shards", "bytes", "seconds")}
        return {"stage": "shards", **totals, "sources": plans}
    made = {}
    with ray_session():
        for source in sources:
            result = build.build(recipe, source, new=options.new)
            counts = {key: result.counts[key] for key in ("records", "rejected")}
            made[source.dataset] = {"folder": build.folder_of(recipe, source), **counts}
            records, rejected = counts.values()
            log.get("shard").info(f"{source.dataset}: {records:,} records, {rejected:,} refused")
    return {"shards": made}


if __name__ == "__main__":
    main(run, __doc__ or "")
