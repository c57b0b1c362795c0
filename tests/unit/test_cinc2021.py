"""The member sets of the 2021 Challenge, in their groups or flat, and their long records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from wfdb_writer import ecg_mv, write_record

from supreme import config, records
from supreme.ecg import order_leads
from supreme.records import discover, open_source
from supreme.records.cinc2021 import MEMBERS

pytestmark = pytest.mark.unit

COMMENTS = ["Age: NaN", "Sex: Unknown", "Dx: 426783006,164889003", "Rx: Unknown"]


def _open(folder: Path) -> records.RecordSource:
    (source,) = discover(str(folder))
    return open_source(source, 0, 100)


@pytest.mark.parametrize("groups", [("g1", "g2"), ("",)], ids=["groups", "flat"])
def test_every_member_is_found_with_all_its_records(tmp_path, groups):
    for member in MEMBERS:
        for number, group in enumerate(groups):
            place = tmp_path / "training" / member / group
            place.mkdir(parents=True)
            (place / f"R{number}.hea").touch()
    found = discover(str(tmp_path))
    assert [source.dataset for source in found] == sorted(MEMBERS)
    for source in found:
        entries = open_source(source, 0, 100).index()
        assert [entry.record_id for entry in entries] == [
            f"{source.dataset}/R{n}" for n in range(len(groups))
        ]


def test_a_member_without_records_and_other_folders_are_not_taken(tmp_path):
    write_record(tmp_path / "training" / "georgia" / "g1", "E1", ecg_mv(0.1), comments=COMMENTS)
    (tmp_path / "training" / "ningbo" / "g1").mkdir(parents=True)
    write_record(tmp_path / "training" / "elsewhere" / "g1", "E1", ecg_mv(0.1), comments=COMMENTS)
    # The PTB diagnostic database in its own layout is not the Challenge's `ptb`.
    write_record(tmp_path / "ptb" / "patient001", "s0010_re", ecg_mv(0.1), comments=COMMENTS)
    assert [source.dataset for source in discover(str(tmp_path))] == ["georgia"]


def test_records_of_one_name_in_two_groups_keep_apart(tmp_path):
    for group in ("g1", "g2"):
        write_record(tmp_path / "georgia" / group, "x", ecg_mv(0.1), comments=COMMENTS)
    ids = [entry.record_id for entry in _open(tmp_path / "georgia").index()]
    assert ids == ["georgia/g1/x", "georgia/g2/x"]


def _repeat(header: Path, times: int) -> None:
    """Make a record longer, as fast as its bytes can be written."""
    data = header.with_suffix(".dat")
    data.write_bytes(data.read_bytes() * times)
    first, *lines = header.read_text().splitlines()
    name, leads, rate, samples = first.split()
    for number, line in enumerate(lines[: int(leads)]):
        cells = line.split()
        cells[6] = str(int(cells[6]) * times % 65536)
        lines[number] = " ".join(cells)
    header.write_text("\n".join([f"{name} {leads} {rate} {int(samples) * times}", *lines]))


@pytest.mark.parametrize(
    ("member", "rate_hz", "seconds"), [("st_petersburg_incart", 257, 1800), ("ptb", 1000, 120)]
)
def test_long_records_at_other_rates_read_whole(tmp_path, member, rate_hz, seconds):
    second_mv = ecg_mv(1, rate_hz=rate_hz)
    header = write_record(tmp_path / member / "g1", "I0001", second_mv, rate_hz=rate_hz, comments=COMMENTS)
    _repeat(header, seconds)
    source = _open(tmp_path)
    record = source.read(source.index()[0])
    assert (record.rate_hz, record.signal_mv.shape) == (rate_hz, (12, rate_hz * seconds))
    ordered, _ = order_leads(record.signal_mv[:, -rate_hz:], record.leads)
    np.testing.assert_allclose(ordered, second_mv, atol=6e-4)
    known = record.entry
    assert (known.codes, known.age, known.sex) == (("426783006", "164889003"), None, "")


def test_a_named_member_is_opened_wherever_it_is(tmp_path):
    write_record(tmp_path / "renamed", "x", ecg_mv(0.1), comments=COMMENTS)
    source = config.Source(kind="cinc2021", name="georgia", uri=str(tmp_path / "renamed"))
    assert [entry.record_id for entry in open_source(source, 0, 100).index()] == ["georgia/x"]
