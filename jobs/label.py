"""Reports to labels: statements, entities with assertions, the vocabulary of queries and the label table."""

from __future__ import annotations

from typing import Any

from supreme import manifest
from supreme.config import Recipe
from supreme.runtime.cli import Options, main
from supreme.runtime.session import ray_session


def run(recipe: Recipe, options: Options) -> dict[str, Any]:
    from supreme.reporting import audit_page
    from supreme.reports import spread, stage

    shards = [recipe.folder(f"shards/{source.dataset}") for source in recipe.sources]
    folder = recipe.folder("labels")
    if options.dry_run:
        return {"stage": "labels", "folder": folder} | _plan(recipe, shards)
    with ray_session():
        made = stage.build(recipe, shards, folder, new=options.new, spread=spread.on_ray)
        audit = audit_page.write(recipe, shards, spread.on_ray)
    return {"labels": folder, "audit": audit, **made.result.model_dump(exclude={"entities"})}


def _plan(recipe: Recipe, shards: list[str]) -> dict[str, Any]:
    from supreme.reports import stage
    from supreme.reports.llm import estimate, extractor
    from supreme.shards.result import SHARDS

    inputs = {uri: manifest.read(uri, SHARDS) for uri in shards}
    known = {uri: made.result.records for uri, made in inputs.items() if made}
    missing = [uri for uri, made in inputs.items() if made is None]
    planned: dict[str, Any] = {"records": known, "unfinished": missing}
    if recipe.labels.extractor == "llm" and not missing:
        texts = [statement.text for statement in stage.collect(shards).values()]
        planned["llm"] = estimate.plan(texts, recipe.llm, extractor.cache_folder(recipe))
    return planned


if __name__ == "__main__":
    main(run, __doc__ or "")
