"""The files of a bundle, how large each may be, and the error that says what is wrong with one."""

from __future__ import annotations

from collections.abc import Mapping

from supreme import storage
from supreme.config import ConfigError
from supreme.inference.provenance import RECORDINGS as RECORDINGS

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

#: Bytes; a larger file is not read.
MAX_BYTES = {
    MODEL: 16 * 2**30,
    CONFIG: 2**20,
    VOCABULARY: 64 * 2**20,
    QUERIES: 4 * 2**30,
    RECORDINGS: 4 * 2**30,
    CARD: 16 * 2**20,
    REQUIREMENTS: 2**16,
    MLMODEL: 2 * 2**20,
}

#: What to do about a bundle that is damaged.
REMEDY = "register or download it again, or write it anew with jobs/pretrain.py"


class BundleError(ConfigError):
    """A bundle that must not be loaded: the message names the file, what is wrong, and the remedy."""


def digest_of(sha256: Mapping[str, str]) -> str:
    """The digest of a bundle: the sha256 over the sorted (name, sha256) of its files."""
    return storage.sha256("".join(f"{name} {sha256[name]}\n" for name in sorted(sha256)).encode())
