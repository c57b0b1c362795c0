"""Files, folders and prefixes that a recipe names: local paths, ``file://`` and ``s3://``."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qs, unquote

from pydantic import AfterValidator, Field

#: What may stand behind the ``?`` of an S3 URI.
S3_OPTIONS = frozenset({"endpoint_override", "scheme", "region", "anonymous"})
#: Linux takes 4,096 bytes, names of the product included; an S3 key 1,024.
MAX_LOCAL_BYTES, MAX_S3_BYTES = 3000, 900


def check_uri(value: str) -> str:
    """A local path, ``file:///...`` or ``s3://bucket/prefix?option=...``; empty is none.

    Raises:
        ValueError: another scheme, a login, an unknown option, or characters that no file can have.
    """
    if any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in value):
        raise ValueError("a file or folder has no control characters in its name")
    if value != value.strip():
        raise ValueError("a file or folder does not begin or end with a blank")
    scheme, separator, rest = value.partition("://")
    if not separator:
        _check_length(value, MAX_LOCAL_BYTES)
    elif scheme == "s3":
        _check_s3(rest)
    elif scheme != "file" or not rest.startswith("/"):
        raise ValueError(f"only local paths, file:///... and s3://bucket/... are read, not {scheme[:20]}://")
    return value


def check_root(value: str) -> str:
    """A folder or prefix below which everything is written.

    Raises:
        ValueError: as of `check_uri`, or a local path which Ray or MLflow would read as an escaped URI.
    """
    if not value:
        raise ValueError("root must not be empty: '.' is the working directory")
    check_uri(value)
    if value.startswith("file://"):
        raise ValueError(f"give the path itself: {value.removeprefix('file://')[:200]}")
    path = value.partition("?")[0] if value.startswith("s3://") else value
    for character in "?%#":
        if character in path:
            raise ValueError(
                f"{character!r} means something else in the URIs that Ray and MLflow make of it: "
                "choose a folder without ?, % and #"
            )
    return value


def check_model_uri(value: str) -> str:
    """`models:/name@alias`, `models:/name/version` or the folder of a bundle.

    Raises:
        ValueError: as of `check_uri`.
    """
    return value if value.startswith("models:/") else check_uri(value)


def check_server(value: str) -> str:
    """The address of a server; who calls it says which schemes it takes, and refuses a login in it.

    Raises:
        ValueError: it has blanks or control characters, or is no address at all.
    """
    if any(character.isspace() or not character.isprintable() for character in value):
        raise ValueError("an address has no blanks or control characters")
    if len(value) > MAX_LOCAL_BYTES:
        raise ValueError(f"an address has at most {MAX_LOCAL_BYTES:,} characters")
    return value


def _check_s3(rest: str) -> None:
    address, _, query = rest.partition("?")
    bucket, _, key = address.partition("/")
    if not bucket:
        raise ValueError("names no bucket: s3://bucket/prefix")
    if "@" in bucket or ":" in bucket:
        raise ValueError("leave the login out of a URI: credentials come from the environment")
    if any(part in (".", "..") for part in unquote(key).split("/")):
        raise ValueError("an object's key has no '.' or '..' between slashes")
    if "#" in address:
        raise ValueError("'#' would cut off the rest of a URI: choose a prefix without it")
    _check_length(key, MAX_S3_BYTES)
    options = parse_qs(query, keep_blank_values=True)
    unknown = ", ".join(sorted(options.keys() - S3_OPTIONS))[:200]
    if unknown:  # whose value may be a secret
        raise ValueError(f"unknown option(s) {unknown}; an s3:// URI takes {', '.join(sorted(S3_OPTIONS))}")
    if "@" in "".join(options.get("endpoint_override", [])):
        raise ValueError("leave the login out of endpoint_override: credentials come from the environment")


def _check_length(path: str, limit: int) -> None:
    size = len(path.encode("utf-8", "surrogatepass"))
    if size > limit:
        raise ValueError(f"a path has at most {limit:,} bytes here, this one {size:,}")
    if any(len(part.encode("utf-8", "surrogatepass")) > 255 for part in path.split("/")):
        raise ValueError("a folder's or file's name has at most 255 bytes")


Uri = Annotated[str, AfterValidator(check_uri)]
Uris = Annotated[tuple[Uri, ...], Field(strict=False, max_length=100)]
"""A list of files; TOML has lists where Python has tuples."""
RootUri = Annotated[str, AfterValidator(check_root)]
ModelUri = Annotated[str, AfterValidator(check_model_uri)]
ServerUri = Annotated[str, AfterValidator(check_server)]
