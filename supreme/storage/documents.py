"""JSON files as typed values: whatever is wrong with one is told with its name and the remedy."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from supreme import storage
from supreme.config import ConfigError

Document = TypeVar("Document", bound=BaseModel)

#: A document that has changed over time carries its version under this name.
VERSION_FIELD = "schema_version"


def read_document(uri: str, model: type[Document], *, remedy: str) -> Document:
    """Read a JSON file as a pydantic model.

    Args:
        uri: local path or s3:// object.
        model: its type; the default of a field `schema_version` is the version that is read.
        remedy: what to do about a file that cannot be used, for instance "run jobs/shard.py with --new".

    Raises:
        ConfigError: the file is damaged or of another version; the message names the file and the remedy.
        StorageError: it is not there or cannot be read.
    """
    return parse_document(storage.read_bytes(uri), uri, model, remedy=remedy)


def parse_document(content: bytes, uri: str, model: type[Document], *, remedy: str) -> Document:
    """As :func:`read_document`, of the bytes of ``uri``."""
    if not content.strip(b"\0 \r\n\t"):
        raise ConfigError(f"{uri} is {'full of NUL bytes' if content else 'empty'}: {remedy}")
    try:
        values = from_json(content)
    except ValueError as error:
        raise ConfigError(f"{uri} is damaged: no valid JSON ({error}): {remedy}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{uri} is damaged: it holds no JSON object: {remedy}")
    if version := model.model_fields.get(VERSION_FIELD):
        written = values.get(VERSION_FIELD)
        if written != version.default:
            raise ConfigError(
                f"{uri} has format {written if written is not None else 1}, this version of supreme reads "
                f"format {version.default}: {remedy}"
            )
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{uri} is damaged: {key}: {first['msg']}: {remedy}") from None
