"""Retrieval between ECGs and reports: is the right one among the k most similar?

Equal reports are one report: every record that carries it is a right answer. Equal similarities count with
the probability that a random order of them would show a right answer, so that a constant model is at chance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.special import gammaln

from supreme.reports.statements import fold

KS = (1, 5, 10, 50)


class RecallAtK(BaseModel):
    """Share of queries with a right answer among the k most similar, and what a random order would give."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: int
    ecg_to_report: float
    ecg_to_report_chance: float
    report_to_ecg: float
    report_to_ecg_chance: float


class RetrievalResult(BaseModel):
    """Recall in both directions over the same records."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    records: int
    reports: int
    """Distinct ones."""
    recall: tuple[RecallAtK, ...]


def distinct(reports: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The distinct reports in order of appearance, and the number ``(N,)`` of each record's own.

    Case, white space and a full stop at the end do not count.
    """
    texts: dict[str, str] = {}
    for report in reports:
        texts.setdefault(fold(report), report)
    number = {key: index for index, key in enumerate(texts)}
    return list(texts.values()), np.array([number[fold(report)] for report in reports], int)


def recall(similarity: np.ndarray, report_of: np.ndarray, ks: Sequence[int] = KS) -> RetrievalResult:
    """Recall at each ``k`` in both directions.

    Args:
        similarity: ``(N, R)`` of ECGs and distinct reports, such as cosines of their embeddings.
        report_of: ``(N,)`` the report of each ECG, from :func:`distinct`.

    Raises:
        ValueError: no record, shapes that do not match, or a similarity that is not finite.
    """
    records, reports = similarity.shape
    if not records or len(report_of) != records or int(report_of.max()) >= reports:
        raise ValueError(f"similarity {similarity.shape} does not fit {len(report_of)} records with reports")
    if len(np.unique(report_of)) != reports:
        raise ValueError("a report belongs to none of the records: leave its column out")
    if not np.isfinite(similarity).all():
        row = int(np.argmin(np.isfinite(similarity).all(axis=1)))
        raise ValueError(f"the similarity of record {row} is not finite")
    same = np.bincount(report_of, minlength=reports)
    own = similarity[np.arange(records), report_of]
    above = (similarity > own[:, None]).sum(axis=1)
    equal = (similarity == own[:, None]).sum(axis=1)
    best = np.full(reports, -np.inf)
    np.maximum.at(best, report_of, own)
    tied_right = np.bincount(report_of, own == best[report_of], reports).astype(int)
    ecg_above = (similarity > best).sum(axis=0)
    ecg_equal = (similarity == best).sum(axis=0)
    ones = np.ones(records, int)
    rows = []
    for k in sorted(set(ks)):
        rows.append(
            RecallAtK(
                k=k,
                ecg_to_report=_mean_hit(k - above, equal, ones),
                ecg_to_report_chance=min(1.0, k / reports),
                report_to_ecg=_mean_hit(k - ecg_above, ecg_equal, tied_right),
                report_to_ecg_chance=_mean_hit(np.full(reports, k), np.full(reports, records), same),
            )
        )
    return RetrievalResult(records=records, reports=reports, recall=tuple(rows))


def cosine(ecg: np.ndarray, report: np.ndarray) -> np.ndarray:
    """Cosine ``(N, R)`` of embeddings ``(N, D)`` and ``(R, D)``."""
    a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (ecg, report))
    return a @ b.T


def _mean_hit(places: np.ndarray, candidates: np.ndarray, right: np.ndarray) -> float:
    """Mean chance that ``places`` draws out of ``candidates`` hold one of the ``right`` ones."""
    drawn = np.clip(places, 0, candidates)
    wrong = candidates - right
    # C(wrong, drawn) / C(candidates, drawn): the chance to draw wrong ones alone; gamma is infinite where
    # there are not so many.
    log_miss = gammaln(wrong + 1) - gammaln(wrong - drawn + 1)
    log_miss += gammaln(candidates - drawn + 1) - gammaln(candidates + 1)
    return float(-np.expm1(log_miss).mean())
