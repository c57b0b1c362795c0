"""Compare data sets by what can be measured in their ECGs: intervals, axes, voltages, ST and T.

python jobs/measure.py --config demo real=FOLDER
"""

from __future__ import annotations

from collections.abc import Mapping

from supreme.config import Recipe
from supreme.runtime.cli import Options, main


def run(recipe: Recipe, options: Options) -> Mapping[str, object]:
    """Measure the first source, every other one and those of `real`; the result names the page."""
    from supreme import records, storage
    from supreme.reporting import distributions_page

    if options.dry_run:
        first, *others = records.all_sources(recipe)
        return {"first": first.dataset, "others": [source.dataset for source in others]}
    folder, manifest = distributions_page.write(recipe, new=options.new)
    return {"page": storage.join(folder, distributions_page.PAGE), **manifest.result.model_dump()}


if __name__ == "__main__":
    main(run, __doc__ or "")
