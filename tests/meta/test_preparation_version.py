"""A change of what is stored or refused cannot slip in under an old preparation version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from wfdb_writer import ecg_mv, write_cpsc2018, write_csn, write_mat_record, write_ptbxl, write_record

from supreme.ecg import LEADS, MIMIC_LEADS
from supreme.preparation import PREPARATION_VERSION
from supreme.records.simulated import SIMULATOR_VERSION, write_mimic_folder
from supreme.settings.data import Shards, Source
from supreme.shards import part
from supreme.shards.codec import CODECS
from supreme.shards.rows import Job

pytestmark = pytest.mark.unit

#: Versions of preparation and simulator -> digest of what :func:`_prepared` gives.
GOLDEN = {(1, 2): "432f155ea878738105d56224f9027bc50e0cb8a0012092ea1d22e53c24e41a86"}


def test_other_samples_or_verdicts_have_another_version(tmp_path: Path) -> None:
    lines = list(_prepared(tmp_path))
    assert len(lines) > 60
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    (tmp_path / "prepared.txt").write_text("\n".join(lines))
    assert {(PREPARATION_VERSION, SIMULATOR_VERSION): digest} == GOLDEN, (
        f"records give other samples, flags, fingerprints or refusals than before ({tmp_path}/prepared.txt): "
        "raise PREPARATION_VERSION in supreme/preparation.py (or, where only simulated records changed, "
        "SIMULATOR_VERSION in supreme/records/simulated.py), so that older shards are made again, and put "
        f"{digest!r} here"
    )


def _prepared(folder: Path) -> Iterator[str]:
    """A line for each record of small data sets of every layout, as stored or refused."""
    for source in _sources(folder):
        for number, codec in enumerate(CODECS):
            section = Shards(
                rate_hz=(100, 500, 250, 360)[number],
                duration_s=(10, 10, 7, 12)[number],
                compression=codec,
                derive_limb_leads=number == 3,
            )
            out = folder / "out" / source.dataset / codec
            job = Job(source, section, 0, str(out))
            part.write({"part": "train-00000", "entries": part.dump(job.open_source().index())}, job)
            for name in ("train-00000.parquet", "rejected/train-00000.parquet"):
                rows = pq.read_table(out / name).to_pylist() if (out / name).exists() else []
                yield from (_line(codec, row) for row in rows)


def _line(codec: str, row: dict[str, object]) -> str:
    names = (
        "record_id",
        "n_valid",
        "source_rate_hz",
        "codes",
        "age",
        "sex",
        "quality",
        "fingerprint",
        "reason",
    )
    fields = {name: row[name] for name in names if name in row}
    signal = row.get("signal", b"")
    assert isinstance(signal, bytes)
    return json.dumps([codec, fields, hashlib.sha256(signal).hexdigest()[:16]])


def _sources(folder: Path) -> Iterator[Source]:
    yield Source(kind="simulated", records=6)
    write_mimic_folder(str(folder / "mimic"), 4, 0)
    yield Source(kind="mimic_iv_ecg", uri=str(folder / "mimic"))
    write_csn(folder / "csn", 12)
    _damage(folder / "csn" / "WFDBRecords")
    yield Source(kind="csn", uri=str(folder / "csn"))
    write_cpsc2018(folder / "cpsc2018", ("A0001", "A0002"))
    yield Source(kind="cpsc2018", uri=str(folder / "cpsc2018"))
    write_ptbxl(folder / "ptbxl", [{"ecg_id": "1"}, {"ecg_id": "2", "strat_fold": "10"}])
    yield Source(kind="ptbxl", uri=str(folder / "ptbxl"))


def _damage(records: Path) -> None:
    """One record for each flag and refusal of a signal."""
    headers = sorted(records.rglob("*.hea"))
    comments = ["Age: 60", "Sex: Male", "Dx: 426783006"]
    ecg = ecg_mv(seed=3)
    flat, clipped, copied, still = (ecg.copy() for _ in range(4))
    flat[6] = 0
    clipped[7] = np.clip(3 * clipped[7], -9, 1.2)
    copied[8] = copied[7]
    still[:8] = 0
    one, two, three, right, left, foot, *chest = ecg
    signals = {
        "flat": (flat, LEADS, 500),
        "clipped": (clipped, LEADS, 500),
        "copied": (copied, LEADS, 500),
        "still": (still, LEADS, 500),
        "swapped": (np.stack([-one, three, two, left, right, foot, *chest]), LEADS, 500),
        "contradiction": (np.stack([one, two, two, right, left, left, *chest]), LEADS, 500),
        "mimic": (ecg[[LEADS.index(lead) for lead in MIMIC_LEADS]], MIMIC_LEADS, 500),
        "eight": (ecg[[0, 1, *range(6, 12)]], ("I", "II", *LEADS[6:]), 500),
        "short": (ecg[:, :2500], LEADS, 500),
        "too short": (ecg[:, :500], LEADS, 500),
        "400 Hz": (ecg_mv(12, 400), LEADS, 400),
    }
    for header, (signal, leads, rate_hz) in zip(headers, signals.values(), strict=False):
        write_record(header.parent, header.stem, signal, rate_hz, leads, comments=comments)
    write_mat_record(headers[-1].parent, headers[-1].stem, ecg)
