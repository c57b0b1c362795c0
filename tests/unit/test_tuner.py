"""Why a sweep failed is told in a line, whatever Tune makes of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import ray.exceptions

from supreme import storage
from supreme.sweep import tuner

pytestmark = pytest.mark.unit

FULL = storage.Unavailable("runs/sweep/x: No space left on device: make room")


def fitted(errors: list[Exception] | Exception) -> Any:
    """A tuner whose trials failed so, or that fails itself."""

    def fit() -> SimpleNamespace:
        if isinstance(errors, Exception):
            raise errors
        return SimpleNamespace(errors=errors)

    return SimpleNamespace(fit=fit)


def test_the_storage_is_told_before_what_followed_from_it() -> None:
    failed = ray.exceptions.RayTaskError("train", "Traceback ...\n" * 100, FULL)
    errors = tuner._fit(fitted([ValueError("one\ntwo"), failed]), "runs/sweep")
    assert tuner._reason(errors) is FULL


def test_any_other_reason_is_a_line() -> None:
    failed = ray.exceptions.RayTaskError("train", "Traceback ...\n" * 100, ValueError("one\ntwo"))
    reason = tuner._reason(tuner._fit(fitted([failed]), "runs/sweep"))
    assert str(reason) == "no trial came to its end; the first error: ValueError: one"


def test_errors_that_a_full_disk_cut_off_are_a_full_disk() -> None:
    [error] = tuner._fit(fitted(EOFError("Ran out of input")), "runs/sweep")
    with pytest.raises(storage.Unavailable, match=r"runs/sweep: .* full disk: make room, then run the same"):
        raise tuner._reason([error])
    with pytest.raises(KeyboardInterrupt):
        tuner._fit(SimpleNamespace(fit=lambda: (_ for _ in ()).throw(KeyboardInterrupt)), "runs/sweep")  # type: ignore[arg-type]
