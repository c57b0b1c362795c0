"""Simulated ECGs with reports: the embedded default, ground truth for tests, and load at any scale.

Record i of a seed is the same whatever the number of workers, the order or the other records.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from supreme import storage
from supreme.ecg import LEADS as CONTRACT_LEADS
from supreme.ecg import MIMIC_LEADS
from supreme.records import Entry, Record
from supreme.records.simulator import beats, findings, render, report, rhythm, truth

#: Raise it whenever a record of a seed becomes another one, so that older shards are refused.
SIMULATOR_VERSION = 2
DURATION_S = 10.0
_RECORDS_PER_PATIENT = 1.3
_MIMIC_ADU_PER_MV = 200
_MIMIC_RATE_HZ = 500
_MIMIC_REPORT_COLUMNS = 18


class SimulatedSource:
    """``records`` ECGs drawn at ``rate_hz``; `codes` hold the true condition ids."""

    def __init__(self, dataset: str, records: int, seed: int, *, rate_hz: float = 100) -> None:
        self.dataset, self.records, self.seed, self.rate_hz = dataset, records, seed, round(rate_hz)

    def index(self) -> list[Entry]:
        """So many entries; some patients have two."""
        digits = max(6, len(str(self.records)))
        patients = math.ceil(self.records / _RECORDS_PER_PATIENT)
        return [
            Entry(
                record_id=f"{self.dataset}/{number:0{digits}d}",
                dataset=self.dataset,
                patient_id=f"{self.dataset}/p{number % patients:0{digits}d}",
                source_uri=f"simulated:{self.seed}/{number}",
            )
            for number in range(self.records)
        ]

    def read(self, entry: Entry) -> Record:
        """The ECG that the seed and the entry's number draw, with its report, codes, age and sex."""
        number = int(entry.record_id.rpartition("/")[2])
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, number])))
        patient = findings.draw(rng)
        activations = rhythm.draw(patient, DURATION_S, rng)
        heart = beats.Heart(patient, activations.rr_s, rng)
        codes = truth.conditions(patient, activations, heart, DURATION_S)
        text = report.write(patient, codes, rng)
        signal_mv = render.render(patient, activations, heart, DURATION_S, self.rate_hz, rng)
        complete = replace(entry, report=text, codes=codes, age=round(patient.age), sex=patient.sex)
        return Record(complete, signal_mv, CONTRACT_LEADS, float(self.rate_hz))


def write_mimic_folder(
    folder: str, records: int, seed: int, progress: Callable[[int], None] = lambda done: None
) -> None:
    """Write simulated ECGs in the layout of MIMIC-IV-ECG: tables, WFDB format 16, 200 adu/mV, aVF before aVL.

    The tables come last, so a folder that has them is complete.
    """
    source = SimulatedSource("simulated", records, seed, rate_hz=_MIMIC_RATE_HZ)
    record_rows, measurement_rows = [], []
    for number, entry in enumerate(source.index()):
        drawn = source.read(entry)
        subject = 10_000_000 + int(entry.patient_id.rpartition("p")[2])
        study = 40_000_000 + number
        path = f"files/p{subject // 10_000}/p{subject}/s{study}/{study}"
        _write_format_16(storage.join(folder, path), str(study), drawn.signal_mv)
        time = f"21{80 + number % 20}-01-01 00:00:00"
        record_rows.append((subject, study, study, time, path))
        lines = drawn.entry.report.split("\n")[:_MIMIC_REPORT_COLUMNS]
        measurement_rows.append(
            (subject, study, 1, time, *lines, *[None] * (_MIMIC_REPORT_COLUMNS - len(lines)))
        )
        progress(number + 1)
    reports = [f"report_{n}" for n in range(_MIMIC_REPORT_COLUMNS)]
    tables = {
        "machine_measurements.csv": (
            ["subject_id", "study_id", "cart_id", "ecg_time", *reports],
            measurement_rows,
        ),
        "record_list.csv": (["subject_id", "study_id", "file_name", "ecg_time", "path"], record_rows),
    }
    for name, (columns, rows) in tables.items():
        text = pd.DataFrame(rows, columns=columns).to_csv(index=False)
        storage.write_bytes(storage.join(folder, name), text.encode())


def _write_format_16(uri: str, name: str, signal_mv: np.ndarray) -> None:
    rows = [signal_mv[CONTRACT_LEADS.index(lead)] for lead in MIMIC_LEADS]
    # -32768 says "no value" in this format.
    digital = np.clip(np.rint(np.stack(rows) * _MIMIC_ADU_PER_MV), -32767, 32767).astype("<i2")
    header = io.StringIO()
    header.write(f"{name} {len(digital)} {_MIMIC_RATE_HZ} {digital.shape[1]}\n")
    for lead, row in zip(MIMIC_LEADS, digital, strict=True):
        checksum = int(row.astype(np.int64).sum()) & 0xFFFF
        checksum -= 65536 if checksum >= 32768 else 0
        header.write(f"{name}.dat 16 {_MIMIC_ADU_PER_MV}(0)/mV 16 0 {row[0]} {checksum} 0 {lead}\n")
    storage.write_bytes(f"{uri}.dat", digital.T.tobytes())
    storage.write_bytes(f"{uri}.hea", header.getvalue().encode())
