"""Where the code of a run comes from and who asked for it, also where Ray has left ``.git`` behind."""

from __future__ import annotations

import getpass
import os
import platform
import subprocess
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

#: The environment variable that carries it to the cluster.
VARIABLE = "SUPREME_ORIGIN"


class Origin(BaseModel):
    """Commit and user of a submission."""

    model_config = ConfigDict(frozen=True)

    commit: str = ""
    """Empty without git."""
    changed: bool = False
    """Whether tracked files differ from the commit."""
    user: str = ""
    host: str = ""


def of_this_process() -> Origin:
    """That of the submission that started this process, or of the checkout that this package runs from."""
    try:
        return Origin.model_validate_json(os.environ.get(VARIABLE, ""))
    except ValidationError:
        return here(Path(__file__).resolve().parents[2])


@cache
def here(folder: Path) -> Origin:
    """That of a checkout on this machine."""
    commit, changed = "", False
    if (folder / ".git").exists():
        commit = _git(folder, "rev-parse", "HEAD") or ""
        changed = bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    return Origin(commit=commit, changed=changed, user=_user(), host=platform.node())


def files_of_git(folder: Path) -> list[str] | None:
    """Names of the files in a checkout that git does not ignore; None without git."""
    if not (folder / ".git").exists():
        return None
    names = _git(folder, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    return None if names is None else [name for name in names.split("\0") if name]


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without accounts
        return "unknown"
