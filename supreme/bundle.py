"""The bundle: a trained model as a folder of safetensors, JSON and text that answers text queries about ECGs.

No file of a bundle is code or pickle. ``MLmodel`` makes it an MLflow model whose loader is the installed
package, and holds the sha256 of every other file.
"""

from __future__ import annotations

import json
import math
import platform
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors import safe_open
from safetensors.numpy import save

from supreme import __version__, config, ecg, log, signal, storage, text
from supreme.models.supreme import SupremeModel
from supreme.reports.vocabulary import Vocabulary

MODEL, CONFIG, VOCABULARY, QUERIES = (
    "model.safetensors",
    "config.json",
    "vocabulary.json",
    "queries.safetensors",
)
CARD, REQUIREMENTS, MLMODEL = "README.md", "requirements.txt", "MLmodel"
FILES = (MODEL, CONFIG, VOCABULARY, QUERIES, CARD, REQUIREMENTS, MLMODEL)
#: MLflow writes this one into the folder that it downloads to.
DOWNLOAD_NOTE = "registered_model_meta"
#: Larger values are microvolts: the highest paced or hypertrophic QRS stays below 20 mV.
MAX_MILLIVOLTS = 50.0
MAX_WINDOWS = 6
BATCH_SIZE = 64
_KEPT_TEXTS = 4096

#: What answers the queries, by ``training.objective``.
_HEADS = {
    "supreme": "a Cardiac Fusion Network",
    "ked": "a query network with self-attention, in which a score depends on what else is asked",
    "merl": "a projection into the space of its reports, whose scores are ranks rather than probabilities",
    "linear": "one output for each entity below; any other text is taken for the nearest of them",
}

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
) -> str:
    """Write a bundle (``MLmodel`` last) and return its digest; equal arguments give equal bytes.

    Args:
        folder: local folder or s3:// prefix.
        query_texts: phrasings of each entity of ``vocabulary``.
        query_embeddings: raw float32 ``(N, dim)``, the phrasings of all entities one after the other.
        encoder: what made ``query_embeddings``; its id and digest are kept for queries that are not in there.
        card: facts for the model card: data, selection rule and value, limits.

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
        ),
        VOCABULARY: _json(vocabulary.to_json()),
        # One metadata key only: safetensors does not keep the order of several.
        QUERIES: save(tensors, {"texts": json.dumps(texts, ensure_ascii=False)}),
        CARD: _card(recipe, vocabulary, card).encode(),
        REQUIREMENTS: f"supreme-ecg=={__version__}\n".encode(),
    }
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
    unknown, missing = sorted(set(names) - set(FILES)), sorted(set(FILES) - set(names))
    if unknown:
        raise BundleError(
            f"{folder}: refused because of {', '.join(unknown)}: a bundle holds {', '.join(FILES)} only"
        )
    if missing:
        raise BundleError(f"{folder}: {', '.join(missing)} is missing: write or download the bundle again")
    found = {name: storage.sha256(storage.read_bytes(storage.join(folder, name))) for name in names}
    described = yaml.safe_load(storage.read_bytes(storage.join(folder, MLMODEL)))
    recorded = (described.get("metadata") or {}).get("sha256") or {}
    changed = [name for name in FILES if name != MLMODEL and recorded.get(name) != found[name]]
    digest = _digest(found)
    if changed or (expected and digest != expected):
        what = ", ".join(changed) or MLMODEL
        raise BundleError(f"{folder}: {what} was changed after it was written: register or download it again")
    return digest


def fold(query: str) -> str:
    """A query without case, question mark and spacing: what two queries have in common to be the same."""
    return re.sub(r"[\s_-]+", " ", query.strip(" \t\n?¿.!").casefold()).strip()


class EcgQueryModel:
    """Answers text queries about 12-lead ECGs: the probability that what a query names is present."""

    def __init__(
        self,
        model: SupremeModel,
        vocabulary: Vocabulary,
        query_texts: Sequence[Sequence[str]],
        query_embeddings: np.ndarray,
        whitening: text.Whitening,
        preprocessing: Mapping[str, Any],
        objective: str,
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.vocabulary, self.objective = vocabulary, objective
        self.rate_hz: int = preprocessing["signal"]["rate_hz"]
        self.samples: int = preprocessing["signal"]["samples"]
        self._lead_order = [ecg.LEADS.index(lead) for lead in preprocessing["leads"]]
        self._text: Mapping[str, Any] = preprocessing["text"]
        self._whitening = whitening
        self._encoder: text.TextEncoder | None = None
        self._encoded: dict[str, np.ndarray] = {}
        sizes = np.cumsum([len(texts) for texts in query_texts])[:-1]
        self._cached = np.split(whitening.apply(query_embeddings), sizes)
        self._known: dict[str, int] = {}
        entities = list(vocabulary)
        # Ids and names win over synonyms that two entities might share.
        for phrases in (
            [[e.id, e.name] for e in entities],
            [[s for synonyms in e.synonyms.values() for s in synonyms] for e in entities],
            query_texts,
        ):
            for index, group in enumerate(phrases):
                for phrase in group:
                    self._known.setdefault(fold(phrase), index)

    @classmethod
    def from_bundle(cls, folder: str, expected: str = "") -> EcgQueryModel:
        """Load a bundle from a local folder or s3:// prefix onto the CPU; ``expected``: its known digest.

        Raises:
            BundleError: see :func:`verify`.
        """
        verify(folder, expected)
        if folder.startswith("s3://"):
            with tempfile.TemporaryDirectory() as temporary:
                for name in FILES:
                    (Path(temporary) / name).write_bytes(storage.read_bytes(storage.join(folder, name)))
                return cls.from_bundle(temporary, expected)
        path = Path(storage.filesystem(folder)[1])
        settings = json.loads((path / CONFIG).read_bytes())
        with safe_open(path / QUERIES, "numpy") as queries:
            texts = json.loads(queries.metadata()["texts"])
            tensors = {name: queries.get_tensor(name) for name in queries.keys()}  # noqa: SIM118 (not a dict)
        return cls(
            SupremeModel.from_pretrained(path),
            Vocabulary.from_json(json.loads((path / VOCABULARY).read_bytes())),
            texts,
            tensors["embeddings"],
            text.Whitening(tensors["whitening.mean"], tensors["whitening.matrix"]),
            settings["preprocessing"],
            settings.get("objective", "supreme"),
        )

    def seen(self, query: str) -> str:
        """The vocabulary entity (id) that a query names by id, name or synonym; "" for an unseen query."""
        index = self._known.get(fold(query))
        return "" if index is None else self.vocabulary.ids[index]

    def score(self, ecg_mv: np.ndarray, rate_hz: float, queries: Sequence[str]) -> np.ndarray:
        """Probabilities float32 ``(B, Q)`` in [0, 1].

        A query of the vocabulary is asked in all its phrasings and the logits are averaged; any other text is
        encoded by the text encoder of training. Records longer than the model's window are scored on up to
        six windows spread evenly over the record, and the logits averaged.

        Args:
            ecg_mv: float ``(B, 12, T)`` in millivolts, leads in the order of ``ecg.LEADS``, any T.
            rate_hz: sampling rate of ``ecg_mv``.

        Raises:
            ValueError: no query, wrong shape, unit or rate, or values that are not finite.
        """
        checked = _check_signal(ecg_mv, rate_hz)
        embeddings, owner = self._embed(queries)
        windows = [self._windows(record, rate_hz) for record in checked]
        logits = self._logits(np.concatenate(windows), embeddings)
        per_record = logits.reshape(len(checked), -1, len(owner)).mean(1)
        per_query = np.stack([per_record[:, owner == index].mean(1) for index in range(len(queries))], 1)
        return (1 / (1 + np.exp(-per_query))).astype(np.float32)

    def _windows(self, record_mv: np.ndarray, rate_hz: float) -> np.ndarray:
        """Windows ``(W, 12, samples)`` at the model's rate and in its lead order."""
        window_s, total_s = self.samples / self.rate_hz, record_mv.shape[1] / rate_hz
        # A few samples more than a window are no reason for a second one.
        count = min(MAX_WINDOWS, max(1, math.ceil(total_s / window_s - 0.01)))
        starts = np.linspace(0, max(0.0, total_s - window_s) * rate_hz, count).round().astype(int)
        ordered = record_mv[self._lead_order]
        cut = [signal.prepare(ordered[:, start:], rate_hz, self.rate_hz, self.samples)[0] for start in starts]
        return np.stack(cut)

    @torch.inference_mode()
    def _logits(self, windows: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
        device = next(self.model.parameters()).device
        queries = torch.from_numpy(embeddings).to(device)
        batches = torch.from_numpy(windows.astype(np.float32)).split(BATCH_SIZE)
        return torch.cat([self.model(b.to(device), queries).float().cpu() for b in batches]).double().numpy()

    def _embed(self, queries: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Whitened embeddings ``(M, dim)`` of all phrasings, and the query ``(M,)`` that each belongs to."""
        if isinstance(queries, str) or not len(queries):
            raise ValueError('no queries: give a list of texts, for instance ["atrial fibrillation?"]')
        folded = [fold(query) for query in queries]
        if "" in folded:
            raise ValueError(f"query {folded.index('') + 1} of {len(folded)} is empty: remove it")
        self._encode([query for query in folded if query not in self._known])
        groups = [
            self._cached[self._known[query]] if query in self._known else self._encoded[query]
            for query in folded
        ]
        return np.concatenate(groups), np.repeat(np.arange(len(groups)), [len(group) for group in groups])

    def _encode(self, texts: Sequence[str]) -> None:
        missing = sorted(set(texts) - self._encoded.keys())
        if not missing:
            return
        if len(self._encoded) + len(missing) > _KEPT_TEXTS:
            self._encoded.clear()
            missing = sorted(set(texts))
        self._encoder = self._encoder or self._open_encoder()
        whitened = self._whitening.apply(self._encoder.encode(missing))
        self._encoded |= {query: row[None] for query, row in zip(missing, whitened, strict=True)}

    def _open_encoder(self) -> text.TextEncoder:
        fields = {name: self._text[name] for name in config.Text.model_fields}
        encoder = text.open_encoder(config.Text(**fields))
        if encoder.digest != self._text["digest"]:
            raise BundleError(
                f"text encoder {encoder.id!r} here has digest {encoder.digest[:16]}, that of training was "
                f"{self._text['digest'][:16]}: install that version, or ask queries of the vocabulary only"
            )
        return encoder


def _check_signal(ecg_mv: np.ndarray, rate_hz: float) -> np.ndarray:
    values = np.asarray(ecg_mv, np.float32)
    if values.ndim != 3 or values.shape[1] != ecg.N_LEADS or 0 in values.shape:
        raise ValueError(
            f"ECGs of shape {values.shape}: give (records, 12, samples), leads in the order "
            f"{', '.join(ecg.LEADS)}"
        )
    if not (np.isfinite(rate_hz) and rate_hz > 0):
        raise ValueError(f"rate_hz={rate_hz}: give the sampling rate of the ECGs in Hz")
    bad = np.flatnonzero(~np.isfinite(values).all((1, 2)))
    if len(bad):
        raise ValueError(f"record {bad[0]} holds NaN or infinite values: remove or repair it")
    high = np.abs(values).max((1, 2))
    if high.max() > MAX_MILLIVOLTS:
        raise ValueError(
            f"record {high.argmax()} reaches {high.max():,.0f}: ECGs must be in millivolts; "
            "microvolts must be divided by 1000"
        )
    return values


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


def _card(recipe: config.Recipe, vocabulary: Vocabulary, card: Mapping[str, Any]) -> str:
    facts = config.flatten(dict(card))
    name = recipe.tracking.model
    lines = [
        f"# {name}",
        "",
        f"A 12-lead ECG encoder with {_HEADS[recipe.training.objective]}: it gives the probability that what",
        "a text query names is present. For research; not a medical device.",
        "",
        "```python",
        "from supreme import registry",
        f'model = registry.load("models:/{name}@champion")',
        'model.score(ecg_mv, rate_hz=500, queries=["atrial fibrillation?"])  # (B, 12, T) mV -> (B, Q)',
        "```",
        "",
        "| fact | value |",
        "|---|---|",
        f"| encoder | {recipe.model.encoder} |",
        f"| input | 12 leads ({', '.join(ecg.LEADS)}), millivolts, {recipe.shards.rate_hz} Hz, "
        f"{recipe.shards.duration_s:g} s |",
        f"| text encoder | {recipe.text.encoder} |",
        f"| pre-training data | {', '.join(source.dataset for source in recipe.sources)} |",
        f"| objective | {recipe.training.objective} |",
        f"| loss | {recipe.training.loss}, uncertain: {recipe.training.uncertain} |",
        *(f"| {key} | {value} |" for key, value in facts.items()),
        "",
        f"## {len(vocabulary)} entities seen in pre-training",
        "",
        *(f"- {entity.name} (`{entity.id}`)" for entity in vocabulary),
        "",
    ]
    return log.redact("\n".join(lines))
