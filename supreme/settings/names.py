"""Names of recipes, data sets, models and experiments: folders and MLflow names, never paths."""

from __future__ import annotations

import unicodedata
from typing import Annotated

from pydantic import AfterValidator

MAX_BYTES = 120
"""A folder's name has at most 255 bytes on common file systems; the product adds to it."""
PUNCTUATION = " -_.,+()[]"
#: Of a root folder, where every recipe's folder lies beside them.
RESERVED = frozenset({"embeddings", "llm", "mlartifacts", "mlflow.db"})


def check_name(value: str) -> str:
    """The name in Unicode's composed form (NFC).

    Letters of any script, digits and ``PUNCTUATION`` are legal: what a folder on any file system, an object
    key, a URI and a registered MLflow model and its filters take without quoting.

    Raises:
        ValueError: it is empty, too long, a path, or has another character.
    """
    name = unicodedata.normalize("NFC", value)
    if not name:
        raise ValueError("a name must not be empty")
    size = len(name.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise ValueError(f"a name has at most {MAX_BYTES} bytes, this one {size:,}")
    for character in name:
        if character not in PUNCTUATION and unicodedata.category(character)[0] not in "LNM":
            shown = character if character.isprintable() else f"U+{ord(character):04X}"
            title = unicodedata.name(character, "control character").lower()
            raise ValueError(
                f"a name is not a path and takes letters, digits and {PUNCTUATION.strip()!r} and blanks, "
                f"not {shown!r} ({title})"
            )
    if name[0] in " ." or name[-1] in " .":
        raise ValueError("a name does not begin or end with a dot or a blank")
    if unicodedata.combining(name[0]):
        raise ValueError("a name does not begin with a combining mark")
    if same_name(name) in RESERVED:
        raise ValueError(
            f"{', '.join(sorted(RESERVED))} are names of the root folder's own: give another one"
        )
    return name


def same_name(name: str) -> str:
    """A key that is equal for names that a case-insensitive file system, or a reader, cannot tell apart."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _check_optional(value: str) -> str:
    return check_name(value) if value else ""


Name = Annotated[str, AfterValidator(check_name)]
OptionalName = Annotated[str, AfterValidator(_check_optional)]
"""A name that is derived from something else when empty."""
