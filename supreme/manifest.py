"""Stage folders: what a stage is asked for (``stage.json``, first), what it wrote (``manifest.json``, last).

A stage whose manifest matches its configuration and inputs is skipped; the same folder asked for with another
configuration is refused with the difference. Only files that the stage itself writes are ever deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, field_validator

from supreme import __version__, log, owner, storage
from supreme.config import ConfigError, difference, digest
from supreme.storage.documents import read_document

MANIFEST = "manifest.json"
REQUEST = "stage.json"
_MAX_EXAMPLES = 5

Result = TypeVar("Result", bound=BaseModel)
OnChange = Literal["refuse", "replace", "follow"]

logger = log.get("manifest")


@dataclass(frozen=True)
class Stage(Generic[Result]):
    """A stage: the job that runs it, the type of its result, and the files that it writes."""

    name: str
    job: str
    """Name of the job in ``jobs/``, without extension."""
    result: type[Result]
    files: tuple[str, ...]
    """Patterns of all files that the stage writes, relative to its folder: ``scores/*.parquet``; a last part
    ``**`` stands for everything below."""

    def writes(self, name: str) -> bool:
        """Whether a file (name relative to the folder) is one that this stage writes, finished or not."""
        return any(_matches(storage.final_name(name), pattern) for pattern in self.files)

    @property
    def remedy(self) -> str:
        return f"run jobs/{self.job}.py with --new"


class Request(BaseModel):
    """What a stage is asked for."""

    model_config = ConfigDict(frozen=True)

    stage: str
    config: dict[str, Any]
    """The resolved sections of the recipe that decide the stage's output."""
    inputs: dict[str, str] = {}
    """Input folder or file -> digest of its manifest."""

    def same_but_inputs(self, other: Request) -> bool:
        return (self.stage, self.config) == (other.stage, other.config)

    @field_validator("config")
    @classmethod
    def _without_secrets(cls, config: dict[str, Any]) -> dict[str, object]:
        return log.redact_values(config)


class FileEntry(BaseModel):
    """A file that a manifest describes."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    bytes: int
    rows: int | None = None


class Manifest(Request, Generic[Result]):
    """What a stage wrote."""

    schema_version: Literal[2] = 2
    code_version: str = __version__
    created: str = ""
    result: Result
    files: dict[str, FileEntry] = {}

    def digest(self) -> str:
        """Identity of the content: stage, configuration, inputs, files; not the time or the code version."""
        files = {name: entry.sha256 for name, entry in self.files.items()}
        return digest(self.stage, self.config, self.inputs, files)


def read(folder: str, stage: Stage[Result]) -> Manifest[Result] | None:
    """The manifest of a finished stage, or None.

    Raises:
        ConfigError: the manifest is damaged or of an older version; the message names file and remedy.
    """
    uri = storage.join(folder, MANIFEST)
    if not storage.exists(uri):
        return None
    return read_document(uri, Manifest[stage.result], remedy=stage.remedy)  # type: ignore[name-defined]


def require(folder: str, stage: Stage[Result]) -> Manifest[Result]:
    """The manifest of a finished stage.

    Raises:
        ConfigError: as :func:`read`, or the folder is unfinished; the message names the job to run first.
    """
    manifest = read(folder, stage)
    if manifest is None:
        raise ConfigError(f"{folder} is not finished: run jobs/{stage.job}.py first")
    return manifest


def verify(folder: str, stage: Stage[Result], manifest: Manifest[Result]) -> None:
    """Compare the files of a finished stage with its manifest.

    Raises:
        ConfigError: one is missing, damaged or replaced; the message names it and the remedy.
    """
    for name, entry in manifest.files.items():
        uri = storage.join(folder, name)
        if not storage.exists(uri) or describe(uri).sha256 != entry.sha256:
            raise ConfigError(f"{uri} is missing or damaged (not as {MANIFEST} has it): {stage.remedy}")


def begin(
    folder: str, stage: Stage[Result], request: Request, *, on_change: OnChange = "refuse", new: bool = False
) -> Manifest[Result] | None:
    """Open a stage folder; the manifest when there is nothing left to do.

    An unfinished folder with the same request is continued.

    Args:
        on_change: what becomes of a folder with another request. ``refuse``: an error. ``replace``: its files
            are deleted. ``follow``: they are deleted where the stage was not finished, or where its inputs
            were extended or have changed; for stages that are cheap to repeat.
        new: delete the stage's files first.

    Raises:
        ConfigError: another configuration made it (the message holds the difference), or another program.
    """
    if not new:
        new = on_change == "replace" and not _is_finished(folder, stage, request)
        new = new or (on_change == "follow" and _follows(folder, stage, request))
    if new:
        clear(folder, stage)
    if is_started(folder, stage, request):
        return read(folder, stage)
    _refuse_foreign(folder, stage)
    storage.write_json(storage.join(folder, REQUEST), request.model_dump(mode="json"))
    return None


@contextmanager
def opened(
    folder: str, stage: Stage[Result], request: Request, *, on_change: OnChange = "refuse", new: bool = False
) -> Iterator[Manifest[Result] | None]:
    """:func:`begin` a stage, and own its folder for the block where there is something to do.

    Raises:
        ConfigError: as :func:`begin`, or another process is at work in the folder.
    """
    if not new and _is_finished(folder, stage, request):
        yield read(folder, stage)
        return
    with owner.owned(folder):
        yield begin(folder, stage, request, on_change=on_change, new=new)


def is_started(folder: str, stage: Stage[Result], request: Request) -> bool:
    """Whether a stage folder was begun with this request.

    Raises:
        ConfigError: it was begun with another one, with the difference.
    """
    earlier = read_request(folder, stage.remedy)
    if earlier is None:
        return False
    changes = difference(earlier.model_dump(mode="json"), request.model_dump(mode="json"))
    if changes:
        if earlier.same_but_inputs(request):
            what = "of other data than is there now"
            missing = ", ".join(sorted(earlier.inputs.keys() - request.inputs.keys()))
            remedy = f"ask for {missing} as well, or " if missing else ""
            remedy += "with these it is another result: --new replaces this one, another name=... keeps it"
        else:
            what = "with another configuration"
            remedy = "give another name=..., or --new to start afresh"
        raise ConfigError(f"{folder} was made {what}:\n  " + "\n  ".join(changes) + f"\n{remedy}")
    return True


def publish(
    folder: str,
    stage: Stage[Result],
    request: Request,
    result: Result,
    files: dict[str, FileEntry] | None = None,
) -> Manifest[Result]:
    """Write the manifest; ``files`` defaults to all files of the stage in the folder, hashed."""
    if files is None:
        names = [name for name in _own_files(folder, stage) if storage.final_name(name) == name]
        files = {name: describe(storage.join(folder, name)) for name in names}
    manifest = Manifest[stage.result](  # type: ignore[name-defined]
        **request.model_dump(),
        result=result,
        files=files,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    storage.write_json(storage.join(folder, MANIFEST), manifest.model_dump(mode="json"))
    return manifest


def clear(folder: str, stage: Stage[Result]) -> None:
    """Delete what a stage has written to a folder, and nothing else; a folder of other origin is left alone.

    The manifest goes first, so that what is half deleted does not look finished; the request, which makes it
    ours, goes last.
    """
    request = storage.join(folder, REQUEST)
    if not storage.exists(request):
        return
    storage.delete_file(storage.join(folder, MANIFEST))
    for name in _own_files(folder, stage):
        storage.delete_file(storage.join(folder, name))
    storage.delete_file(request)
    storage.delete_empty_folders(folder)
    if others := [name for name in storage.list_files(folder) if name != owner.FILE]:
        logger.info(f"{folder}: left alone, not written by this stage: {_examples(others)}")


def describe(uri: str, rows: int | None = None) -> FileEntry:
    """Digest and size."""
    content = storage.read_bytes(uri)
    return FileEntry(sha256=storage.sha256(content), bytes=len(content), rows=rows)


def describe_all(folder: str, names: Iterable[str]) -> dict[str, FileEntry]:
    """:func:`describe` by names relative to a folder."""
    return {name: describe(storage.join(folder, name)) for name in sorted(set(names))}


def _own_files(folder: str, stage: Stage[Result]) -> list[str]:
    return [name for name in storage.list_files(folder) if stage.writes(name)]


def _refuse_foreign(folder: str, stage: Stage[Result]) -> None:
    """A folder without a request must not hold files that this stage would overwrite."""
    foreign = _own_files(folder, stage)
    if foreign := foreign + [MANIFEST] * storage.exists(storage.join(folder, MANIFEST)):
        raise ConfigError(
            f"{folder} holds {_examples(foreign)} but no {REQUEST}, so another program wrote them: move them "
            "away, or give another name=... or root=..."
        )


def _is_finished(folder: str, stage: Stage[Result], request: Request) -> bool:
    return read_request(folder, stage.remedy) == request and storage.exists(storage.join(folder, MANIFEST))


def _follows(folder: str, stage: Stage[Result], request: Request) -> bool:
    """Whether what is there gives way to ``request`` under ``follow``."""
    earlier = read_request(folder, stage.remedy)
    if earlier is None or earlier == request:
        return False
    if not storage.exists(storage.join(folder, MANIFEST)):
        return True
    extended = earlier.same_but_inputs(request) and earlier.inputs.keys() <= request.inputs.keys()
    if extended:
        logger.info(f"{folder}: its inputs have changed: made again")
    return extended


def read_request(folder: str, remedy: str) -> Request | None:
    """What a folder was begun with, finished or not; None where nothing was, as in that of a trial."""
    uri = storage.join(folder, REQUEST)
    return read_document(uri, Request, remedy=remedy) if storage.exists(uri) else None


def _matches(name: str, pattern: str) -> bool:
    """Segment by segment, so that ``*.parquet`` is not ``other/x.parquet``."""
    segments, wildcards = name.split("/"), pattern.split("/")
    if wildcards[-1] == "**":
        wildcards = wildcards[:-1]
        if len(segments) <= len(wildcards):
            return False
        segments = segments[: len(wildcards)]
    return len(segments) == len(wildcards) and all(map(fnmatchcase, segments, wildcards))


def _examples(names: Sequence[str]) -> str:
    return ", ".join(names[:_MAX_EXAMPLES]) + (", ..." if len(names) > _MAX_EXAMPLES else "")
