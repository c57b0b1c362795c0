"""Score a folder of WFDB records against text queries with a registered model, into Parquet.

python jobs/predict.py predict.uri=FOLDER 'predict.queries=["old infarct?"]' predict.output=scores.parquet
"""

from __future__ import annotations

from collections.abc import Mapping

from supreme.config import Recipe
from supreme.runtime.cli import Options, main
from supreme.runtime.session import ray_session


def run(recipe: Recipe, options: Options) -> Mapping[str, object]:
    """Score the records below `predict.uri` for `predict.queries`."""
    from supreme import prediction, tracking
    from supreme.evaluation import targets

    model_uri = targets.model_uri(recipe)
    output = recipe.predict.output or recipe.folder("predictions.parquet")
    settings = recipe.predict.model_copy(update={"output": output})
    if options.dry_run:
        return prediction.plan(settings, model_uri).model_dump()
    store = tracking.open_store(recipe.tracking, recipe.root) if model_uri.startswith("models:") else None
    with ray_session():
        derive = recipe.shards.derive_limb_leads
        return prediction.predict(settings, model_uri, store, derive_limb_leads=derive).model_dump()


if __name__ == "__main__":
    main(run, __doc__)
