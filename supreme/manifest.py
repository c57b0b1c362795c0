"""Stage folders: what a stage was asked for (``stage.json``, first), what it made (``manifest.json``, last).

A folder without a manifest is unfinished. A stage whose manifest matches its configuration and inputs is
skipped; the same folder asked for with another configuration is refused with the difference.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from supreme import __version__, log, storage
from supreme.config import ConfigError, difference, digest

MANIFEST = "manifest.json"
REQUEST = "stage.json"


class Request(BaseModel):
    """What a stage is asked for."""

    model_config = ConfigDict(frozen=True)

    stage: str
    config: dict[str, Any]
    """The resolved sections of the recipe that decide the stage's output."""
    inputs: dict[str, str] = {}
    """Input folder or file -> digest of its manifest."""


class FileEntry(BaseModel):
    model_config = ConfigDict(frozen=True)

    sha256: str
    bytes: int
    rows: int | None = None


class Manifest(Request):
    """What a stage made."""

    schema_version: int = 1
    code_version: str = __version__
    created: str = ""
    counts: dict[str, Any] = {}
    files: dict[str, FileEntry] = {}

    def digest(self) -> str:
        """Identity of the content: stage, configuration, inputs, files; not the time or the code version."""
        files = {name: entry.sha256 for name, entry in self.files.items()}
        return digest(self.stage, self.config, self.inputs, files)


def read(folder: str) -> Manifest | None:
    """The manifest of a finished stage, or None."""
    uri = storage.join(folder, MANIFEST)
    return Manifest.model_validate_json(storage.read_bytes(uri)) if storage.exists(uri) else None


def require(folder: str, job: str) -> Manifest:
    """The manifest of a finished stage.

    Raises:
        ConfigError: when the folder is unfinished, naming the job to run first.
    """
    manifest = read(folder)
    if manifest is None:
        raise ConfigError(f"{folder} is not finished: run jobs/{job}.py first")
    return manifest


def begin(folder: str, request: Request, *, new: bool = False) -> Manifest | None:
    """Open a stage folder; the manifest when there is nothing left to do.

    An unfinished folder with the same request is continued. With ``new`` the folder is emptied first.

    Raises:
        ConfigError: the folder belongs to another configuration; the message holds the difference.
    """
    if new:
        # First the manifest: a folder that is half deleted must not look finished.
        storage.delete_file(storage.join(folder, MANIFEST))
        storage.delete_folder(folder)
    if begun(folder, request):
        return read(folder)
    storage.write_json(storage.join(folder, REQUEST), request.model_dump(mode="json"))
    return None


def begin_or_replace(folder: str, request: Request, *, new: bool = False) -> Manifest | None:
    """As :func:`begin`, but what was made of other inputs or configuration is replaced."""
    earlier = read(folder)
    same = earlier is not None and (earlier.config, earlier.inputs) == (request.config, request.inputs)
    return begin(folder, request, new=new or not same)


def begin_or_follow(folder: str, request: Request, *, new: bool = False) -> Manifest | None:
    """As :func:`begin`, but what was made of fewer inputs, or before they were extended, is replaced.

    So is what another configuration has not finished: perhaps it could not. For a stage that is cheap to
    repeat and that nobody waits for in its old form.
    """
    earlier = begun_with(folder)
    if earlier is not None and earlier != request and read(folder) is None:
        return begin(folder, request, new=True)
    follows = (
        earlier is not None
        and _same_but_inputs(earlier, request)
        and earlier.inputs != request.inputs
        and earlier.inputs.keys() <= request.inputs.keys()
    )
    if follows:
        log.get(__name__).info(f"{folder}: its inputs have changed: made again")
    return begin(folder, request, new=new or follows)


def begun(folder: str, request: Request) -> bool:
    """Whether a stage folder was begun with this request.

    Raises:
        ConfigError: it was begun with another one; the message holds the difference.
    """
    earlier = begun_with(folder)
    if earlier is None:
        return False
    changes = difference(earlier.model_dump(mode="json"), request.model_dump(mode="json"))
    if changes:
        if _same_but_inputs(earlier, request):
            what = "of other data than is there now"
            missing = ", ".join(sorted(earlier.inputs.keys() - request.inputs.keys()))
            remedy = f"ask for {missing} as well, or " if missing else ""
            remedy += "with these it is another result: --new replaces this one, another name=... keeps it"
        else:
            what = "with another configuration"
            remedy = "give another name=..., or --new to start afresh"
        raise ConfigError(f"{folder} was made {what}:\n  " + "\n  ".join(changes) + f"\n{remedy}")
    return True


def begun_with(folder: str) -> Request | None:
    """What a folder was begun with."""
    uri = storage.join(folder, REQUEST)
    return Request.model_validate_json(storage.read_bytes(uri)) if storage.exists(uri) else None


def _same_but_inputs(one: Request, other: Request) -> bool:
    return (one.stage, one.config) == (other.stage, other.config)


def publish(
    folder: str, request: Request, counts: dict[str, Any], files: dict[str, FileEntry] | None = None
) -> Manifest:
    """Write the manifest; ``files`` defaults to everything below the folder, hashed."""
    if files is None:
        skip = (MANIFEST, REQUEST)
        names = [n for n in storage.list_files(folder) if n not in skip and not n.endswith(".partial")]
        files = {name: describe(storage.join(folder, name)) for name in names}
    made = Manifest(
        **request.model_dump(),
        counts=counts,
        files=files,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    storage.write_json(storage.join(folder, MANIFEST), made.model_dump(mode="json"))
    return made


def describe(uri: str, rows: int | None = None) -> FileEntry:
    content = storage.read_bytes(uri)
    return FileEntry(sha256=storage.sha256(content), bytes=len(content), rows=rows)
