"""Register the pre-trained bundle as a version with the alias `candidate`; `jobs/promote.py` judges it."""

from __future__ import annotations

from collections.abc import Mapping

from supreme.config import Recipe
from supreme.runtime.cli import Options, main


def run(recipe: Recipe, options: Options) -> Mapping[str, object]:
    """Register the bundle of the recipe's pre-training stage; the same bundle stays the same version."""
    from supreme.inference import bundle
    from supreme.registry import candidates

    if options.dry_run:
        model = candidates.pretrained(recipe)
        digest = bundle.verify(model.bundle)
        return {
            "bundle": model.bundle,
            "model": recipe.tracking.model,
            "sha256": digest,
        } | model.selection.tags()
    return candidates.register(recipe)


if __name__ == "__main__":
    main(run, __doc__ or "")
