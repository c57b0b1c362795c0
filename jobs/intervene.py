"""Change one sign of normal ECGs (axis, voltage, PR, QRS, T, ST), and see which queries of a model answer.

python jobs/intervene.py --config demo evaluation.model_uri=models:/supreme-ecg@champion
"""

from __future__ import annotations

from collections.abc import Mapping

from supreme.config import Recipe
from supreme.runtime.cli import Options, main


def run(recipe: Recipe, options: Options) -> Mapping[str, object]:
    """Ask all queries of `evaluation.model_uri`, or the champion, on simulated normal ECGs."""
    from supreme import tracking
    from supreme.evaluation import interventions, targets
    from supreme.registry import versions

    uri = targets.model_uri(recipe)
    if options.dry_run:
        return {"model_uri": uri, "interventions": [one.name for one in interventions.INTERVENTIONS]}
    store = tracking.open_store(recipe.tracking, recipe.root) if uri.startswith("models:") else None
    model = versions.load(uri, store)
    ecg_mv = interventions.normal_ecgs()
    effects = interventions.effects(model.logits, ecg_mv, interventions.RATE_HZ, model.vocabulary.ids)
    interventions.show(effects)
    passed = sum(effect.passes for effect in effects)
    return {"model_uri": uri, "passed": passed, "effects": [effect.model_dump() for effect in effects]}


if __name__ == "__main__":
    main(run, __doc__ or "")
