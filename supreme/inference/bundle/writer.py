"""Write a bundle: equal arguments give equal bytes, and ``MLmodel`` comes last."""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import save

from supreme import __version__, config, ecg, storage, text
from supreme.inference.bundle.config import BundleConfig
from supreme.inference.bundle.files import LOADER
from supreme.inference.bundle.layout import (
    CARD,
    CONFIG,
    MLMODEL,
    MODEL,
    QUERIES,
    RECORDINGS,
    REQUIREMENTS,
    VOCABULARY,
    BundleError,
    digest_of,
)
from supreme.inference.convention import InputConvention, TextEncoderSpec
from supreme.inference.model_card import model_card
from supreme.inference.provenance import Provenance
from supreme.models.supreme import SupremeModel
from supreme.reports.vocabulary import Vocabulary


def write_bundle(
    folder: str,
    model: SupremeModel,
    recipe: config.Recipe,
    vocabulary: Vocabulary,
    query_texts: Mapping[str, Sequence[str]],
    query_embeddings: np.ndarray,
    whitening: text.Whitening,
    encoder: text.TextEncoder,
    card: Mapping[str, Any],
    trained_on: Provenance | None = None,
) -> str:
    """Write a bundle (``MLmodel`` last) and return its digest; equal arguments give equal bytes.

    Args:
        folder: local folder or s3:// prefix.
        query_texts: phrasings of each entity of ``vocabulary``.
        query_embeddings: raw float32 ``(N, dim)``, the phrasings of all entities one after the other.
        encoder: what made ``query_embeddings``; its id and digest are kept for queries that are not in there.
        card: facts for the model card: data, selection rule and value, limits.
        trained_on: the recordings that the model has seen; a model without can be evaluated, never promoted.

    Raises:
        BundleError: the model is an encoder alone.
    """
    if not model.answers_queries:
        raise BundleError(
            f"training.objective={recipe.training.objective} trains an encoder alone, which answers no text "
            "queries: there is no bundle of it; probe the folder `encoder` of the pre-training stage instead"
        )
    texts = [list(query_texts[entity.id]) for entity in vocabulary]
    count = sum(map(len, texts))
    if query_embeddings.shape != (count, encoder.dim) or not all(texts):
        raise ValueError(
            f"embeddings are {query_embeddings.shape}: one for each of {count} phrasings is needed"
        )
    with tempfile.TemporaryDirectory() as temporary:
        model.save_pretrained(temporary)
        weights = (Path(temporary) / MODEL).read_bytes()
    contents = {
        MODEL: weights,
        CONFIG: _config(model, recipe, encoder, trained_on).to_json(),
        VOCABULARY: _json(vocabulary.to_json()),
        QUERIES: _queries(texts, query_embeddings, whitening),
        CARD: model_card(recipe, vocabulary, card).encode(),
        REQUIREMENTS: f"supreme-ecg=={__version__}\n".encode(),
    }
    if trained_on:
        contents[RECORDINGS] = trained_on.to_safetensors()
    contents[MLMODEL] = _mlmodel(contents, recipe.shards.samples, [entity.name for entity in vocabulary])
    for name, content in contents.items():
        storage.write_bytes(storage.join(folder, name), content)
    return digest_of({name: storage.sha256(content) for name, content in contents.items()})


def _config(
    model: SupremeModel,
    recipe: config.Recipe,
    encoder: text.TextEncoder,
    trained_on: Provenance | None,
) -> BundleConfig:
    return BundleConfig(
        model=model.config,
        head=model.head,
        text_dim=model.text_dim,
        samples=model.samples,
        input=InputConvention(rate_hz=recipe.shards.rate_hz, samples=recipe.shards.samples),
        text=TextEncoderSpec(**recipe.text.model_dump(), digest=encoder.digest, dim=encoder.dim),
        objective=recipe.training.objective,
        trained_on=trained_on.datasets if trained_on else None,
    )


def _queries(texts: list[list[str]], embeddings: np.ndarray, whitening: text.Whitening) -> bytes:
    """Phrasings, their raw embeddings and the whitening of a vocabulary, as safetensors."""
    tensors = {
        "embeddings": np.ascontiguousarray(embeddings, np.float32),
        "whitening.mean": np.ascontiguousarray(whitening.mean, np.float32),
        "whitening.matrix": np.ascontiguousarray(whitening.matrix, np.float32),
    }
    # One metadata key only: safetensors does not keep the order of several.
    return save(tensors, {"texts": json.dumps(texts, ensure_ascii=False)})


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _mlmodel(contents: Mapping[str, bytes], samples: int, names: Sequence[str]) -> bytes:
    """What MLflow reads: a python_function whose code is the installed package."""

    def tensor(shape: list[int]) -> str:
        return json.dumps([{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": shape}}])

    queries = [{"name": "queries", "type": "string", "default": list(names), "shape": [-1]}]
    described = {
        "flavors": {
            "python_function": {
                "loader_module": LOADER,
                "python_version": platform.python_version(),
            }
        },
        "signature": {
            "inputs": tensor([-1, ecg.N_LEADS, samples]),
            "outputs": tensor([-1, -1]),
            "params": json.dumps(queries, ensure_ascii=False),
        },
        "metadata": {"sha256": {name: storage.sha256(contents[name]) for name in sorted(contents)}},
    }
    return yaml.safe_dump(described, sort_keys=True, allow_unicode=True).encode()
