"""Register the pre-trained bundle and make it the champion when it is better on the same validation data."""

from __future__ import annotations

from typing import Any

from supreme.config import ConfigError, Recipe
from supreme.runtime.cli import Options, main


def run(recipe: Recipe, options: Options) -> dict[str, Any]:
    from supreme import manifest, promotion, storage, tracking
    from supreme.registry import versions
    from supreme.training.run.summary import PRETRAIN

    stage = recipe.folder("pretrain")
    bundle = storage.join(stage, "bundle")
    made = manifest.require(stage, PRETRAIN)
    if recipe.training.objective == "simclr":
        raise ConfigError("training.objective=simclr trains an encoder alone: there is no bundle to promote")
    selection = versions.Selection.of_training(made.result)
    model = recipe.tracking.model
    if options.dry_run:
        return {"bundle": bundle, "model": model, "sha256": versions.verify(bundle), **selection.tags()}
    store = tracking.open_store(recipe.tracking, recipe.root)
    version = versions.register(
        bundle,
        made.result.run_id,
        tracking_uri=store,
        model=model,
        tags={**selection.tags(), "recipe": recipe.name, "code_version": made.code_version},
    )
    champion = versions.find(f"models:/{model}@{versions.CHAMPION}", store)
    if champion is not None and versions.same(champion, version):
        promoted, reason = True, champion.tags.get("promotion_reason", "it is the champion already")
    else:
        promoted, reason = promotion.judge(selection, champion, new_data=options.new)
        if promoted:
            versions.promote(version, tracking_uri=store, reason=reason)
    return {
        "model_uri": f"models:/{model}/{version.version}",
        "version": int(version.version),
        "alias": versions.CHAMPION if promoted else versions.CANDIDATE,
        "promoted": promoted,
        "reason": reason,
        **selection.tags(),
    }


if __name__ == "__main__":
    main(run, __doc__)
