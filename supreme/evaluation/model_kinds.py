"""What `evaluation.model_uri` names: a bundle, a file of scores or embeddings, or a model from elsewhere."""

from __future__ import annotations

from typing import Literal

from supreme.evaluation.embeddings import has_embeddings
from supreme.inference.any_model import is_class
from supreme.inference.exported import is_program

ModelKind = Literal["bundle", "scores", "embeddings", "program", "class"]

_TABLES = (".csv", ".parquet", ".pq")


def kind_of(uri: str) -> ModelKind:
    """The kind of a model, by its name; of a table, by its columns.

    Raises:
        ConfigError: a table that is missing, damaged, or has no column ``record_id``.
    """
    path = (uri.partition("?")[0] if uri.startswith("s3://") else uri).casefold()
    if uri.startswith("models:"):
        return "bundle"
    if is_program(uri):
        return "program"
    if path.endswith(".npy"):
        return "embeddings"
    if path.endswith(_TABLES):
        return "embeddings" if has_embeddings(uri) else "scores"
    return "class" if is_class(uri) else "bundle"
