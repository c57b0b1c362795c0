"""A bundle's bytes, read once and verified: what is loaded afterwards is what was verified."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from supreme import storage
from supreme.inference.bundle.documents import read_yaml
from supreme.inference.bundle.layout import (
    DOWNLOAD_NOTE,
    FILES,
    MAX_BYTES,
    MLMODEL,
    OPTIONAL,
    REMEDY,
    BundleError,
    digest_of,
)

#: The only way in which MLflow may load a bundle.
LOADER = "supreme.registry"


@dataclass(frozen=True)
class BundleFiles:
    """The bytes of every file of one bundle, after :func:`read` has verified them."""

    folder: str
    contents: Mapping[str, bytes] = field(repr=False)
    digest: str

    def where(self, name: str) -> str:
        """The file's name for messages."""
        return storage.join(self.folder, name)


def verify(folder: str, expected: str = "") -> str:
    """Check a bundle's files and return its digest: the sha256 over the sorted (name, sha256) of its files.

    Raises:
        BundleError: see :func:`read`.
    """
    return read(folder, expected).digest


def read(folder: str, expected: str = "") -> BundleFiles:
    """Every file of a bundle (local folder or s3:// prefix), each read once.

    Args:
        expected: the digest that the bundle is known to have; any when empty.

    Raises:
        BundleError: a file is missing, changed, a link, too large, or none of a bundle's; ``MLmodel`` names
            another loader than this package; or the digest is not ``expected``.
    """
    names = [name for name in _names(folder) if name != DOWNLOAD_NOTE]
    unknown, missing = sorted(set(names) - set(FILES)), sorted(set(FILES) - set(names) - set(OPTIONAL))
    if unknown:
        raise BundleError(
            f"{folder}: refused because of {_listed(unknown)}: a bundle holds {', '.join(FILES)} only"
        )
    if missing:
        raise BundleError(f"{folder}: {', '.join(missing)} is missing: write or download the bundle again")
    contents = {name: _read_file(folder, name) for name in FILES if name in names}
    sha256 = {name: storage.sha256(content) for name, content in contents.items()}
    recorded = _recorded(contents[MLMODEL], storage.join(folder, MLMODEL))
    changed = [name for name in FILES if name != MLMODEL and recorded.get(name) != sha256.get(name)]
    digest = digest_of(sha256)
    if changed or (expected and digest != expected):
        what = ", ".join(changed) or MLMODEL
        raise BundleError(f"{folder}: {what} was changed after it was written: register or download it again")
    return BundleFiles(folder, contents, digest)


def files_of(folder: str) -> list[str]:
    """The files of a bundle in a folder, in the order of :data:`FILES`."""
    names = storage.list_files(folder)
    return [name for name in FILES if name in names]


def _recorded(content: bytes, where: str) -> Mapping[str, str]:
    """The sha256 of each file that ``MLmodel`` holds, which must name this package as the only loader."""
    described = read_yaml(content, where)
    flavors = described.get("flavors")
    flavor = flavors.get("python_function") if isinstance(flavors, dict) and len(flavors) == 1 else None
    if not isinstance(flavor, dict) or flavor.get("loader_module") != LOADER:
        raise BundleError(f"{where} names another loader than {LOADER}: {REMEDY}")
    if extra := sorted(flavor.keys() - {"loader_module", "python_version"}):
        raise BundleError(f"{where} names {_listed(extra)} of its own, which is not loaded: {REMEDY}")
    metadata = described.get("metadata")
    recorded = metadata.get("sha256") if isinstance(metadata, dict) else None
    unrecorded = [name for name in FILES if name not in (MLMODEL, *OPTIONAL, *(recorded or {}))]
    if not isinstance(recorded, dict) or unrecorded:
        raise BundleError(f"{where} holds no checksum of {_listed(unrecorded)}: {REMEDY}")
    return recorded


def _names(folder: str) -> list[str]:
    """Everything below a folder that is no folder, by its name relative to it."""
    if folder.startswith("s3://"):
        return storage.list_files(folder)
    path = Path(storage.filesystem(folder)[1])
    if not path.is_dir():
        raise BundleError(f"{folder} is no folder: give a bundle folder, or models:/name@alias")
    names: list[str] = []
    for parent, folders, files in os.walk(path):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        names += [os.path.relpath(os.path.join(parent, name), path) for name in files + links]
    return names


def _read_file(folder: str, name: str) -> bytes:
    """The bytes of a file; a local one must be a regular file, and no link."""
    limit = MAX_BYTES[name]
    where = storage.join(folder, name)
    if folder.startswith("s3://"):
        try:
            return storage.read_bytes(where, limit)
        except storage.TooLarge as error:
            raise BundleError(f"{error}: {REMEDY}") from None
    path = os.path.join(storage.filesystem(folder)[1], name)
    try:
        # A pipe is not waited for, and no link is followed wherever it leads.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        what = "is a link" if os.path.islink(path) else f"cannot be read ({os.strerror(error.errno or 0)})"
        raise BundleError(f"{where} {what}: a bundle holds regular files only; copy it in full") from None
    with open(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{where} is no regular file: {REMEDY}")
        if status.st_size > limit:
            raise BundleError(f"{where}: {status.st_size:,} bytes; at most {limit:,} are read: {REMEDY}")
        return stream.read(status.st_size)


def _listed(names: list[str]) -> str:
    shown = ", ".join(name.encode(errors="replace").decode() for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
