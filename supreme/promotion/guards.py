"""Classes that must not get worse, whatever the mean says."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from supreme import config
from supreme.evaluation.compare import ClassComparison, Comparison
from supreme.evaluation.folder import EvaluationFolder


def check_names(guarded: Sequence[str], evaluations: Sequence[EvaluationFolder]) -> None:
    """Refuse a guarded class that no evaluated data set or benchmark has.

    Raises:
        ConfigError: naming it and the nearest class.
    """
    known = {_key(name) for folder in evaluations for name in _classes(folder)}
    for name in guarded:
        if _key(name) not in known:
            near = difflib.get_close_matches(_key(name)[:100], sorted(known), n=1, cutoff=0.0)
            raise config.ConfigError(
                f"promote.guarded: no evaluated data set or benchmark has a class {name[:100]!r}"
                + (f"; nearest class: {near[0]!r}" if near else "")
            )


def objection(guarded: Sequence[str], limit: float, comparisons: Sequence[Comparison]) -> str:
    """Why a candidate must not be promoted, by its guarded classes; empty if they allow it.

    A class counts in the first comparison that has it. One that cannot be compared anywhere is an objection:
    what is guarded is never waved through unseen.
    """
    reasons = []
    for name in guarded:
        place, row = next(_rows(name, comparisons), (None, None))
        if place is None or row is None:
            reasons.append(f"guarded class {name} cannot be compared: too few positive or negative patients")
        elif row.difference < -limit:
            reasons.append(
                f"guarded class {name} lost more than {limit:g} on {place.dataset}: AUROC "
                f"{row.auroc_a:.3f} against {row.auroc_b:.3f}, difference {row.difference:+.3f} "
                f"[{row.low:+.3f}, {row.high:+.3f}]"
            )
    return "; ".join(reasons)


def _rows(name: str, comparisons: Sequence[Comparison]) -> Iterator[tuple[Comparison, ClassComparison]]:
    for comparison in comparisons:
        for row in comparison.by_class:
            if _key(name) in (_key(row.condition), _key(row.name)):
                yield comparison, row


def _classes(folder: EvaluationFolder) -> Iterator[str]:
    """Ids and names of all classes that were evaluated."""
    parts = [part.zero_shot for part in folder.result.datasets.values()]
    for protocol in folder.result.protocols.values():
        parts += [one.zero_shot for one in protocol.benchmarks.values() if one.zero_shot is not None]
    for part in parts:
        for condition, row in part.classes.items():
            yield from (condition, row.name)


def _key(name: str) -> str:
    return name.casefold().replace("_", " ").strip()
