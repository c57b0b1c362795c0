"""Make a registered candidate the champion when its results are not worse than the champion's.

The candidate is `evaluation.model_uri`, or the newest registered one. With --new it replaces a champion with
which it cannot be compared.
"""

from __future__ import annotations

from collections.abc import Mapping

from supreme.config import Recipe
from supreme.runtime.cli import Options, main


def run(recipe: Recipe, options: Options) -> Mapping[str, object]:
    """Compare candidate and champion on the same records; whichever has no result is evaluated first."""
    from supreme import promotion

    if options.dry_run:
        return {"candidate": promotion.candidate_uri(recipe), "margin": recipe.promote.margin}
    return promotion.result(*promotion.run(recipe, new_data=options.new)).model_dump()


if __name__ == "__main__":
    main(run, __doc__ or "")
