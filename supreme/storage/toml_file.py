"""Short TOML files as typed values; whatever is wrong with one is told with its name, key and remedy."""

from __future__ import annotations

import tomllib
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from supreme import storage
from supreme.config import ConfigError

Model = TypeVar("Model", bound=BaseModel)

#: Such files are some kilobytes.
MAX_BYTES = 1 << 20


def read_toml(uri: str, model: type[Model]) -> Model:
    """Read a TOML file, local or on S3, as a pydantic model.

    Raises:
        ConfigError: it is missing, no TOML, or a key is unknown, missing or wrong; the message names it.
        Unavailable: the storage does not answer.
    """
    return parse_toml(read_file(uri), uri, model)


def read_file(uri: str) -> bytes:
    """The bytes of a short file.

    Raises:
        ConfigError: it is missing, too large or no file.
        Unavailable: the storage does not answer.
    """
    try:
        return storage.read_bytes(uri, MAX_BYTES)
    except storage.Unavailable:
        raise
    except storage.StorageError as error:
        raise ConfigError(str(error)) from None


def parse_toml(content: bytes, uri: str, model: type[Model]) -> Model:
    """As :func:`read_toml`, of the bytes of ``uri``."""
    try:
        values = tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{uri}: byte {error.start} is not UTF-8: save the file as UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{uri}: no valid TOML: {str(error).splitlines()[0]}") from None
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{uri}: " + "; ".join(_reasons(error))) from None


def _reasons(error: ValidationError) -> list[str]:
    details = error.errors(include_url=False, include_context=False)[:5]
    lines = []
    for item in details:
        key = ".".join(map(str, item["loc"]))
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "unknown key"
        lines.append(f"{key}: {message}" if key else message)
    return list(dict.fromkeys(lines))
