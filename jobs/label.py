"""Reports to labels: statements, entities with assertions, the vocabulary of queries and the label table."""

from __future__ import annotations

from collections.abc import Mapping

from supreme import manifest
from supreme.config import Recipe
from supreme.runtime.cli import Options, main
from supreme.runtime.session import ray_session


def run(recipe: Recipe, options: Options) -> Mapping[str, object]:
    """Label the reports of the recipe's sources, and write the audit page."""
    from supreme.reporting import audit_page
    from supreme.reports import spread, stage

    shards = [recipe.folder(f"shards/{source.dataset}") for source in recipe.sources]
    folder = recipe.folder("labels")
    if options.dry_run:
        return {"stage": "labels", "folder": folder, **_plan(recipe, shards)}
    with ray_session():
        labels = stage.build(recipe, shards, folder, new=options.new, spread=spread.on_ray)
        audit = audit_page.write(recipe, shards, spread.on_ray)
    return {"labels": folder, "audit": audit, **labels.result.model_dump(exclude={"entities"})}


def _plan(recipe: Recipe, shards: list[str]) -> Mapping[str, object]:
    from supreme.reports import stage
    from supreme.reports.llm import estimate, extractor
    from supreme.shards.result import SHARDS

    manifests = {uri: manifest.read(uri, SHARDS) for uri in shards}
    plan: dict[str, object] = {
        "records": {uri: one.result.records for uri, one in manifests.items() if one},
        "unfinished": [uri for uri, one in manifests.items() if one is None],
    }
    if recipe.labels.extractor == "llm" and not plan["unfinished"]:
        texts = [statement.text for statement in stage.collect(shards).values()]
        plan["llm"] = estimate.plan(texts, recipe.llm, extractor.cache_folder(recipe))
    return plan


if __name__ == "__main__":
    main(run, __doc__ or "")
