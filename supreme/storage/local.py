"""Local files: whole reads of regular files, writes that reach the disk, listings that stay inside."""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache

from supreme.storage.errors import NotRegular, OutsideFolder, TooLarge

_CHUNK_BYTES = 1 << 26
_FLUSH_EVERY_S = 0.2


def read(path: str, limit: int | None = None, within: str | None = None) -> bytes:
    """The bytes of a regular file; never waits for a pipe or reads a device.

    Raises:
        TooLarge: more than ``limit`` bytes.
        NotRegular: a pipe, a socket or a device.
        OutsideFolder: a link leads out of the folder ``within``.
        OSError: whatever the system says.
    """
    # Opening a pipe would wait for a writer; an object around the descriptor would cost as much as the rest.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            if stat.S_ISDIR(status.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            raise NotRegular(f"{path} is no regular file: only such are read")
        if within is not None:
            _check_within(path, descriptor, within)
        size = status.st_size
        if limit is not None and size > limit:
            raise TooLarge(f"{path}: {size:,} bytes; at most {limit:,} are read")
        content = os.read(descriptor, size + 1)
        while len(content) != size and (
            rest := os.read(descriptor, _CHUNK_BYTES)
        ):  # larger than 2 GB, or grows
            content += rest
            if limit is not None and len(content) > limit:
                raise TooLarge(f"{path}: more than {limit:,} bytes")
        return content
    finally:
        os.close(descriptor)


def check_regular(path: str) -> None:
    """Refuse what opening would block on or read without end.

    Raises:
        NotRegular: a pipe, a socket or a device.
        OSError: no such file.
    """
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise NotRegular(f"{path} is no regular file: only such are read")


def walk(folder: str, *, recursive: bool, with_sizes: bool) -> dict[str, int | None]:
    """What lies in a folder, by name relative to it: None for folders, else bytes (0 unless ``with_sizes``).

    A linked folder is listed but not entered: its files are found where they lie, or are outside. Bytes of a
    name that are not UTF-8 become surrogates, as :func:`os.fsdecode` makes them.
    """
    names: dict[str, int | None] = {}
    leaving: list[str] = []
    pending, root = [""], os.path.realpath(folder)
    while pending:
        prefix = pending.pop()
        try:
            entries = os.scandir(os.path.join(folder, prefix))
        except FileNotFoundError:
            continue  # never there, or removed meanwhile
        with entries:
            for entry in entries:
                name = prefix + entry.name
                if not entry.is_dir():
                    names[name] = _size(entry) if with_sizes else 0
                    continue
                names[name] = None
                if not entry.is_symlink():
                    pending += [f"{name}/"] if recursive else []
                elif recursive and not _is_below(os.path.realpath(entry.path), root):
                    leaving.append(name)
    if leaving:
        message = "%s: %d linked folders lead out of it and are not read (%s)"
        logging.getLogger(__name__).warning(message, folder, len(leaving), ascii(leaving[0])[1:-1])
    return names


@contextmanager
def to_disk(path: str) -> Iterator[None]:
    """A power failure must not leave a name without content: what the block writes is on the disk after it.

    It goes there while the block is still writing, so that the end has little to wait for.
    """
    written = threading.Event()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)

    def flush() -> None:
        while not written.wait(_FLUSH_EVERY_S):
            os.fdatasync(descriptor)

    try:
        with ThreadPoolExecutor(1) as thread:
            flushed = thread.submit(flush)
            try:
                yield
            finally:
                written.set()
            flushed.result()
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create(path: str, content: bytes) -> bool:
    """Write a file where there is none; whether it was written.

    Raises:
        OSError: whatever the system says.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    partial = f"{path}.{uuid.uuid4().hex[:8]}.partial"
    try:
        with open(partial, "xb") as stream:
            stream.write(content)
        os.link(partial, path)
    except FileExistsError:
        return False
    finally:
        with suppress(FileNotFoundError):
            os.unlink(partial)
    return True


def _check_within(path: str, descriptor: int, folder: str) -> None:
    # The kernel tells in one call where an open file is; elsewhere the path is resolved step by step.
    try:
        real = os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        real = os.path.realpath(path)
    root = _real(folder) if folder.startswith("/") else os.path.realpath(folder)
    if not _is_below(real, root):
        raise OutsideFolder(f"{path} leads to {real}, out of {folder}: only files in the folder are read")


@lru_cache(maxsize=256)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder if folder == "/" else f"{folder}/")


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:  # a dangling link
        return 0
