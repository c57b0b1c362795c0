"""A job whose language model answers one statement and fails on the next, and a sweep's count of trials."""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace

from supreme import log
from supreme.reports.llm import pace
from supreme.reports.llm.endpoint import Endpoint
from supreme.reports.llm.question import Question
from supreme.runtime.session import ray_session
from supreme.settings.labels import LLM
from supreme.sweep.tuner import _TrialStates


def main(url: str) -> None:
    """Ask, count, and wait until it was scraped a few times."""
    log.configure()
    log.bind("smoke", "label")
    pace.BACKOFF_S = 0.01
    with ray_session():
        endpoint = Endpoint(LLM(url=url, model="test/model", retries=1, timeout_s=5))
        trials = [SimpleNamespace(status=status) for status in ("RUNNING", "RUNNING", "TERMINATED")]
        for number in range(10):
            some = [Question(f"{number}-{n}", f"statement {n}") for n in range(2)]
            endpoint.ask_all(some, lambda reply: None, lambda: None)
            _TrialStates().on_step_end(number, trials)
            time.sleep(1)


if __name__ == "__main__":
    main(sys.argv[1])
