"""A registry whose champion is the tiny bundle."""

from __future__ import annotations

import tiny_bundle

from supreme import tracking
from supreme.registry import champion, versions
from supreme.registry.history import DecisionNote
from supreme.settings.tracking import Tracking


def write(root: str, model: str) -> str:
    """Write a bundle to ``<root>/bundle`` and make it the champion; the address of the tracking store."""
    store = tracking.open_store(Tracking(), root)
    tiny_bundle.write(f"{root}/bundle")
    run = tracking.start_or_resume(store, "tests", f"{root}/stage", "pretrain", {})
    version = versions.register(f"{root}/bundle", run.run_id, tracking_uri=store, model=model)
    champion.promote(version, tracking_uri=store, note=DecisionNote("first"))
    return store
