"""The gate: whether a registered candidate becomes the champion, and the way back.

It decides on results of the evaluation stage: candidate and champion on the same records, seen by neither.
"""

from __future__ import annotations

from supreme.promotion.decision import Contender, Decision, decide
from supreme.promotion.gate import candidate_uri, go_back, read_history, run

__all__ = ["Contender", "Decision", "candidate_uri", "decide", "go_back", "read_history", "run"]
