"""The gate: whether a registered model becomes the champion."""

from __future__ import annotations

import math

from supreme.registry.versions import ModelVersion, Selection


def judge(
    challenger: Selection, champion: ModelVersion | None, *, new_data: bool = False
) -> tuple[bool, str]:
    """Whether a model is to replace the champion, and why.

    Numbers measured on different validation data are not compared: the champion stays unless ``new_data``
    says that the change of data is meant.
    """
    if champion is None:
        return True, f"first version; {challenger.metric} {challenger.value:.4f} ({challenger.rule})"
    name, earlier = f"champion (version {champion.version})", Selection.of(champion)
    if earlier is None or earlier.metric != challenger.metric:
        was = "has no selection metric" if earlier is None else f"was selected by {earlier.metric}"
        return new_data, f"not comparable: the {name} {was}" + _new_data(new_data)
    if earlier.validation_digest != challenger.validation_digest:
        return new_data, f"not comparable: the {name} was validated on other data" + _new_data(new_data)
    numbers = f"{challenger.metric} {challenger.value:.4f} against {earlier.value:.4f} of the {name}"
    # Whoever has a number is better than a champion that has none (no class with a positive).
    better = challenger.value > earlier.value or math.isnan(earlier.value) > math.isnan(challenger.value)
    return better, f"{'better' if better else 'not better'}: {numbers} ({challenger.rule})"


def _new_data(new_data: bool) -> str:
    return "; promoted because --new was given" if new_data else "; it stays, --new replaces it all the same"
