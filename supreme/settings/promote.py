"""The gate to the champion: the section ``[promote]``."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from supreme.settings.section import Names, Section

PRETRAIN, SWEEP = "pretrain", "sweep"


def check_candidate(value: str) -> str:
    """`pretrain`, `sweep` or a registered version; empty is the newest candidate.

    Raises:
        ValueError: anything else, such as a folder.
    """
    if value not in ("", PRETRAIN, SWEEP) and not value.startswith("models:/"):
        raise ValueError(
            f"give models:/NAME/VERSION, models:/NAME@ALIAS, {PRETRAIN!r} or {SWEEP!r}: only a registered "
            "version is promoted"
        )
    return value


class Promote(Section):
    """When a candidate replaces the champion."""

    model: Annotated[str, AfterValidator(check_candidate)] = ""
    """The candidate: `models:/name/version`, `pretrain` or `sweep` for what the recipe's own stage left; when
    empty `evaluation.model_uri`, or the version that was registered last."""
    margin: float = Field(default=0.02, ge=0, le=1)
    """A candidate becomes the champion when the 95 % interval of its macro AUROC minus the champion's stays
    above minus this margin."""
    guarded: Names = ()
    """Classes that must not get worse, by id or name, such as `["atrial_fibrillation"]`."""
    class_limit: float = Field(default=0.05, ge=0, le=1)
    """Loss of AUROC that a guarded class may have."""
    reason: str = Field(default="", max_length=500)
    """Why, for the history: shown by `jobs/promote.py --history`."""
