"""The bundle: a trained model as a folder of safetensors, JSON and text that answers text queries about ECGs.

No file of a bundle is code or pickle. ``MLmodel`` makes it an MLflow model whose loader is the installed
package, and holds the sha256 of every other file.
"""

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

from supreme import __version__, config, ecg, log, storage, text
from supreme.inference.model_card import _card
from supreme.inference.provenance import RECORDINGS, TRAINED_ON, Provenance
from supreme.models.supreme import SupremeModel
from supreme.reports.vocabulary import Vocabulary

MODEL, CONFIG, VOCABULARY, QUERIES = (
    "model.safetensors",
    "config.json",
    "vocabulary.json",
    "queries.safetensors",
)
CARD, REQUIREMENTS, MLMODEL = "README.md", "requirements.txt", "MLmodel"
FILES = (MODEL, CONFIG, VOCABULARY, QUERIES, RECORDINGS, CARD, REQUIREMENTS, MLMODEL)
#: A bundle without provenance lacks them.
OPTIONAL = (RECORDINGS,)
#: MLflow writes this one into the folder that it downloads to.
DOWNLOAD_NOTE = "registered_model_meta"


logger = log.get("bundle")


class BundleError(ValueError):
    """A bundle that must not be loaded: the message names the file and what is wrong with it."""


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
        contents = {name: (Path(temporary) / name).read_bytes() for name in (MODEL, CONFIG)}
    preprocessing = {
        "signal": {"unit": "mV", "rate_hz": recipe.shards.rate_hz, "samples": recipe.shards.samples},
        "leads": list(ecg.LEADS),
        "text": {**recipe.text.model_dump(mode="json"), "digest": encoder.digest, "dim": encoder.dim},
    }
    tensors = {
        "embeddings": np.ascontiguousarray(query_embeddings, np.float32),
        "whitening.mean": np.ascontiguousarray(whitening.mean, np.float32),
        "whitening.matrix": np.ascontiguousarray(whitening.matrix, np.float32),
    }
    contents |= {
        CONFIG: _json(
            json.loads(contents[CONFIG])
            | {"preprocessing": preprocessing, "objective": recipe.training.objective}
            | ({TRAINED_ON: trained_on.described()} if trained_on else {})
        ),
        VOCABULARY: _json(vocabulary.to_json()),
        # One metadata key only: safetensors does not keep the order of several.
        QUERIES: save(tensors, {"texts": json.dumps(texts, ensure_ascii=False)}),
        CARD: _card(recipe, vocabulary, card).encode(),
        REQUIREMENTS: f"supreme-ecg=={__version__}\n".encode(),
    }
    if trained_on:
        contents[RECORDINGS] = trained_on.to_safetensors()
    contents[MLMODEL] = _mlmodel(contents, recipe.shards.samples, [entity.name for entity in vocabulary])
    for name, content in contents.items():
        storage.write_bytes(storage.join(folder, name), content)
    return _digest({name: storage.sha256(content) for name, content in contents.items()})


def verify(folder: str, expected: str = "") -> str:
    """Check a bundle's files and return its digest: the sha256 over the sorted (name, sha256) of its files.

    Raises:
        BundleError: a file is missing, changed, or none of a bundle's; or the digest is not ``expected``.
    """
    names = [name for name in storage.list_files(folder) if name != DOWNLOAD_NOTE]
    unknown, missing = sorted(set(names) - set(FILES)), sorted(set(FILES) - set(names) - set(OPTIONAL))
    if unknown:
        raise BundleError(
            f"{folder}: refused because of {', '.join(unknown)}: a bundle holds {', '.join(FILES)} only"
        )
    if missing:
        raise BundleError(f"{folder}: {', '.join(missing)} is missing: write or download the bundle again")
    found = {name: storage.sha256(storage.read_bytes(storage.join(folder, name))) for name in names}
    described = yaml.safe_load(storage.read_bytes(storage.join(folder, MLMODEL)))
    recorded = (described.get("metadata") or {}).get("sha256") or {}
    changed = [name for name in FILES if name != MLMODEL and recorded.get(name) != found.get(name)]
    digest = _digest(found)
    if changed or (expected and digest != expected):
        what = ", ".join(changed) or MLMODEL
        raise BundleError(f"{folder}: {what} was changed after it was written: register or download it again")
    return digest


def files_of(folder: str) -> list[str]:
    """The files of a bundle in a folder, in the order of :data:`FILES`."""
    names = storage.list_files(folder)
    return [name for name in FILES if name in names]


def _digest(files: Mapping[str, str]) -> str:
    return storage.sha256("".join(f"{name} {files[name]}\n" for name in sorted(files)).encode())


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
                "loader_module": "supreme.registry",
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
