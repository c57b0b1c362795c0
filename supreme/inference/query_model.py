"""A trained model that answers text queries about ECGs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from supreme import ecg
from supreme.inference import signal_check
from supreme.inference.bundle import files, loader
from supreme.inference.convention import InputConvention
from supreme.inference.folder_reader import read_ecg_file
from supreme.inference.provenance import Provenance
from supreme.inference.query_embeddings import QueryEmbeddings
from supreme.inference.windows import windows_uv
from supreme.models.supreme import SupremeModel
from supreme.reports.vocabulary import Vocabulary

BATCH_SIZE = 64


class EcgQueryModel:
    """Answers text queries about 12-lead ECGs: the probability that what a query names is present.

    Args:
        convention: what the model expects of its inputs.
        objective: what it was trained by, as in `training.objective`.
        trained_on: the recordings that it has seen; None where its bundle does not say.
        quality_checked: every record that will be scored has passed `quality.check` already, as those of
            shards have; type, shape, unit and rate are looked at all the same.
    """

    def __init__(
        self,
        model: SupremeModel,
        queries: QueryEmbeddings,
        convention: InputConvention,
        objective: str,
        trained_on: Provenance | None = None,
        *,
        quality_checked: bool = False,
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.queries, self.convention, self.objective = queries, convention, objective
        self.trained_on = trained_on
        self.quality_checked = quality_checked

    @classmethod
    def from_bundle(cls, folder: str, expected: str = "", *, quality_checked: bool = False) -> EcgQueryModel:
        """Load a bundle from a local folder or s3:// prefix onto the CPU.

        Args:
            expected: the digest that the bundle is known to have; any when empty.

        Raises:
            BundleError: a file is missing, changed or damaged, or none of a bundle's; the message names it.
        """
        return cls.from_files(files.read(folder, expected), quality_checked=quality_checked)

    @classmethod
    def from_files(cls, content: files.BundleFiles, *, quality_checked: bool = False) -> EcgQueryModel:
        """Load the verified bytes of a bundle onto the CPU.

        Raises:
            BundleError: a file is damaged, or two contradict each other.
        """
        loaded = loader.load(content)
        config = loaded.config
        queries = QueryEmbeddings(
            loaded.vocabulary, loaded.query_texts, loaded.query_embeddings, loaded.whitening, config.text
        )
        return cls(
            loaded.model,
            queries,
            config.input,
            config.objective,
            loaded.trained_on,
            quality_checked=quality_checked,
        )

    @property
    def vocabulary(self) -> Vocabulary:
        """The entities that were queries of pre-training."""
        return self.queries.vocabulary

    def known_entity(self, query: str) -> str:
        """Id of the vocabulary entity that a query names, by its names or in everyday words.

        "" for an unseen query: its own words are encoded.
        """
        index = self.queries.entity_index(query)
        return "" if index is None else self.vocabulary.ids[index]

    def understand(self, queries: Sequence[str]) -> list[str]:
        """For each query the entity that `score` scores, as `known_entity` gives it."""
        return [self.known_entity(query) for query in queries]

    def score(self, ecg_mv: np.ndarray, rate_hz: float, queries: Sequence[str]) -> np.ndarray:
        """Probabilities float32 ``(B, Q)`` in [0, 1]; see :meth:`logits`."""
        return (1 / (1 + np.exp(-self.logits(ecg_mv, rate_hz, queries)))).astype(np.float32)

    def score_files(self, uris: Sequence[str], queries: Sequence[str]) -> np.ndarray:
        """Probabilities float32 ``(B, Q)`` of ECG files of any known format, local or on S3.

        A WFDB record is its header (``r1.hea``), a record of an array ``exams_part0.hdf5/12``.

        Raises:
            ValueError: a file cannot be used; the message names it and the reason.
        """
        ecgs = map(read_ecg_file, uris)
        scores = [self.score(one.signal_mv[None], one.rate_hz, queries) for one in ecgs]
        return np.concatenate(scores) if scores else np.zeros((0, len(queries)), np.float32)

    def logits(self, ecg_mv: np.ndarray, rate_hz: float, queries: Sequence[str]) -> np.ndarray:
        """Logits float64 ``(B, Q)``: positive where what a query names is more likely present than not.

        A query of the vocabulary is asked in all its phrasings and the logits are averaged; any other text is
        encoded by the text encoder of training. Records longer than the model's window are scored on up to
        six windows spread evenly over the record, and the logits averaged.

        Args:
            ecg_mv: float ``(B, 12, T)`` in millivolts, leads in the order of ``ecg.LEADS``, at least two
                seconds.
            rate_hz: sampling rate of ``ecg_mv``, 50 to 20,000 Hz.

        Raises:
            ValueError: no query, another type, shape, unit or rate, or a record that `quality.check` refuses
                (too short, flat, NaN, absurd amplitudes); the message gives its index and the remedy.
        """
        records = signal_check.as_millivolts(ecg_mv, rate_hz)
        rate_hz = float(rate_hz)
        if not self.quality_checked:
            signal_check.check_quality(records, rate_hz)
        embeddings, owner = self.queries.embed(queries)
        windows = [windows_uv(record, rate_hz, self.convention) for record in records]
        logits = self._logits(ecg.to_millivolts(np.concatenate(windows)), embeddings)
        per_record = logits.reshape(len(records), -1, len(owner)).mean(1)
        per_query = np.stack([per_record[:, owner == index].mean(1) for index in range(owner[-1] + 1)], 1)
        if not np.isfinite(per_query).all():
            bad = int(np.flatnonzero(~np.isfinite(per_query).all(1))[0])
            raise ValueError(f"record {bad}: the model gives no number; its weights are damaged or diverged")
        return per_query

    @torch.inference_mode()
    def _logits(self, windows: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
        device = next(self.model.parameters()).device
        queries = torch.from_numpy(embeddings).to(device)
        batches = torch.from_numpy(windows.astype(np.float32)).split(BATCH_SIZE)
        return torch.cat([self.model(b.to(device), queries).float().cpu() for b in batches]).double().numpy()
