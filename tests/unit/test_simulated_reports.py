"""What simulated reports say: only true things, in the words of the file, and the extractor reads them so."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import wfdb

from supreme.config import Source
from supreme.ecg import LEADS, MIMIC_LEADS
from supreme.records import Record, mimic_iv_ecg, open_source
from supreme.records.simulated import SimulatedSource, write_mimic_folder
from supreme.records.simulator import report
from supreme.reports import statements
from supreme.reports.extract import RuleExtractor
from supreme.reports.vocabulary import load_base

pytestmark = pytest.mark.unit

SEED, RECORDS = 11, 500
NO_CONDITION = ("closing_abnormal", "irrelevant", "negated")
LANGUAGES = ("english", "german")


@cache
def _records() -> list[Record]:
    source = SimulatedSource("simulated", RECORDS, SEED, rate_hz=100)
    return [source.read(entry) for entry in source.index()]


@cache
def _conditions_of(line: str) -> frozenset[str]:
    """The conditions that the wording file says with this line."""
    return frozenset(
        name
        for language in LANGUAGES
        for name, lines in report.words()[language].items()
        if name not in NO_CONDITION and line in lines
    )


@cache
def _hedged() -> list[re.Pattern[str]]:
    templates = [template for language in LANGUAGES for template in report.words()["hedges"][language]]
    return [re.compile(re.escape(template).replace(re.escape("{0}"), "(.+)")) for template in templates]


def _is_hedge(line: str) -> bool:
    inner = [match.group(1) for pattern in _hedged() if (match := pattern.fullmatch(line))]
    return any(_conditions_of(text) or _conditions_of(text[0].upper() + text[1:]) for text in inner)


def _fixed(kind: str) -> set[str]:
    lines = [line for language in LANGUAGES for line in report.words()[language][kind]]
    return {line["text"] if isinstance(line, dict) else line for line in lines}


def _lines(record: Record) -> list[str]:
    return record.entry.report.splitlines()


def test_no_report_is_empty() -> None:
    assert all(_lines(record) for record in _records())


def test_every_line_is_from_the_file_or_a_hedge_of_one() -> None:
    known = _fixed("irrelevant") | _fixed("closing_abnormal") | _fixed("negated")
    for record in _records():
        for line in _lines(record):
            assert _conditions_of(line) or line in known or _is_hedge(line), (record.entry.record_id, line)


def test_all_kinds_of_lines_occur() -> None:
    lines = {line for record in _records() for line in _lines(record)}
    assert any(_is_hedge(line) for line in lines)
    for kind in NO_CONDITION:
        assert len(lines & _fixed(kind)) > 5 or kind == "closing_abnormal"
    german = {
        line for name, said in report.words()["german"].items() if name not in NO_CONDITION for line in said
    }
    assert 0.02 < np.mean([bool(set(_lines(record)) & german) for record in _records()]) < 0.2


def test_what_is_said_without_a_hedge_is_true() -> None:
    for record in _records():
        for line in _lines(record):
            said = _conditions_of(line)
            assert not said or said & set(record.entry.codes), (record.entry.record_id, line)


def test_what_is_denied_is_not_true() -> None:
    denied = {
        entry["text"]: set(entry["of"]) for lang in LANGUAGES for entry in report.words()[lang]["negated"]
    }
    seen = 0
    for record in _records():
        for line in set(_lines(record)) & denied.keys():
            seen += 1
            assert not denied[line] & set(record.entry.codes), (record.entry.record_id, line)
    assert seen > 50


def test_most_of_what_is_true_is_said() -> None:
    groups = {"bundle_branch_block", "av_block", "myocardial_infarction"}
    said, true = 0, 0
    for record in _records():
        names = set().union(*(_conditions_of(line) for line in _lines(record)))
        expected = set(record.entry.codes) - groups
        said, true = said + len(names & expected), true + len(expected)
    assert 0.6 < said / true < 1


def test_normal_reports_name_nothing_abnormal() -> None:
    harmless = {"normal_ecg", "sinus_rhythm", "sinus_arrhythmia", "early_repolarization"}
    normal = [record for record in _records() if "normal_ecg" in record.entry.codes]
    assert len(normal) > 50
    for record in normal:
        assert not set(_lines(record)) & _fixed("closing_abnormal")
        for line in _lines(record):
            said = _conditions_of(line)
            assert said <= harmless, line
            assert said or line in _fixed("irrelevant") | _fixed("negated") or _is_hedge(line), line


def test_hedges_of_normal_reports_are_about_nothing_abnormal() -> None:
    extractor = RuleExtractor()
    for record in _records():
        if "normal_ecg" in record.entry.codes:
            for line in filter(_is_hedge, _lines(record)):
                entities = {mention.entity for mention in extractor.extract(line)}
                assert entities <= {"sinus_arrhythmia", "early_repolarization"}, line


def test_the_extractor_reads_what_was_said() -> None:
    """Micro recall and precision of what is present, over lines without a hedge."""
    vocabulary, extractor = load_base(), RuleExtractor()
    drawn = set(report.words()["english"]) - set(NO_CONDITION)
    right = missed = wrong = 0
    for record in _records():
        true = vocabulary.propagate(record.entry.codes)
        found: set[str] = set()
        spoken: set[str] = set()
        for line in _lines(record):
            spoken |= _conditions_of(line) & set(record.entry.codes)
            for statement in statements.split(line):
                mentions = extractor.extract(statement)
                found |= {mention.entity for mention in mentions if mention.assertion == "present"}
        found = vocabulary.propagate(found)
        right += len(spoken & found)
        missed += len(spoken - found)
        wrong += len((found & drawn) - true)
    assert right / (right + missed) >= 0.95
    assert right / (right + wrong) >= 0.95


def test_the_extractor_takes_denied_and_hedged_lines_for_what_they_are() -> None:
    extractor = RuleExtractor()
    lines = {line for record in _records() for line in _lines(record)}
    for assertion, chosen in (
        ("absent", lines & _fixed("negated")),
        ("uncertain", {*filter(_is_hedge, lines)}),
    ):
        parts = [statement for line in chosen for statement in statements.split(line)]
        read = [mention.assertion for part in parts for mention in extractor.extract(part)]
        assert len(read) >= 8
        assert np.mean([status == assertion for status in read]) >= 0.9, assertion


# ---- the same records as a MIMIC-IV-ECG folder


@pytest.fixture(scope="module")
def mimic(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("mimic"))
    done: list[int] = []
    write_mimic_folder(folder, 6, SEED, done.append)
    assert done == [1, 2, 3, 4, 5, 6]
    return folder


def _drawn() -> list[Record]:
    source = SimulatedSource("simulated", 6, SEED, rate_hz=500)
    return [source.read(entry) for entry in source.index()]


def test_mimic_folder_reads_back_by_lead_name(mimic: str) -> None:
    (found,) = mimic_iv_ecg.recognise(mimic)
    source = open_source(found, seed=0, rate_hz=500)
    entries = source.index()
    assert len(entries) == 6
    for entry, drawn in zip(entries, _drawn(), strict=True):
        record = source.read(entry)
        assert record.leads == MIMIC_LEADS
        assert record.rate_hz == 500
        by_name = np.stack([record.signal_mv[record.leads.index(lead)] for lead in LEADS])
        assert np.abs(by_name - drawn.signal_mv).max() <= 2.5e-3 + 1e-6, "half a step of 5 microvolts"


def test_mimic_folder_keeps_reports_and_patients(mimic: str) -> None:
    entries = mimic_iv_ecg.open_folder(Source(kind="mimic_iv_ecg", name="mimic", uri=mimic)).index()
    drawn = _drawn()
    for entry, record in zip(entries, drawn, strict=True):
        assert entry.report == record.entry.report
    patients = [[entries.index(e) for e in entries if e.patient_id == p.patient_id] for p in entries]
    expected = [[n for n, r in enumerate(drawn) if r.entry.patient_id == p.entry.patient_id] for p in drawn]
    assert patients == expected


def test_mimic_checksums_and_header_hold_for_wfdb(mimic: str) -> None:
    for header in sorted(Path(mimic).rglob("*.hea")):
        record = wfdb.rdrecord(str(header.with_suffix("")), physical=False)
        assert record.calc_checksum() == [value % 65536 for value in record.checksum]
        assert record.sig_name == list(MIMIC_LEADS)
        assert record.units == ["mV"] * 12
        assert record.adc_gain == [200.0] * 12
        assert record.init_value == record.d_signal[0].tolist()
        assert record.d_signal.shape == (5000, 12)
        assert header.stem == record.record_name


def test_mimic_folder_is_the_same_twice(mimic: str, tmp_path: Path) -> None:
    write_mimic_folder(str(tmp_path), 6, SEED)
    files = sorted(path.relative_to(mimic) for path in Path(mimic).rglob("*") if path.is_file())
    assert len(files) == 14
    for file in files:
        assert (tmp_path / file).read_bytes() == (Path(mimic) / file).read_bytes()
