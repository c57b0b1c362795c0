"""The only door to files and object storage: local folders and ``s3://``.

A URI is a local path, ``file:///...`` or ``s3://bucket/prefix``. For other endpoints than AWS set
``AWS_ENDPOINT_URL``, or write ``s3://bucket/prefix?endpoint_override=host:port&scheme=http``. Public buckets
need ``?anonymous=true``. Credentials come from the environment only (variables, profile, role), and so does
``AWS_CA_BUNDLE``, the certificates of a store with its own. A request is tried ``AWS_MAX_ATTEMPTS`` (8) times
with growing delays, about half a minute in all.

Whatever fails is a :class:`StorageError` that names file or bucket and key, and the remedy.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from pyarrow import NativeFile, fs

from supreme.storage import errors, local, objects, s3
from supreme.storage.errors import NotFound, NotRegular, OutsideFolder, StorageError, TooLarge, Unavailable

T = TypeVar("T")

_PARTIAL = re.compile(r"\.[0-9a-f]{8}\.partial$")

__all__ = ["NotFound", "NotRegular", "OutsideFolder", "StorageError", "TooLarge", "Unavailable"]


def filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """The pyarrow file system of a URI and the path in it, for libraries that want one.

    Its errors are pyarrow's own; those of :func:`open_file` and :func:`writing` are ours.

    Raises:
        StorageError: for any scheme but ``file`` and ``s3``, and without credentials for a private bucket.
    """
    if place := _object(uri):
        return s3.filesystem(place.store), place.path
    return fs.LocalFileSystem(), _local(uri)


def _object(uri: str) -> s3.Place | None:
    return s3.parse(uri) if uri.startswith("s3://") else None


def _local(uri: str) -> str:
    if uri.startswith("/") and os.path.normpath(uri) == uri:
        return uri  # so are most, and a path object costs as much as reading a small file
    scheme, separator, path = uri.partition("://")
    if not separator:
        # Of a link the folder above is another one than its text says.
        whole = os.path.expanduser(uri)
        return str(Path(whole).absolute()) if ".." in whole else os.path.abspath(whole)
    if scheme != "file" or not path.startswith("/"):
        raise StorageError(f"{uri}: only local paths, file:// and s3:// are allowed, not {scheme}://")
    return path


def _at(uri: str, action: Callable[[fs.FileSystem, str], T]) -> T:
    """The result of ``action`` with the file system of a URI and the path in it."""
    if place := _object(uri):
        return s3.with_filesystem(place, lambda system: action(system, place.path))
    path = _local(uri)
    try:
        return action(fs.LocalFileSystem(), path)
    except OSError as error:
        raise errors.of_file(path, error) from error


def join(uri: str, *names: str) -> str:
    """A URI below another one; the query part stays at the end."""
    base, separator, query = uri.partition("?") if uri.startswith("s3://") else (uri, "", "")
    return "/".join([base.rstrip("/"), *names]) + separator + query


def with_ending(uri: str, ending: str, other: str) -> str:
    """A URI with another ending of its path; the query part stays at the end."""
    base, separator, query = uri.partition("?") if uri.startswith("s3://") else (uri, "", "")
    return base.removesuffix(ending) + other + separator + query


def exists(uri: str) -> bool:
    return _type(uri) != fs.FileType.NotFound


def is_folder(uri: str) -> bool:
    return _type(uri) == fs.FileType.Directory


def _type(uri: str) -> fs.FileType:
    return _at(uri, lambda system, path: system.get_file_info(path).type)


def list_files(uri: str, suffix: str = "", *, recursive: bool = True) -> list[str]:
    """Names relative to the folder, sorted; an absent folder has none."""
    below = _below(uri, recursive)
    return sorted(name for name, size in below.items() if size is not None and name.endswith(suffix))


def sizes(uri: str, *, recursive: bool = True) -> dict[str, int]:
    """Name, relative to the folder, and bytes of every file; an absent folder has none."""
    below = _below(uri, recursive, with_sizes=True)
    return {name: size for name, size in below.items() if size is not None}


def list_folders(uri: str) -> list[str]:
    """Names of the folders directly below, sorted."""
    return sorted(name for name, size in _below(uri, recursive=False).items() if size is None)


def _below(uri: str, recursive: bool, *, with_sizes: bool = False) -> dict[str, int | None]:
    """Files with their size (of local ones only ``with_sizes``) and folders with None, by relative name."""
    if not uri.startswith("s3://"):
        path = _local(uri)
        try:
            return local.walk(path, recursive=recursive, with_sizes=with_sizes)
        except OSError as error:
            raise errors.of_file(path, error) from error

    def below(system: fs.FileSystem, folder: str) -> dict[str, int | None]:
        selector = fs.FileSelector(folder, allow_not_found=True, recursive=recursive)
        start = len(folder.rstrip("/")) + 1
        return {info.path[start:]: info.size for info in system.get_file_info(selector)}

    return _at(uri, below)


def read_bytes(uri: str, limit: int | None = None, *, within: str | None = None) -> bytes:
    """A whole file or object, which is one request.

    Raises:
        NotFound: no such file, object or bucket.
        TooLarge: it has more than ``limit`` bytes, which were not read.
        NotRegular: a local pipe, socket or device.
        OutsideFolder: a link leads out of ``within``, a local folder.
        Unavailable: the storage did not answer, or not in full, after all retries.
        StorageError: not permitted, or not a file.
    """
    if place := _object(uri):
        return objects.read(place, limit)
    path = _local(uri)
    try:
        return local.read(path, limit, within and _local(within))
    except StorageError:
        raise
    except OSError as error:
        raise errors.of_file(path, error) from error


@contextmanager
def open_file(uri: str) -> Iterator[NativeFile]:
    """A file or object for reading at random, as Parquet is; errors are as of :func:`read_bytes`."""
    if place := _object(uri):
        with pa.PythonFile(objects.Reader(place), mode="r") as stream:
            yield stream
        return
    path = _local(uri)
    try:
        local.check_regular(path)
        with fs.LocalFileSystem().open_input_file(path) as stream:
            yield stream
    except StorageError:
        raise
    except OSError as error:
        raise errors.of_file(path, error) from error


@contextmanager
def writing(uri: str, size: int = 0) -> Iterator[NativeFile]:
    """A stream to a file of any size, which gets its name only when the block has ended well.

    ``size``, where known, is named when the disk is full. A process that is killed leaves a ``.partial``
    file, or parts of an upload that no listing shows (a bucket's lifecycle rule removes such).

    Raises:
        Unavailable: the disk or the store is full, or does not answer.
    """
    if place := _object(uri):
        upload = objects.Upload(place)
        try:
            with pa.PythonFile(upload, mode="w") as stream:
                yield stream
            upload.finish()
        except BaseException:
            upload.abandon()
            raise
        return
    path = _local(uri)
    partial = f"{path}.{uuid.uuid4().hex[:8]}.partial"
    try:
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with (
                local.to_disk(partial),
                fs.LocalFileSystem().open_output_stream(partial, compression=None) as stream,
            ):
                yield stream
            try:
                os.replace(partial, path)
            except FileNotFoundError as error:
                raise Unavailable(
                    f"{path}: another process removed what was not yet finished, as the same command does "
                    f"when it runs twice: let the other one end, then {errors.AGAIN}"
                ) from error
        finally:
            with suppress(NotADirectoryError):  # a file stands where a folder should: said below
                Path(partial).unlink(missing_ok=True)  # before the free space is told
    except StorageError:
        raise
    except OSError as error:
        raise errors.of_file(path, error, size) from error


def final_name(name: str) -> str:
    """The name that a file gets once it is complete: without what :func:`writing` adds before."""
    return _PARTIAL.sub("", name)


def write_bytes(uri: str, content: bytes) -> None:
    """Write whole or not at all."""
    with writing(uri, len(content)) as stream:
        stream.write(content)


def create(uri: str, content: bytes) -> bool:
    """Write a small file where there is none; whether it was written. Of several at once one succeeds."""
    if place := _object(uri):
        return objects.create(place, content)
    path = _local(uri)
    try:
        return local.create(path, content)
    except OSError as error:
        raise errors.of_file(path, error, len(content)) from error


def read_json(uri: str) -> Any:
    return json.loads(read_bytes(uri))


def write_json(uri: str, value: Any) -> None:
    write_bytes(uri, (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode())


def delete_file(uri: str) -> None:
    """Delete a file, if it is there."""

    def delete(system: fs.FileSystem, path: str) -> None:
        if system.get_file_info(path).type == fs.FileType.File:
            system.delete_file(path)

    _at(uri, delete)


def delete_empty_folders(uri: str) -> None:
    """Delete a local folder and those below it as far as they hold no file; object stores have no folders."""
    if _object(uri):
        return
    for folder, _, _ in os.walk(_local(uri), topdown=False):
        with suppress(OSError):  # not empty
            os.rmdir(folder)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
