"""The token of a Ray session of our own, which only its user may read."""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from pathlib import Path

from supreme.config import ConfigError


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


def check_token(needed_by: str) -> None:
    """Refuse a token that is missing, or that its file gives away or spoils.

    Raises:
        ConfigError: naming variable or file, and the remedy.
    """
    if os.environ.get("RAY_AUTH_MODE") != "token":
        raise ConfigError(f"no token for {needed_by}: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH")
    if os.environ.get("RAY_AUTH_TOKEN"):
        return
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        token, mode = path.read_bytes(), stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}: the token for {needed_by}") from error
    if not token or token != token.strip():
        problem = "is empty" if not token.strip() else "has blanks or line ends around the token"
        raise ConfigError(f"{path} {problem}: write it with `printf %s TOKEN`")
    if mode & 0o077:
        raise ConfigError(f"{path} can be read by others ({mode:o}): chmod 600 {path}, and change the token")
