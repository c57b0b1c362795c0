"""Label-noise audit: the labels that probes of other patients disagree with most.

Confident learning (Northcutt, Jiang and Chuang 2021, JAIR 70:1373), one binary problem a class. Labels are
ranked by self-confidence: the probability of the label that is there, the lowest first. The package cleanlab
does the same, but its licence (AGPL) keeps it out of this one. Of labels that were flipped at random, this
order finds three quarters; that by margins over a class's mean probability, one fifth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.special import expit

from supreme.evaluation.benchmarks import NEGATIVE, POSITIVE, Benchmark
from supreme.evaluation.embeddings import Embeddings
from supreme.evaluation.logistic import GRID, fit_logits, has_both
from supreme.evaluation.probes import CannotProbe, class_aurocs, features_of

FOLDS = 5


@dataclass(frozen=True)
class Suspect:
    """A label that is probably wrong."""

    record_id: str
    patient: str
    class_name: str
    label: int
    """1 or 0, as annotated."""
    probability: float
    """Of a positive, by probes that have not seen the patient."""
    doubt: float
    """Probability of the opposite label."""


class AuditedClass(BaseModel):
    """What the audit says about one class."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    positives: int
    negatives: int
    auroc: float | None
    """Of the out-of-fold probabilities; None: a fold could not be fitted, and nothing is ranked."""
    suspect_positives: int
    """Positive labels of records that are as probably negative as the average negative: the confident joint
    of Northcutt et al."""
    suspect_negatives: int
    """Negative labels of records that are as probably positive as the average positive."""


def out_of_fold(
    embeddings: Embeddings, benchmark: Benchmark, seed: int, *, allow_missing: bool = False
) -> np.ndarray:
    """Probabilities ``(N, C)`` of each record by probes that were trained on other patients.

    The smallest log loss out of fold selects the strength of regularisation. NaN for a class that some fold
    cannot fit.

    Raises:
        CannotProbe: no class can be fitted.
        ValueError: a record has no embedding, or one that is not finite; the message names it.
    """
    values = features_of(embeddings, benchmark, allow_missing)
    _, patient_of = np.unique(np.asarray(benchmark.patients), return_inverse=True)
    patients = int(patient_of.max(initial=-1)) + 1
    if patients < FOLDS:
        raise CannotProbe(f"{benchmark.dataset}: an audit needs {FOLDS} patients, here are {patients}")
    rng = np.random.default_rng(seed)
    fold_of = (rng.permutation(patients) % FOLDS)[patient_of]
    logits = np.full((len(GRID), *benchmark.labels.shape), np.nan)
    for fold in range(FOLDS):
        train, test = fold_of != fold, fold_of == fold
        logits[:, test] = fit_logits(values[train], benchmark.labels[train], (values[test],))[0]
    fitted = np.isfinite(logits).all(axis=(0, 1))
    if not fitted.any():
        raise CannotProbe(f"{benchmark.dataset}: no class has a positive and a negative in every fold")
    annotated = (benchmark.labels >= 0) & fitted
    signs = np.where(benchmark.labels == POSITIVE, -1, 1)[annotated]
    losses = [np.logaddexp(0, signs * part[annotated]).mean() for part in logits]
    return np.where(fitted, expit(logits[int(np.argmin(losses))]), np.nan)


def suspects(probabilities: np.ndarray, benchmark: Benchmark) -> list[Suspect]:
    """Every annotated label of the classes that have probabilities, the most suspect first.

    Args:
        probabilities: ``(N, C)`` by models that have not seen these labels: :func:`out_of_fold`, or zero-shot
            scores; NaN in a class that is left out.
    """
    labels = benchmark.labels
    doubts = np.where(labels == POSITIVE, 1 - probabilities, probabilities)
    rows, columns = np.nonzero((labels >= 0) & _ranked_classes(probabilities, labels))
    ranked = [
        Suspect(
            benchmark.record_ids[row],
            benchmark.patients[row],
            benchmark.classes[c],
            int(labels[row, c]),
            float(probabilities[row, c]),
            float(doubts[row, c]),
        )
        for row, c in zip(rows, columns, strict=True)
    ]
    return sorted(ranked, key=lambda item: (-item.doubt, item.record_id, item.class_name))


def audited_classes(probabilities: np.ndarray, benchmark: Benchmark) -> dict[str, AuditedClass]:
    """Counts of each class."""
    ranked = _ranked_classes(probabilities, benchmark.labels)
    aurocs = class_aurocs(np.where(ranked, probabilities, np.nan), benchmark.labels)
    classes = {}
    for c, name in enumerate(benchmark.classes):
        p, positive = probabilities[:, c], benchmark.labels[:, c] == POSITIVE
        negative = benchmark.labels[:, c] == NEGATIVE
        classes[name] = AuditedClass(
            positives=benchmark.positives(c),
            negatives=benchmark.negatives(c),
            auroc=float(aurocs[c]) if ranked[c] else None,
            suspect_positives=int((positive & (p <= p[negative].mean())).sum()) if ranked[c] else 0,
            suspect_negatives=int((negative & (p >= p[positive].mean())).sum()) if ranked[c] else 0,
        )
    return classes


def first_of_each_class(ranked: Sequence[Suspect], count: int) -> list[Suspect]:
    """At most ``count`` suspects, in turns: the worst of every class, then the next, no record twice."""
    place_of: dict[str, int] = {}
    rounds = []
    for position, item in enumerate(ranked):
        place = place_of.get(item.class_name, 0)
        place_of[item.class_name] = place + 1
        rounds.append((place, position))
    selected: dict[str, Suspect] = {}
    for _, position in sorted(rounds):
        selected.setdefault(ranked[position].record_id, ranked[position])
    return list(selected.values())[:count]


def _ranked_classes(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which classes ``(C,)`` have a probability for every record, a positive and a negative."""
    return np.isfinite(probabilities).all(axis=0) & has_both(labels)


@dataclass(frozen=True)
class LabelAudit:
    """What an audit says about a benchmark, and the labels that a cardiologist should look at first."""

    classes: dict[str, AuditedClass]
    first: tuple[Suspect, ...]


def audit(
    embeddings: Embeddings, benchmark: Benchmark, seed: int, count: int = 20, *, allow_missing: bool = False
) -> LabelAudit:
    """Audit the labels of a benchmark by probes on embeddings.

    Args:
        count: suspects to look at, no record twice and every class in turn.

    Raises:
        CannotProbe: no class can be fitted.
        ValueError: a record has no embedding, or one that is not finite; the message names it.
    """
    probabilities = out_of_fold(embeddings, benchmark, seed, allow_missing=allow_missing)
    ranked = suspects(probabilities, benchmark)
    return LabelAudit(audited_classes(probabilities, benchmark), tuple(first_of_each_class(ranked, count)))
