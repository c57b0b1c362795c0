"""Why no trial of a sweep came to its end: one sentence with the best guess."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from supreme import storage
from supreme.sweep import space
from supreme.sweep.summary import TrialRecord


def explain(records: Sequence[TrialRecord], storage_failures: Sequence[str] = ()) -> Exception:
    """What to raise when no trial came to its end.

    Args:
        storage_failures: what the storage said to trials that failed.
    """
    if storage_failures:
        return storage.Unavailable(storage_failures[0])
    without = [record for record in records if record.status == "finished" and record.value is None]
    if without:
        return RuntimeError(
            f"{len(without)} trials came to their end and none has a macro AUROC: no entity is both present "
            "and absent among the validation records: add records, or lower labels.min_count"
        )
    failed = [record for record in records if record.status == "failed"]
    if not failed:
        return RuntimeError("no trial came to its end: raise sweep.hours or sweep.trials")
    alike = Counter(_alike(record.reason) for record in failed)
    common, count = alike.most_common(1)[0]
    example = next(record for record in failed if _alike(record.reason) == common)
    if len(alike) == 1 and len(failed) > 1:
        guess = "all fail alike, so look at what they share: the recipe, the data, the machine"
    elif any(record.number == 0 for record in failed):
        guess = "the recipe itself fails too: get it through jobs/pretrain.py first"
    else:
        guess = f"change {space.describe(example.changes)}"
    return RuntimeError(
        f"no trial came to its end: {count} of {len(failed)} failed with: {example.reason}; {guess}; "
        "the same command tries them once more"
    )


def _alike(reason: str) -> str:
    """The reason without numbers, which differ from trial to trial."""
    return re.sub(r"[\d.e+-]+", "N", reason)
