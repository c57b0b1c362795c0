"""Raw ECGs to shards: every source that is pre-trained on, and every real data set that is evaluated on."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from supreme import log
from supreme.config import Recipe
from supreme.records import all_sources
from supreme.runtime.cli import Options, main
from supreme.runtime.session import ray_session

TOTALS = ("records", "records_to_do", "shards", "shards_to_do", "bytes", "seconds")


def run(recipe: Recipe, options: Options) -> Mapping[str, object]:
    """Build or extend the shards of every source, and write the data card."""
    from supreme.evaluation.datasets import has_evaluation_shards
    from supreme.reporting import data_card
    from supreme.shards import estimate, plan

    plans = [plan.survey(recipe, source, new=options.new) for source in all_sources(recipe)]
    for source in (one for one in all_sources(recipe) if has_evaluation_shards(recipe, one)):
        plans.append(plan.survey(recipe, source, new=options.new, whole=True))
    summaries = [one.summary() for one in plans]
    estimate.check_room(recipe.root, summaries)
    if options.dry_run:
        totals = {key: sum(getattr(summary, key) for summary in summaries) for key in TOTALS}
        # A record that is evaluated stands in two forms.
        whole = sum(summary.records for one, summary in zip(plans, summaries, strict=True) if one.job.whole)
        totals["records"] -= whole
        return {"stage": "shards", **totals, "sources": [asdict(summary) for summary in summaries]}
    shards = {}
    # Nothing to do costs no start of Ray.
    with nullcontext() if all(one.finished for one in plans) else ray_session():
        for one in plans:
            result = (one.finished or _carry_out(one)).result
            records, rejected = result.records, result.rejected
            shards[one.title] = {"folder": one.job.folder, "records": records, "rejected": rejected}
            log.get("shard").info(f"{one.title}: {records:,} records, {rejected:,} refused")
    card, described = data_card.write(recipe, new=options.new)
    for row in described.result.leakage_across_datasets:
        log.get("shard").warning(
            f"{row.recordings:,} recordings stand in both {' and '.join(row.datasets)}: see {card}"
        )
    return {"shards": shards, "data_card": card}


def _carry_out(plan: Any) -> Any:
    from supreme.shards import build

    return build.carry_out(plan)


if __name__ == "__main__":
    main(run, __doc__ or "")
