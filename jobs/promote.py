"""Make a registered candidate the champion when its results are not worse than the champion's.

The candidate is `promote.model` (a version, `pretrain` or `sweep`), `evaluation.model_uri`, or the newest
registered one. With --new it replaces a champion with which it cannot be compared. Every decision is kept.
"""

from __future__ import annotations

from collections.abc import Mapping

from supreme.config import Recipe
from supreme.runtime.cli import Options, main

SWITCHES = {
    "rollback": "make the champion before the last promotion the champion again",
    "history": "print who promoted what, when and why, and change nothing",
}


def run(recipe: Recipe, options: Options) -> Mapping[str, object]:
    """Compare candidate and champion on the same records; whichever has no result is evaluated first."""
    from supreme import config, log, promotion

    if options.rollback and options.history:
        raise config.ConfigError("give --rollback or --history, not both")
    if options.history or (options.rollback and options.dry_run):
        decisions = promotion.read_history(recipe)
        for line in decisions.lines():
            log.get("promote").info(line)
        return decisions.model_dump()
    if options.dry_run:
        named = recipe.promote.model or promotion.candidate_uri(recipe)
        return {"candidate": named, "margin": recipe.promote.margin, "guarded": recipe.promote.guarded}
    if options.rollback:
        return promotion.go_back(recipe).model_dump()
    return promotion.run(recipe, new_data=options.new).model_dump()


if __name__ == "__main__":
    main(run, __doc__ or "", switches=SWITCHES)
