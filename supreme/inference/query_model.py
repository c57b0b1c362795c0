"""A trained model that answers text queries about ECGs."""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from supreme import config, ecg, storage, text
from supreme.inference.bundle import CONFIG, QUERIES, VOCABULARY, BundleError, files_of, verify
from supreme.inference.provenance import Provenance
from supreme.models.supreme import SupremeModel
from supreme.preparation import resample_uv
from supreme.reports.queries import known_entity
from supreme.reports.vocabulary import Vocabulary

#: Larger values are microvolts: the highest paced or hypertrophic QRS stays below 20 mV.
MAX_MILLIVOLTS = 50.0


MAX_WINDOWS = 6


BATCH_SIZE = 64


_KEPT_TEXTS = 4096


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
        trained_on: Provenance | None = None,
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.vocabulary, self.objective, self.trained_on = vocabulary, objective, trained_on
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
                for name in files_of(folder):
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
            Provenance.read(str(path)),
        )

    def seen(self, query: str) -> str:
        """The vocabulary entity (id) that a query names, by one of its names or as the rules read it.

        "" for an unseen query: its own words are encoded.
        """
        index = self._index(query)
        return "" if index is None else self.vocabulary.ids[index]

    def understand(self, queries: Sequence[str]) -> list[str]:
        """For each query the entity that `score` scores, as `seen` gives it."""
        return [self.seen(query) for query in queries]

    def _index(self, query: str) -> int | None:
        """The place in the vocabulary of what a query names: exact names first, then the rules."""
        exact = self._known.get(fold(query))
        entity = known_entity(query, self.vocabulary) if exact is None else ""
        return self.vocabulary.ids.index(entity) if entity else exact

    def score(self, ecg_mv: np.ndarray, rate_hz: float, queries: Sequence[str]) -> np.ndarray:
        """Probabilities float32 ``(B, Q)`` in [0, 1]; see :meth:`logits`."""
        return (1 / (1 + np.exp(-self.logits(ecg_mv, rate_hz, queries)))).astype(np.float32)

    def logits(self, ecg_mv: np.ndarray, rate_hz: float, queries: Sequence[str]) -> np.ndarray:
        """Logits float64 ``(B, Q)``: positive where what a query names is more likely present than not.

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
        return np.stack([per_record[:, owner == index].mean(1) for index in range(len(queries))], 1)

    def _windows(self, record_mv: np.ndarray, rate_hz: float) -> np.ndarray:
        """Windows ``(W, 12, samples)`` in mV at the model's rate and its lead order, as in shards."""
        window_s, total_s = self.samples / self.rate_hz, record_mv.shape[1] / rate_hz
        # A few samples more than a window are no reason for a second one.
        count = min(MAX_WINDOWS, max(1, math.ceil(total_s / window_s - 0.01)))
        starts = np.linspace(0, max(0.0, total_s - window_s) * rate_hz, count).round().astype(int)
        ordered = record_mv[self._lead_order]
        windows_uv = [
            resample_uv(ordered[:, start:], rate_hz, self.rate_hz, self.samples)[0] for start in starts
        ]
        return ecg.to_millivolts(np.stack(windows_uv))

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
        indices = [self._index(query) for query in queries]
        self._encode([query for query, index in zip(folded, indices, strict=True) if index is None])
        groups = [
            self._encoded[query] if index is None else self._cached[index]
            for query, index in zip(folded, indices, strict=True)
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
