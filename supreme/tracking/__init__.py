"""MLflow runs: where they are kept, and one run a stage that goes on where it was interrupted.

Everything goes through an explicit client: there is no global active run, so that the driver, a controller
in another process and a resumed stage can all write to the same run.
"""

from __future__ import annotations

from supreme.tracking.note import RUN_FILE, is_behind
from supreme.tracking.run import TrackingRun
from supreme.tracking.server import TrackingError, call, connect
from supreme.tracking.stage import StageRun, closing, closing_early, follow, start_or_resume
from supreme.tracking.store import open_store

__all__ = [
    "RUN_FILE",
    "StageRun",
    "TrackingError",
    "TrackingRun",
    "call",
    "closing",
    "closing_early",
    "connect",
    "follow",
    "is_behind",
    "open_store",
    "start_or_resume",
]
