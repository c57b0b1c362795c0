"""Plates for judgement: an ECG shaded by what a score comes from, and suspect labels for a cardiologist."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from supreme import storage
from supreme.evaluation import label_verdicts
from supreme.evaluation.label_audit import Suspect
from supreme.reporting import examples
from supreme.reporting.plates import COLUMN_S, MARGIN_MM, MM_PER_SECOND, plate
from supreme.shards.read import ShardDataset

SHEET = "verdicts.csv"
_SHADE = "#c2410c"
_BAND_S = 0.05


def shaded(signal_mv: np.ndarray, rate_hz: float, importance: np.ndarray) -> Figure:
    """A plate with darker bands of time where a map ``(T,)`` is larger, and none where it is negative."""
    figure = plate(signal_mv, rate_hz)
    drawn = importance[: round(4 * COLUMN_S * rate_hz)]
    band_of = (np.arange(len(drawn)) / rate_hz / _BAND_S).astype(int)
    means = np.bincount(band_of, drawn) / np.maximum(np.bincount(band_of), 1)
    largest = means.max(initial=0.0)
    for band in np.flatnonzero(means > 0):
        left_mm = MARGIN_MM + band * _BAND_S * MM_PER_SECOND
        alpha = 0.55 * float(means[band] / largest)
        figure.axes[0].axvspan(
            left_mm, left_mm + _BAND_S * MM_PER_SECOND, color=_SHADE, alpha=alpha, lw=0, zorder=0.5
        )
    return figure


def write_suspects(folder: str, benchmark: str, suspects: Sequence[Suspect], shards: ShardDataset) -> str:
    """Write a plate (PNG) for each suspect label and the CSV to fill in; the CSV's URI."""
    ecgs = examples.load(shards, [item.record_id for item in suspects])
    plates = {}
    for rank, item in enumerate(suspects, 1):
        ecg = ecgs[item.record_id]
        name = f"plates/{rank:02d}.png"
        figure = plate(ecg.signal_mv, ecg.rate_hz)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=144, metadata={"Software": None})
        storage.write_bytes(storage.join(folder, name), buffer.getvalue())
        plates[item.record_id] = name
    uri = storage.join(folder, SHEET)
    storage.write_bytes(uri, label_verdicts.sheet(benchmark, suspects, plates).encode())
    return uri
