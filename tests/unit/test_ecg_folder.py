"""A folder of ECG files of several formats: what is listed, read, hashed, stored and refused."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import format_writers as write
import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny_bundle
from wfdb_writer import ecg_mv, write_record

from supreme import config
from supreme.config import ConfigError
from supreme.ecg import LEADS, BadRecord, order_leads
from supreme.inference.folder_reader import FolderReader
from supreme.inference.query_model import EcgQueryModel
from supreme.preparation import check_record
from supreme.records import Entry, RecordSource, open_source, split_of
from supreme.records.ecg_files import SALT
from supreme.settings.data import Shards, Source
from supreme.settings.evaluation import Predict
from supreme.shards import leakage, part, scales
from supreme.shards.rows import Job

pytestmark = pytest.mark.unit

CODE15_LEADS = ["DI", "DII", "DIII", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6"]
ONE_RECORDING = [
    "aecg_hl7_500hz.xml",
    "dicom_12lead_500hz_implicit.dcm",
    "edf_12lead_500hz.edf",
    "scp_500hz_huffman.scp",
]
#: What no output may hold.
PLANTED = (
    "Zebrowski",
    "Quentin",
    "19431127",
    "27-11-1943",
    "Lindenstrasse",
    "PID-778899",
    "Dr. Frankenfurter",
)


def _open(folder: Path, kind: str = "ecg_folder", **fields: object) -> RecordSource:
    return open_source(config.Source(kind=kind, name="h", uri=str(folder), **fields), 0, 100)


def _by_id(source: RecordSource) -> dict[str, Entry]:
    return {entry.record_id.partition("/")[2]: entry for entry in source.index()}


def _ordered(source: RecordSource, entry: Entry) -> np.ndarray:
    return check_record(source.read(entry)).signal_mv


def _write_shard(folder: Path, out: Path, **settings: object) -> tuple[list[dict], list[dict]]:
    """Rows of shards and of refused records of all entries together."""
    source = Source(kind="ecg_folder", name="h", uri=str(folder))
    job = Job(source, Shards(**settings), 0, str(out))
    part.write({"part": "train-00000", "entries": part.dump(job.open_source().index())}, job)
    files = out / "train-00000.parquet", out / "rejected" / "train-00000.parquet"
    stored, refused = (pq.read_table(file).to_pylist() if file.exists() else [] for file in files)
    return stored, refused


def _exams(path: Path, signals_mv: dict[int, np.ndarray], factor: float = 1.0) -> None:
    """CODE-15's layout: (N, 4096, 12), filled up with zeros before and after, and an empty last row."""
    tracings = np.zeros((len(signals_mv) + 1, 4096, 12), np.float32)
    for row, signal_mv in enumerate(signals_mv.values()):
        start = (4096 - signal_mv.shape[1]) // 2
        tracings[row, start : start + signal_mv.shape[1]] = signal_mv.T * factor
    with h5py.File(path, "w") as file:
        file.create_dataset("tracings", data=tracings, chunks=(1, 4096, 12), compression="gzip")
        file["exam_id"] = [*signals_mv, 0]


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Six formats at several depths, and what is no ECG."""
    signal_mv = ecg_mv(4.0)
    deep = tmp_path / "ward" / "7"
    deep.mkdir(parents=True)
    (deep / "a.bin").write_bytes(write.dicom([write.dicom_group(signal_mv)]))
    (deep / "a.xml").write_bytes(write.muse(signal_mv, 500))
    (tmp_path / "no ending").write_bytes(write.aecg(signal_mv))
    (tmp_path / "b.edf").write_bytes(write.edf(signal_mv))
    (tmp_path / "c.scp").write_bytes(write.scp(signal_mv))
    write_record(deep, "w", signal_mv, comments=["Age: 44", "Sex: Female"])
    _exams(tmp_path / "exams_part0.hdf5", {11: ecg_mv(7.0, 400), 12: ecg_mv(10.0, 400, seed=1)})
    (tmp_path / "scan.pdf").write_bytes(b"%PDF-1.4")
    (tmp_path / "README.md").write_text("# ours")
    (tmp_path / ".hidden.xml").write_text("x")
    return tmp_path


def test_every_format_is_read_from_one_folder(mixed: Path) -> None:
    source = _open(mixed, unit="mV")
    entries = _by_id(source)
    assert sorted(entries) == [
        *("b.edf", "c.scp", "exams_part0.hdf5/11", "exams_part0.hdf5/12", "no ending", "scan.pdf"),
        *("ward/7/a.bin", "ward/7/a.xml", "ward/7/w"),
    ]
    with pytest.raises(BadRecord, match="unknown_format: a PDF"):
        source.read(entries.pop("scan.pdf"))
    for name in ("b.edf", "c.scp", "no ending", "ward/7/a.bin", "ward/7/a.xml", "ward/7/w"):
        np.testing.assert_allclose(_ordered(source, entries[name]), ecg_mv(4.0), atol=5e-3)
    record = source.read(entries["ward/7/w"]).entry
    assert (record.source_uri, record.age, record.sex) == (f"{mixed}/ward/7/w", 44.0, "F")
    reader = FolderReader.of(Predict(uri=str(mixed)))
    rows = [row for unit in range(len(reader.units)) for row in reader.read(unit)[0].to_pylist()]
    reasons = Counter(row["reason"] for row in rows)
    assert reasons == {"": 8, "unknown_format": 2}, "predict lists texts as well"


def test_padding_of_code15_is_cut_by_content(mixed: Path) -> None:
    source = _open(mixed)
    entries = _by_id(source)
    for exam, signal_mv in ((11, ecg_mv(7.0, 400)), (12, ecg_mv(10.0, 400, seed=1))):
        record = source.read(entries[f"exams_part0.hdf5/{exam}"])
        assert (record.rate_hz, list(record.leads)) == (400.0, CODE15_LEADS)
        np.testing.assert_allclose(order_leads(record.signal, record.leads)[0], signal_mv, atol=1e-6)


def test_the_unit_of_an_array_is_a_setting_and_missed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    signal_mv = ecg_mv(7.0, 400)
    _exams(tmp_path / "e.hdf5", {11: signal_mv}, factor=10.0)
    with caplog.at_level("WARNING", "supreme"):
        source = _open(tmp_path, unit="1e-4 V")
        np.testing.assert_allclose(_ordered(source, source.index()[0]), signal_mv, atol=1e-3)
        assert "unit of their samples" not in caplog.text
        _open(tmp_path).index()
    assert "1 files do not say the unit of their samples (e.hdf5): taken as mV; set unit=mV" in caplog.text
    with pytest.raises(ConfigError, match="unit '3 bananas' is no voltage"):
        config.parse({"sources": [{"kind": "ecg_folder", "uri": "x", "unit": "3 bananas"}]})


def test_exams_without_ids_take_those_of_their_table(tmp_path: Path) -> None:
    _exams(tmp_path / "exams.hdf5", {11: ecg_mv(7.0, 400), 12: ecg_mv(8.0, 400)})
    with h5py.File(tmp_path / "exams.hdf5", "r+") as file:
        del file["exam_id"]
    (tmp_path / "exams.csv").write_text("exam_id,age,is_male\n901,50,True\n77,61,False\n5,1,True\n")
    source = _open(tmp_path, table="exams.csv")
    entries = _by_id(source)
    assert {name: entry.age for name, entry in entries.items()} == {"5": 1.0, "77": 61.0, "901": 50.0}
    assert source.read(entries["901"]).signal.shape == (12, 2800)
    assert source.read(entries["77"]).signal.shape == (12, 3200)
    with pytest.raises(BadRecord, match="flat_leads"):
        source.read(entries["5"])


@pytest.mark.real
def test_real_layout_of_code15(formats: Path, tmp_path: Path) -> None:
    for name in ("exams_part0.hdf5", "exams.csv"):
        (tmp_path / name).symlink_to(formats / name)
    source = _open(formats, "code15", unit="mV")
    entries = _by_id(source)
    values = {
        "1001": (
            4000,
            (0.06619, 0.06168, 0.04323, 0.05364, 0.04749),
            (0.01383, 0.03609, 0.02383, 0.01686, 0.02504),
        ),
        "1002": (
            *(2800, (-0.00438, -0.00534, -0.00458, -0.00696, -0.0094)),
            (0.12349, 0.13592, 0.12254, 0.12048, 0.10708),
        ),
    }
    assert [*entries] == ["1001", "1002", "1003"]
    for exam, (samples, first, second) in values.items():
        record = source.read(entries[exam])
        signal_mv, _ = order_leads(record.signal, record.leads)
        assert signal_mv.shape == (12, samples)
        np.testing.assert_allclose(signal_mv[0, :5], first, atol=1e-5)
        np.testing.assert_allclose(signal_mv[LEADS.index("V2"), :5], second, atol=1e-5)
    assert check_record(source.read(entries["1003"])).flags == ["flat:aVR"]
    one = entries["1002"]
    assert (one.patient_id, one.age, one.sex, one.codes) == ("h/2", 50.0, "M", ("abnormal_ecg",))


@pytest.mark.parametrize("axes", ["records, leads, samples", "records, samples, leads", "one record"])
def test_arrays_with_a_layout(tmp_path: Path, axes: str) -> None:
    signals_uv = np.stack([ecg_mv(4.0, 250, seed=seed) * 1000 for seed in (1, 2)])
    order = [*LEADS[::-1]]
    stored = signals_uv[:, ::-1]
    array = {"records, samples, leads": stored.transpose(0, 2, 1), "one record": stored[0]}.get(axes, stored)
    np.save(tmp_path / "x.npy", np.ascontiguousarray(array))
    (tmp_path / "x.toml").write_text(f'leads = {json.dumps(order)}\nrate_hz = 250\nunit = "uV"\n')
    source = _open(tmp_path)
    entries = _by_id(source)
    assert [*entries] == (["x.npy"] if axes == "one record" else ["x.npy/0", "x.npy/1"])
    for number, entry in enumerate(entries.values()):
        np.testing.assert_allclose(_ordered(source, entry) * 1000, signals_uv[number], atol=0.51)
    (tmp_path / "x.toml").write_text('leads = ["I"]\nrate = 3\n')
    from supreme.records.formats.arrays import open_array

    open_array.cache_clear()
    with pytest.raises(ConfigError, match=r"x.toml: rate_hz: Field required; rate: unknown key"):
        _open(tmp_path).index()


def test_rate_and_leads_of_an_array_are_not_guessed(tmp_path: Path) -> None:
    signal_mv = ecg_mv(4.0, 500)
    np.save(tmp_path / "x.npy", signal_mv)
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["tracings"] = signal_mv.T[None]
    source = _open(tmp_path)
    for name, entry in _by_id(source).items():
        toml = f"{name[0]}.toml"
        with pytest.raises(BadRecord, match=f"unknown_rate: write leads, rate_hz and unit .* {toml} beside"):
            source.read(entry)


def test_a_table_says_more_than_the_files(mixed: Path) -> None:
    with open(mixed / "ours.csv", "w", newline="") as stream:
        rows = [["id", "patient", "report", "age"], ["b", "p1", "LBBB", ""], ["11", "p1", "", ""]]
        csv.writer(stream).writerows([*rows, ["ward/7/a.xml", "p2", "", "33"], ["gone", "p3", "", ""]])
    source = _open(mixed, table="ours.csv")
    entries = {entry.record_id: entry for entry in source.index()}
    assert {name: entry.patient_id for name, entry in entries.items()} == {
        **{"h/b.edf": "h/p1", "h/11": "h/p1", "h/ward/7/a.xml": "h/p2", "h/gone": "h/p3"}
    }
    muse = source.read(entries["h/ward/7/a.xml"]).entry
    assert (muse.age, muse.sex) == (33.0, "F"), "the table's age, the file's sex"
    assert source.read(entries["h/11"]).signal.shape == (12, 2800)
    with pytest.raises(BadRecord, match="missing_file"):
        source.read(entries["h/gone"])


def _plant(folder: Path) -> None:
    """Four files of one patient, full of what must not leave them."""
    last, first, born, other_born, street, patient, doctor = PLANTED
    signal_mv = ecg_mv(4.0)
    person = (
        f"<PatientID>{patient}</PatientID><PatientAge>61</PatientAge><AgeUnits>YEARS</AgeUnits><Gender>F</Gender>"
        f"<DateofBirth>{other_born}</DateofBirth><PatientLastName>{last}</PatientLastName>"
        f"<PatientFirstName>{first}</PatientFirstName>"
    )
    lines = ["SINUS RHYTHM", f"Confirmed by {doctor} (17) on 1/2/2003", f"Referred by: {doctor}"]
    statements = "".join(
        f"<DiagnosisStatement><StmtFlag>ENDSLINE</StmtFlag><StmtText>{line}</StmtText></DiagnosisStatement>"
        for line in lines
    )
    more = (
        f"<TestDemographics><Status>CONFIRMED</Status><OverreaderLastName>{doctor}</OverreaderLastName>"
        f"</TestDemographics><Diagnosis>{statements}</Diagnosis>"
    )
    (folder / "muse.xml").write_bytes(write.muse(signal_mv, 500, person=person, more=more))
    annotation = write.Dataset()
    annotation.UnformattedTextValue = "Left bundle branch block"
    signed = write.Dataset()
    signed.UnformattedTextValue = f"Unconfirmed, reviewed by {doctor}"
    tags = {"PatientName": f"{last}^{first}", "PatientBirthDate": born, "PatientAddress": street}
    tags |= {
        "ReferringPhysicianName": doctor,
        "WaveformAnnotationSequence": write.Items([annotation, signed]),
    }
    content = write.dicom([write.dicom_group(signal_mv)], PatientID=patient, **tags)
    (folder / "dicom.dcm").write_bytes(content)
    (folder / "cut.dcm").write_bytes(content[:-4000])
    (folder / "edf.edf").write_bytes(write.edf(signal_mv, patient=f"{patient} F {other_born} {last}_{first}"))
    interpretation = (
        f"<patient><generalpatientdata><patientid>{patient}</patientid><name><lastname>{last}</lastname></name>"
        "</generalpatientdata></patient><interpretations><interpretation><mdsignatureline>Confirmed by "
        f"{doctor}</mdsignatureline><statement><leftstatement>Old infarct</leftstatement></statement>"
        "</interpretation></interpretations>"
    )
    (folder / "philips.xml").write_bytes(write.philips(signal_mv, more=interpretation))


@pytest.mark.parametrize("salt", ["", "pepper-and-salt"])
def test_identity_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, salt: str
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    _plant(folder)
    monkeypatch.setenv(SALT, salt)
    with caplog.at_level("DEBUG"):
        stored, refused = _write_shard(folder, out)
        reader = FolderReader.of(Predict(uri=str(folder)))
        scored = repr(reader.read(0)[0].to_pylist())
    texts = [repr(stored), repr(refused), scored, caplog.text]
    texts += [file.read_bytes().decode("latin-1") for file in out.rglob("*") if file.is_file()]
    for planted in PLANTED:
        assert not any(planted.casefold() in text.casefold() for text in texts), planted
    assert [row["reason"] for row in refused] == ["truncated"]
    reports = {row["source_uri"]: row["report"] for row in stored}
    assert reports == {
        **{"dicom.dcm": "Left bundle branch block", "edf.edf": "", "muse.xml": "SINUS RHYTHM"},
        "philips.xml": "Old infarct",
    }
    patients = {row["patient_id"] for row in stored}
    # Plain EDF has no field for the patient alone.
    assert len(patients) == (2 if salt else 4)
    assert (SALT in caplog.text) == (not salt)
    if salt:
        entries = _open(folder).index()
        monkeypatch.setenv(SALT, "another salt")
        others = {entry.patient_id for entry in _open(folder).index()}
        assert others & {entry.patient_id for entry in entries} == {"h/edf.edf", "h/cut.dcm"}
        assert len({split_of(entry) for entry in entries if len(entry.patient_id) == 22}) == 1


@pytest.mark.real
def test_one_recording_in_four_formats_is_four_equal_rows_and_one_finding(
    formats: Path, tmp_path: Path
) -> None:
    stored, refused = _write_shard(formats, tmp_path)
    assert refused == []
    assert len(stored) == 10
    rows = {row["source_uri"]: row for row in stored}
    first, *others = (rows[name] for name in ONE_RECORDING)
    for other in others:
        assert other["signal"] == first["signal"]
        assert (other["fingerprint"], other["n_valid"]) == (first["fingerprint"], first["n_valid"])
    audit = leakage.within(pq.read_table(tmp_path / "train-00000.parquet", columns=[*leakage.COLUMNS]))
    four = {f"h/{name}" for name in ONE_RECORDING}
    assert [four <= {*group} for group in audit.same_recording.examples] == [True, False]


def test_a_loaded_model_scores_files(mixed: Path, tmp_path: Path) -> None:
    tiny_bundle.write(tmp_path / "bundle")
    model = EcgQueryModel.from_bundle(str(tmp_path / "bundle"))
    queries = ["atrial fibrillation?", "lbbb"]
    uris = [
        f"{mixed}/{name}" for name in ("ward/7/a.bin", "ward/7/a.xml", "ward/7/w.hea", "exams_part0.hdf5/1")
    ]
    scores = model.score_files(uris, queries)
    expected = model.score(ecg_mv(4.0)[None], 500, queries)[0]
    assert scores.shape == (4, 2)
    np.testing.assert_allclose(scores[:3], [expected] * 3, atol=0.02)
    np.testing.assert_allclose(
        scores[3], model.score(ecg_mv(10.0, 400, seed=1)[None], 400, queries)[0], atol=1e-3
    )
    with pytest.raises(ValueError, match=r"scan\.pdf: unknown_format: a PDF"):
        model.score_files([f"{mixed}/scan.pdf"], queries)


def test_a_data_set_in_another_unit_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _exams(tmp_path / "e.hdf5", {exam: ecg_mv(7.0, 400, seed=exam) for exam in range(1, 9)}, factor=10.0)
    source = Source(kind="ecg_folder", name="h", uri=str(tmp_path))
    job = Job(source, Shards(), 0, str(tmp_path / "out"))
    with caplog.at_level("WARNING", "supreme"):
        scales.check_before_building(job, job.open_source().index())
    assert "mV in the median, which is unusual" in caplog.text
    assert "sources.N.unit" in caplog.text
