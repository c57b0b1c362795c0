"""The only door to files and object storage: local folders and ``s3://`` through ``pyarrow.fs``.

A URI is a local path, ``file:///...`` or ``s3://bucket/prefix``. For other endpoints than AWS set
``AWS_ENDPOINT_URL``, or write ``s3://bucket/prefix?endpoint_override=host:port&scheme=http``. Public buckets
need ``?anonymous=true``. Credentials come from the environment only.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pyarrow import NativeFile, fs


class StorageError(OSError):
    """A file or object could not be read or written; the message names it."""


class NotFound(StorageError):
    """There is no such file, object or bucket."""


class Unavailable(StorageError):
    """The storage does not answer, sends half a body or is full: nothing is wrong with the file itself.

    It outlived the retries; the same command, run again, goes on from what is finished.
    """


def filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of a URI and the path in it.

    Raises:
        StorageError: for any scheme but ``file`` and ``s3``.
    """
    scheme = urlsplit(uri).scheme if "://" in uri else ""
    if scheme == "s3":
        return _s3(uri)
    if scheme not in ("", "file"):
        raise StorageError(f"{uri}: only local paths, file:// and s3:// are allowed, not {scheme}://")
    path = urlsplit(uri).path if scheme == "file" else uri
    return fs.LocalFileSystem(), str(Path(path).expanduser().absolute())


def _s3(uri: str) -> tuple[fs.FileSystem, str]:
    parts = urlsplit(uri)
    options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    unknown = options.keys() - {"endpoint_override", "scheme", "region", "anonymous"}
    if unknown:
        names = ", ".join(sorted(unknown))
        raise StorageError(f"{uri.split('?')[0]}: unknown option(s) {names}; credentials: the environment")
    endpoint = options.get("endpoint_override") or os.environ.get("AWS_ENDPOINT_URL", "")
    scheme, _, host = endpoint.rpartition("://")
    settings: dict[str, Any] = {"anonymous": True} if options.get("anonymous") == "true" else {}
    if host:
        settings |= {"endpoint_override": host, "scheme": options.get("scheme") or scheme or "https"}
    region = options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region:
        settings["region"] = region
    credentials = tuple((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
    return _client(os.getpid(), credentials, **settings), f"{parts.netloc}{parts.path}".rstrip("/")


@lru_cache(maxsize=32)
def _client(process: int, credentials: tuple[tuple[str, str], ...], **settings: Any) -> fs.S3FileSystem:
    """One client, with its open connections, for all that a process asks of an endpoint."""
    return fs.S3FileSystem(**settings)


def join(uri: str, *names: str) -> str:
    """A URI below another one; the query part stays at the end."""
    base, separator, query = uri.partition("?")
    return "/".join([base.rstrip("/"), *names]) + separator + query


def exists(uri: str) -> bool:
    system, path = filesystem(uri)
    return system.get_file_info(path).type != fs.FileType.NotFound


def is_folder(uri: str) -> bool:
    system, path = filesystem(uri)
    return system.get_file_info(path).type == fs.FileType.Directory


def list_files(uri: str, suffix: str = "", *, recursive: bool = True) -> list[str]:
    """Names relative to the folder, sorted; an absent folder has none."""
    system, path = filesystem(uri)
    found = system.get_file_info(fs.FileSelector(path, allow_not_found=True, recursive=recursive))
    names = [info.path[len(path) :].lstrip("/") for info in found if info.type == fs.FileType.File]
    return sorted(name for name in names if name.endswith(suffix))


def list_folders(uri: str) -> list[str]:
    """Names of the folders directly below, sorted."""
    system, path = filesystem(uri)
    found = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return sorted(info.base_name for info in found if info.type == fs.FileType.Directory)


def read_bytes(uri: str) -> bytes:
    system, path = filesystem(uri)
    try:
        with system.open_input_stream(path) as stream:
            return stream.read()
    except FileNotFoundError as error:
        raise NotFound(f"{uri}: not found") from error
    except OSError as error:
        raise StorageError(f"{uri}: {error}") from error


@contextmanager
def writing(uri: str) -> Iterator[NativeFile]:
    """A stream to a file of any size: a local one gets its name only when the block has ended well.

    An object of S3 gets its name when the block ends, well or not: its parts are sent as they come.
    """
    system, path = filesystem(uri)
    local = isinstance(system, fs.LocalFileSystem)
    target = f"{path}.{uuid.uuid4().hex[:8]}.partial" if local else path
    try:
        system.create_dir(path.rpartition("/")[0], recursive=True) if local else None
        with system.open_output_stream(target) as stream:
            yield stream
        if local:
            os.replace(target, path)
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{uri}: {error}") from error
    finally:
        if local:
            Path(target).unlink(missing_ok=True)


def write_bytes(uri: str, content: bytes) -> None:
    """Write whole or not at all: a local file gets its name only when complete, as S3 objects do."""
    with writing(uri) as stream:
        stream.write(content)


def read_json(uri: str) -> Any:
    return json.loads(read_bytes(uri))


def write_json(uri: str, value: Any) -> None:
    write_bytes(uri, (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode())


def delete_file(uri: str) -> None:
    """Delete a file, if it is there."""
    system, path = filesystem(uri)
    if system.get_file_info(path).type == fs.FileType.File:
        system.delete_file(path)


def delete_folder(uri: str) -> None:
    system, path = filesystem(uri)
    if system.get_file_info(path).type == fs.FileType.Directory:
        system.delete_dir(path)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
