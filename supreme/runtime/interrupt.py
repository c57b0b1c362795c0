"""SIGTERM ends a job as Ctrl-C does: it is what `ray job stop`, Kubernetes and batch systems send."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

_terminated = threading.Event()


def catch_sigterm() -> None:
    """Raise KeyboardInterrupt in the main thread at the first SIGTERM, and ignore those that follow.

    To be called again after `ray.init`, whose own handler prints a C++ stack trace and aborts.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)


def is_terminated() -> bool:
    """Whether this process was sent SIGTERM; what raised KeyboardInterrupt for it may be Ray."""
    return _terminated.is_set()


def end() -> NoReturn:
    """Exit after an interrupt: with 130 after Ctrl-C, with 143 after SIGTERM.

    After SIGTERM at once, as Ray's own processes may have been sent it as well: what waits for them or asks
    them anything would end this process with another code.
    """
    if not is_terminated():
        sys.exit(128 + signal.SIGINT)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(128 + signal.SIGTERM)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # What is then written and closed must not be interrupted by a second one.
    signal.signal(number, signal.SIG_IGN)
    _terminated.set()
    raise KeyboardInterrupt
