"""A trained model that answers text queries about ECGs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from supreme import ecg
from supreme.inference import signal_check
from supreme.inference.attention_map import attention
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

    def to(self, device: str | torch.device) -> EcgQueryModel:
        """Move the weights to a device, such as "cuda"; the model itself is returned.

        Raises:
            ValueError: this machine has no such device.
        """
        try:
            self.model.to(torch.device(device))
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"device={str(device)!r} cannot be used here ({reason}): give 'cpu'") from None
        return self

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def score(
        self,
        ecg_mv: np.ndarray,
        rate_hz: float,
        queries: Sequence[str],
        *,
        leads: Sequence[str] = ecg.LEADS,
    ) -> np.ndarray:
        """Probabilities float32 ``(B, Q)`` in [0, 1]; see :meth:`logits`."""
        return probabilities(self.logits(ecg_mv, rate_hz, queries, leads=leads))

    def score_files(self, uris: Sequence[str], queries: Sequence[str]) -> np.ndarray:
        """Probabilities float32 ``(B, Q)`` of ECG files of any known format, local or on S3.

        A WFDB record is its header (``r1.hea``), a record of an array ``exams_part0.hdf5/12``.

        Raises:
            ValueError: a file cannot be used; the message names it and the reason.
        """
        ecgs = map(read_ecg_file, uris)
        scores = [self.score(one.signal_mv[None], one.rate_hz, queries) for one in ecgs]
        return np.concatenate(scores) if scores else np.zeros((0, len(queries)), np.float32)

    def logits(
        self,
        ecg_mv: np.ndarray,
        rate_hz: float,
        queries: Sequence[str],
        *,
        leads: Sequence[str] = ecg.LEADS,
    ) -> np.ndarray:
        """Logits float64 ``(B, Q)``: positive where what a query names is more likely present than not.

        A query of the vocabulary is asked in all its phrasings and the logits are averaged; any other text is
        encoded by the text encoder of training. Records longer than the model's window are scored on up to
        six windows spread evenly over the record, and the logits averaged. Signals are rounded to microvolts,
        as those of files are, so that both give the same numbers.

        Args:
            ecg_mv: float ``(B, 12, T)`` in millivolts, at least two seconds.
            rate_hz: sampling rate of ``ecg_mv``, 50 to 20,000 Hz.
            leads: names of the channels in their order, in any spelling; a minus turns one.

        Raises:
            ValueError: no query, another type, shape, unit or rate, or a record that `quality.check` refuses
                (too short, flat, NaN, absurd amplitudes); the message gives its index and the remedy.
        """
        return self.logits_of_windows(self._windows(ecg_mv, rate_hz, leads), queries)

    def embed(self, ecg_mv: np.ndarray, rate_hz: float, *, leads: Sequence[str] = ecg.LEADS) -> np.ndarray:
        """Embeddings float32 ``(B, D)``: the mean of the encoder's tokens; arguments as of :meth:`logits`."""
        windows = self._windows(ecg_mv, rate_hz, leads)
        return _by_record(self._run(windows, self._mean_tokens), windows).astype(np.float32)

    def attention(
        self, ecg_mv: np.ndarray, rate_hz: float, query: str, *, leads: Sequence[str] = ecg.LEADS
    ) -> np.ndarray:
        """Attention ``(B, T)`` of a query to the samples of each record; see `attention_map.attention`.

        Raises:
            ValueError: as :meth:`logits`, or the model has no fusion network.
        """
        records = self._checked(ecg_mv, rate_hz, leads)
        return np.stack([attention(self, record, float(rate_hz), query) for record in records])

    def logits_of_windows(self, windows: Sequence[np.ndarray], queries: Sequence[str]) -> np.ndarray:
        """Logits float64 ``(B, Q)`` of records that are cut into windows already.

        Args:
            windows: of each record, int16 microvolts ``(W, 12, samples)`` as of `windows_uv`.
        """
        embeddings, owner = self.queries.embed(queries)
        texts = torch.from_numpy(embeddings).to(self.device)
        per_record = _by_record(self._run(windows, lambda batch: self.model(batch, texts)), windows)
        per_query = np.stack([per_record[:, owner == index].mean(1) for index in range(owner[-1] + 1)], 1)
        if not np.isfinite(per_query).all():
            bad = int(np.flatnonzero(~np.isfinite(per_query).all(1))[0])
            raise ValueError(f"record {bad}: the model gives no number; its weights are damaged or diverged")
        return per_query

    def _windows(self, ecg_mv: np.ndarray, rate_hz: float, leads: Sequence[str]) -> list[np.ndarray]:
        records = self._checked(ecg_mv, rate_hz, leads)
        return [windows_uv(ecg.to_microvolts(one), float(rate_hz), self.convention) for one in records]

    def _checked(self, ecg_mv: np.ndarray, rate_hz: float, leads: Sequence[str]) -> np.ndarray:
        """Records float32 ``(B, 12, T)`` in the order of `ecg.LEADS`."""
        records = signal_check.as_millivolts(ecg_mv, rate_hz)
        if tuple(leads) != ecg.LEADS:
            records = signal_check.in_lead_order(records, leads)
        if not self.quality_checked:
            signal_check.check_quality(records, float(rate_hz))
        return records

    def _mean_tokens(self, batch: Tensor) -> Tensor:
        return self.model.encode(batch).float().mean(1)

    @torch.inference_mode()
    def _run(self, windows: Sequence[np.ndarray], network: Callable[[Tensor], Tensor]) -> np.ndarray:
        """What a part of the network says of all windows, float64 ``(N, ...)``."""
        batches = torch.from_numpy(ecg.to_millivolts(np.concatenate(windows))).split(BATCH_SIZE)
        results = [network(batch.to(self.device)).float().cpu() for batch in batches]
        return torch.cat(results).double().numpy()


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Logits of any shape to float32 in [0, 1]."""
    return (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)


def _by_record(values: np.ndarray, windows: Sequence[np.ndarray]) -> np.ndarray:
    """The mean over the windows of each record."""
    ends = np.cumsum([len(one) for one in windows])
    return np.stack([part.mean(0) for part in np.split(values, ends[:-1])])
