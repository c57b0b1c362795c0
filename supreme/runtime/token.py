"""The token of a Ray session of our own, which only its user may read."""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from pathlib import Path


def keep_token_private() -> None:
    """Create Ray's token file for its user alone, or take it away from others; Ray would let anybody read it.

    Nothing is done where the environment gives a token or names another file.
    """
    if (
        os.environ.get("RAY_AUTH_MODE") != "token"
        or {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    ):
        return
    path = Path.home() / ".ray" / "auth_token"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        _create(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        path.chmod(mode & ~0o077)


def _create(path: Path) -> None:
    """Whole or not at all: another job may start at the same time, and the first one's token counts."""
    descriptor, partial = tempfile.mkstemp(dir=path.parent)  # which is 0600
    try:
        with open(descriptor, "w") as stream:
            stream.write(secrets.token_hex(32))
        try:
            os.link(partial, path)
        except FileExistsError:
            return
    finally:
        os.unlink(partial)
