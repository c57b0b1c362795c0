"""A record is prepared in one way: what is scored is, to the microvolt, what the shards hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_bundle
from hypothesis import given, settings
from hypothesis import strategies as st
from wfdb_writer import ecg_mv, write_csn

from supreme.ecg import LEADS, BadRecord, to_millivolts
from supreme.inference.query_model import EcgQueryModel
from supreme.preparation import check_record, resample_uv
from supreme.records import Entry, Record
from supreme.settings.data import Shards, Source
from supreme.shards.rows import Job, read_rows

pytestmark = pytest.mark.unit

ENTRY = Entry("d/1", "d", "d/1")


@settings(max_examples=40, deadline=None)
@given(
    rate_hz=st.sampled_from([100, 250, 257, 360, 500, 1000]),
    to_rate_hz=st.sampled_from([100, 250, 500]),
    duration_s=st.sampled_from([2.0, 4.5, 10.0]),
    step_uv=st.sampled_from([1.0, 0.3, 4.88]),
    seconds=st.sampled_from([3, 5, 11]),
    order=st.permutations(range(12)),
)
def test_first_seconds_alone_or_of_the_whole_record_are_the_same(
    rate_hz: int, to_rate_hz: int, duration_s: float, step_uv: float, seconds: int, order: list[int]
) -> None:
    """The shards cut first, the query model gets the whole record as floats, in windows."""
    steps = np.rint(ecg_mv(seconds, rate_hz) * 1000 / step_uv)
    record = Record(ENTRY, (steps * step_uv / 1000)[order], tuple(LEADS[lead] for lead in order), rate_hz)
    samples = round(to_rate_hz * duration_s)
    stored = check_record(record, duration_s=duration_s)
    whole = check_record(record)
    expected_uv, n_valid = resample_uv(stored.signal, rate_hz, to_rate_hz, samples)
    window_uv, _ = resample_uv(whole.signal_mv, rate_hz, to_rate_hz, samples)
    assert expected_uv.dtype == np.int16
    assert n_valid == min(samples, int(np.ceil(seconds * to_rate_hz)))
    np.testing.assert_array_equal(window_uv, expected_uv)
    assert np.ptp(expected_uv) > 500


def test_a_score_of_a_record_is_that_of_its_row_in_a_shard(tmp_path: Path) -> None:
    write_csn(tmp_path / "csn", 3)
    source = Source(kind="csn", uri=str(tmp_path / "csn"))
    section = Shards(rate_hz=100, duration_s=4)
    job = Job(source, section, 0, str(tmp_path))
    opened = job.open_source()
    index = opened.index()
    rows = list(read_rows(job, "train", index, {}))
    tiny_bundle.write(tmp_path / "bundle")
    model = EcgQueryModel.from_bundle(str(tmp_path / "bundle"))
    stored_mv = to_millivolts(np.stack([row.signal_uv for row in rows]))
    raw_mv = np.stack([check_record(opened.read(entry)).signal_mv[:, :2000] for entry in index])
    queries = ["atrial_fibrillation", "old infarct"]
    from_rows, from_records = model.score(stored_mv, 100, queries), model.score(raw_mv, 500, queries)
    np.testing.assert_array_equal(from_records, from_rows)
    assert np.ptp(from_rows, axis=0).min() > 1e-3


def test_what_is_refused_and_flagged_is_so_for_every_user(tmp_path: Path) -> None:
    ecg = ecg_mv()
    eight = Record(ENTRY, ecg[[0, 1, *range(6, 12)]], ("I", "II", *LEADS[6:]), 500)
    with pytest.raises(BadRecord, match="missing_leads"):
        check_record(eight)
    derived = check_record(eight, derive_limb_leads=True)
    assert derived.flags == ["derived_limb_leads"]
    np.testing.assert_allclose(derived.signal_mv, ecg, atol=1e-5)
    flat = ecg.copy()
    flat[6] = 0
    assert check_record(Record(ENTRY, flat, LEADS, 500)).flags == ["flat:V1"]
    with pytest.raises(BadRecord, match="too_short"):
        check_record(Record(ENTRY, ecg[:, :500], LEADS, 500))
    late = ecg.copy()
    late[:, 2500:] = np.nan
    assert check_record(Record(ENTRY, late, LEADS, 500), duration_s=5).flags == []
    with pytest.raises(BadRecord, match="nan"):
        check_record(Record(ENTRY, late, LEADS, 500))
