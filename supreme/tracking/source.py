"""Where a run comes from: who started it, on which host, with which code."""

from __future__ import annotations

import getpass
import socket


def submitter() -> str:
    """`user@host` of this process."""
    return f"{user()}@{socket.gethostname()}"


def user() -> str:
    """Login of whoever started this process; "unknown" in a container without accounts."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "unknown"
