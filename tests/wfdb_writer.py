"""Plausible ECGs, written as the data sets' own layouts: material for the tests of loaders and shards."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import wfdb
from scipy.io import savemat

from supreme.ecg import LEADS

PTBXL_COLUMNS = (
    "ecg_id patient_id age sex report scp_codes strat_fold filename_lr filename_hr".split()  # noqa: SIM905
)


def ecg_mv(seconds: float = 10.0, rate_hz: float = 500, seed: int = 0) -> np.ndarray:
    """``(12, T)`` float32 millivolts in contract order: beats, noise, and limb leads that obey Einthoven."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    phase = (time_s % rng.uniform(0.7, 1.1))[None]
    independent = np.zeros((8, len(time_s)))
    for centre_s, width_s, size_mv in ((0.15, 0.02, 0.12), (0.3, 0.012, 1.0), (0.5, 0.04, 0.25)):
        vector = rng.uniform(0.4, 1.0, (8, 1)) * size_mv
        independent += vector * np.exp(-0.5 * ((phase - centre_s) / width_s) ** 2)
    independent += rng.normal(0, 0.01, independent.shape)
    one, two, chest = independent[0], independent[1], independent[2:]
    limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    return np.vstack([*limb, chest]).astype(np.float32)


def write_record(
    folder: Path,
    name: str,
    signal_mv: np.ndarray,
    rate_hz: float = 500,
    leads: Sequence[str] = LEADS,
    gain: float = 1000.0,
    comments: Sequence[str] = (),
) -> Path:
    """Write `<name>.hea` and `<name>.dat` (format 16); returns the header's path."""
    folder.mkdir(parents=True, exist_ok=True)
    wfdb.wrsamp(
        name,
        fs=rate_hz,
        units=["mV"] * len(leads),
        sig_name=list(leads),
        p_signal=signal_mv.T.astype(np.float64),
        fmt=["16"] * len(leads),
        adc_gain=[gain] * len(leads),
        baseline=[0] * len(leads),
        comments=list(comments),
        write_dir=str(folder),
    )
    return folder / f"{name}.hea"


def write_mat_record(folder: Path, name: str, signal_mv: np.ndarray, leads: Sequence[str] = LEADS) -> Path:
    """Write `<name>.hea` and `<name>.mat` (MATLAB 4) as the Challenges do; returns the header's path."""
    steps = np.rint(signal_mv.astype(np.float64) * 1000).astype(np.int16)
    folder.mkdir(parents=True, exist_ok=True)
    savemat(folder / f"{name}.mat", {"val": steps}, format="4")
    lines = [f"{name} {len(leads)} 500 {steps.shape[1]}"]
    for lead, row in zip(leads, steps, strict=True):
        checksum = int(row.sum(dtype=np.int16))
        lines.append(f"{name}.mat 16+24 1000/mV 16 0 {row[0]} {checksum} 0 {lead}")
    header = folder / f"{name}.hea"
    header.write_text("\n".join([*lines, "#Age: 73", "#Sex: Female", "#Dx: 59118001"]) + "\n")
    return header


def write_csn(folder: Path, records: int, seconds: float = 10.0) -> list[Path]:
    """A CSN folder of so many records; returns the headers' paths."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ConditionNames_SNOMED-CT.csv").write_text("Acronym Name,Full Name,Snomed_CT\n")
    comments = ["Age: 71", "Sex: Female", "Dx: 427172004,10370003"]
    place = folder / "WFDBRecords" / "01" / "010"
    names = [f"JS{number:05d}" for number in range(1, records + 1)]
    return [
        write_record(place, name, ecg_mv(seconds, seed=seed), comments=comments)
        for seed, name in enumerate(names)
    ]


def write_cpsc2018(folder: Path, names: Sequence[str]) -> None:
    """A CPSC2018 folder with a struct for each name; A0001 has the classes 5 and 8, A0002 1, others none."""
    (folder / "TrainingSet1").mkdir(parents=True)
    rows = ["Recording,First_label,Second_label,Third_label", "A0001,5,8,", "A0002,1,,"]
    (folder / "REFERENCE.csv").write_text("\n".join(rows) + "\n")
    for seed, name in enumerate(names):
        ecg = {"sex": "Male", "age": 52, "data": ecg_mv(6, seed=seed)}
        savemat(folder / "TrainingSet1" / f"{name}.mat", {"ECG": ecg}, do_compression=True)


def write_ptbxl(folder: Path, rows: Sequence[dict[str, str]], seconds: float = 10.0) -> None:
    """A PTB-XL folder: the table with ``rows`` over the defaults, and a 500 Hz record for each."""
    table = []
    for number, row in enumerate(rows, start=1):
        stem = f"{number:05d}"
        defaults = {
            "ecg_id": str(number),
            "patient_id": f"{1000 + number}.0",
            "age": "56.0",
            "sex": "1",
            "report": "sinusrhythmus normales ekg",
            "scp_codes": "{'NORM': 100.0, 'SR': 0.0}",
            "strat_fold": str(1 + (number - 1) % 10),
            "filename_lr": f"records100/00000/{stem}_lr",
            "filename_hr": f"records500/00000/{stem}_hr",
        }
        table.append(defaults | row)
        write_record(folder / "records500" / "00000", f"{stem}_hr", ecg_mv(seconds, seed=number))
    with open(folder / "ptbxl_database.csv", "w", newline="") as stream:
        writer = csv.DictWriter(stream, PTBXL_COLUMNS)
        writer.writeheader()
        writer.writerows(table)
