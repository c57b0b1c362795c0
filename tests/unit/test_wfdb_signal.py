"""Signals: what is decoded here equals what wfdb reads, bit for bit; damage to a signal file is found."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from supreme.ecg import MAX_MICROVOLTS, BadRecord, to_millivolts
from supreme.records import Entry, wfdb_header, wfdb_signal
from supreme.records.wfdb_files import WfdbReader

pytestmark = pytest.mark.unit

_MILLIVOLTS = {"mV": 1.0, "uV": 1e-3, "V": 1e3}


def _decoded(header: str, contents: dict[str, bytes]) -> np.ndarray:
    return to_millivolts(wfdb_signal.signal(wfdb_header.parse(header.encode()), contents)[0])


def _decoded_without_wfdb(header: str, contents: dict[str, bytes]) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wfdb_signal, "_with_wfdb", None)
        return _decoded(header, contents)


def _by_wfdb(folder: Path, header: str, contents: dict[str, bytes]) -> np.ndarray:
    """What wfdb makes of a record, ``(n_signals, T)`` float64 in the header's units."""
    (folder / "r.hea").write_text(header)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return np.array(wfdb.rdrecord(str(folder / "r"), smooth_frames=False).e_p_signal)


def _assert_same_bits(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.view(np.int32), wanted.astype(np.float32).view(np.int32))


# --- equal to wfdb

_STEPS = st.sampled_from([-32768, 0, 32767]) | st.integers(-32768, 32767)
_GAINS = st.sampled_from([200.0, 1000.0, 306.7, -1000.0, 1 / 3, 3e-3, 2**24 + 1.0]) | st.floats(1e-3, 1e9)
_BASELINES = st.sampled_from(["", "(0)", f"({2**23})", f"({-(2**31)})"]) | st.integers(-40_000, 40_000).map(
    "({})".format
)


@st.composite
def _records(draw: st.DrawFn) -> tuple[str, dict[str, bytes], np.ndarray]:
    """A header of format 16, its one or two signal files, and the millivolts in the unit of each signal."""
    steps = draw(hnp.arrays(np.int16, st.tuples(st.integers(1, 4), st.integers(1, 20)), elements=_STEPS))
    cut = draw(st.integers(1, len(steps)))
    contents, lines, millivolts = {}, [], []
    for file, rows in (("a.dat", steps[:cut]), ("b.mat", steps[cut:])):
        encoding = draw(st.sampled_from(["16", "16x1", "16+24", "16x1:0+24"]))
        before, after = bytes(24 if "+" in encoding else 0), draw(st.binary(max_size=1))
        if len(rows):
            contents[file] = before + rows.T.astype("<i2").tobytes() + after
        for row in rows:
            unit = draw(st.sampled_from(list(_MILLIVOLTS)))
            gain = f"{draw(_GAINS)!r}{draw(_BASELINES)}/{unit}"
            total = int(row.sum()) - 65_536 * draw(st.integers(-1, 1))
            rest = draw(st.sampled_from(["", "16", f"16 7 {row[0]}", f"16 -7 {row[0]} {total} 0 I"]))
            lines.append(f"{file} {encoding} {gain} {rest}")
            millivolts.append([_MILLIVOLTS[unit]])
    samples = draw(st.sampled_from(["", str(steps.shape[1])]))
    return "\n".join([f"r {len(steps)} 500 {samples}", *lines]), contents, np.array(millivolts)


@settings(max_examples=80, deadline=None)
@given(record=_records())
def test_format_16_equals_what_wfdb_reads(record, tmp_path_factory):
    header, contents, millivolts = record
    wanted = _by_wfdb(tmp_path_factory.mktemp("wfdb"), header, contents) * millivolts
    _assert_same_bits(_decoded_without_wfdb(header, contents), wanted)


@pytest.mark.parametrize("gain", [1000.0, 200.0, 4880.0, 7.0])
@pytest.mark.parametrize("baseline", [0, -11, 2**24 + 1, -(2**31)])
def test_every_step_in_float32_is_the_rounded_float64(gain, baseline):
    steps = np.arange(-32767, 32768, dtype=np.int16)
    header = f"r 1 500\na.dat 16 {gain}({baseline})/mV"
    found = _decoded_without_wfdb(header, {"a.dat": steps.tobytes()})
    _assert_same_bits(found, (steps[None].astype(np.float64) - baseline) / gain)


@pytest.mark.parametrize("most", [32767, 6553, 6554, -6554, -32768])
@pytest.mark.parametrize(
    "gain", ["1000/mV", "200/mV", "200(0)/mV", "200(1)/mV", "200/uV", "-200/mV", "300/mV", "2000/mV"]
)
def test_whole_microvolts_are_never_made_floats(gain, most):
    steps = np.array([0, 1, -1, most], np.int16)
    header = wfdb_header.parse(f"r 1 500\na.dat 16 {gain}".encode())
    found, _ = wfdb_signal.signal(header, {"a.dat": steps.tobytes()})
    step_uv = {"1000/mV": 1, "200/mV": 5, "200(0)/mV": 5}.get(gain)
    if step_uv is None or most == -32768 or abs(most) * step_uv > MAX_MICROVOLTS:
        assert found.dtype == np.float32
    else:
        assert found.dtype == np.int16
        np.testing.assert_array_equal(found[0], steps.astype(int) * step_uv)


_RNG = np.random.default_rng(0)
_BYTES = _RNG.integers(0, 256, 24 * 60, dtype=np.uint8).tobytes()


@pytest.mark.parametrize(
    "encodings",
    [
        *(("80", "80"), ("212", "212"), ("310", "310"), ("311", "311"), ("24", "24"), ("32", "32")),
        *(
            ("61", "61"),
            ("160", "160"),
            ("8", "8"),
            ("16:2", "16"),
            ("16:3", "16:3"),
            ("16x2", "16x2"),
            ("16+24", "16+25"),
        ),
    ],
)
def test_what_wfdb_decodes_comes_unchanged(encodings, tmp_path):
    lines = [f"a.dat {encoding} 200(3)/mV 12 0 5 0 0 I" for encoding in encodings]
    header = "\n".join(["r 2 500 60", *lines])
    _assert_same_bits(_decoded(header, {"a.dat": _BYTES}), _by_wfdb(tmp_path, header, {"a.dat": _BYTES}))


def test_a_compressed_file_and_one_of_another_format_come_unchanged(tmp_path):
    steps = _RNG.integers(-9000, 9000, (300, 1))
    options = {"fs": 500, "units": ["mV"], "adc_gain": [200.0], "baseline": [0], "write_dir": str(tmp_path)}
    wfdb.wrsamp("flac", sig_name=["I"], d_signal=steps, fmt=["516"], **options)
    contents = {"a.dat": (tmp_path / "flac.dat").read_bytes(), "b.dat": _BYTES}
    header = "r 2 500 300\na.dat 516 200(0)/mV\nb.dat 16 200(0)/mV"
    found = _decoded(header, contents)
    _assert_same_bits(found, _by_wfdb(tmp_path, header, contents))
    np.testing.assert_array_equal(found[0], (steps[:, 0] / 200).astype(np.float32))


def test_all_samples_of_a_frame_are_kept_at_their_rate():
    header = wfdb_header.parse(b"r 1 250 30\na.dat 16x2 200/mV")
    found, rate_hz = wfdb_signal.signal(header, {"a.dat": _BYTES})
    assert (found.shape, rate_hz) == ((1, 60), 500.0)


@pytest.mark.real
def test_all_real_records_equal_what_wfdb_reads(realdata, monkeypatch):
    stems = [str(path.with_suffix("")) for path in sorted(realdata.rglob("*.hea"))]
    records = {stem: wfdb.rdrecord(stem) for stem in stems[:: 1 + len(stems) // 200]}
    monkeypatch.setattr(wfdb_signal, "_with_wfdb", None)
    for stem, wanted in records.items():
        record, comments = WfdbReader().read(Entry("d/1", "d", "d/1", source_uri=stem))
        _assert_same_bits(record.signal_mv, wanted.p_signal.T)
        assert (list(record.leads), record.rate_hz) == (wanted.sig_name, wanted.fs)
        assert list(comments.values()) == [line.partition(":")[2].strip() for line in wanted.comments]


# --- damage

_SIGNAL = np.arange(24, dtype=np.int16).reshape(12, 2) - 5
_DATA = {"a.dat": _SIGNAL.tobytes()}
_CHECKED = "r 2 500 12\na.dat 16 200/mV 16 0 -5 72 0 I\na.dat 16 200/mV 16 0 -4 84 0 II"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (" 72 ", " 73 ", "checksum"),
        (" 84 ", " 0 ", "checksum"),
        (" -4 ", " 4 ", "first_value"),
        (" -5 ", " 0 ", "first_value"),
        (" 500 12", " 500 13", "truncated"),
        (" 500 12", " 500 9999999", "truncated"),
        ("16 200", "16+1 200", "truncated"),
        ("16 200", "16+999999999999 200", "truncated"),
        ("r 2 500 12\na.dat 16", "r 2 500 12\na.dat 16x2", "mixed_rates"),
        ("a.dat 16 200", "a.dat 16x2 200", "truncated"),
        ("a.dat 16 200", "a.dat 32 200", "truncated"),
        ("a.dat 16 200", "a.dat 77 200", "unreadable"),
        ("a.dat 16 200", "a.dat 516 200", "unreadable"),
        (" 500 12\na.dat 16 200", " 500\na.dat 16+999 200", "truncated"),
        (" 500 12\na.dat 16 200", " 500\na.dat 61+999 200", "truncated"),
    ],
)
def test_damage_is_found(old, new, reason):
    assert old in _CHECKED
    assert _decoded(_CHECKED, _DATA).shape == (2, 12)
    assert _reason(_CHECKED.replace(old, new), _DATA) == reason


def test_signals_that_take_turns_between_files_are_not_mixed_up():
    """wfdb cannot read them either."""
    header = "r 3 500\na.dat 16 200/mV\nb.dat 16 200/mV\na.dat 16 200/mV"
    assert _reason(header, {"a.dat": bytes(80), "b.dat": bytes(40)}) == "unreadable"


def test_a_file_of_too_many_samples_is_not_decoded():
    assert _reason("r 1 500\na.dat 80 200/mV", {"a.dat": bytes(20_000_001)}) == "too_large"


@pytest.mark.parametrize("bit", range(0, 8 * _SIGNAL.nbytes, 7))
def test_no_flipped_bit_goes_unnoticed(bit):
    damaged = bytearray(_DATA["a.dat"])
    damaged[bit // 8] ^= 1 << bit % 8
    assert _reason(_CHECKED, {"a.dat": bytes(damaged)}) in ("checksum", "first_value")


@pytest.mark.parametrize(
    "header",
    [
        _CHECKED.replace(" 72 ", f" {72 - 65536} ").replace(" 84 ", f" {84 + 65536} "),
        _CHECKED.replace(" -5 72 ", " 0 0 ").replace(" -4 84 ", " 0 0 "),
        "r 2 500 12\na.dat 16 200/mV\na.dat 16 200/mV",
        "r 2 500 12\na.dat 16 200/mV 16 0\na.dat 16 200/mV 16 0 -4",
    ],
)
def test_checks_that_are_absent_or_written_otherwise_refuse_nothing(header):
    assert _decoded(header, _DATA).shape == (2, 12)


def _reason(header: str, contents: dict[str, bytes]) -> str:
    with pytest.raises(BadRecord) as caught:
        _decoded(header, contents)
    return caught.value.reason


_ENCODINGS = r"(8|16|24|32|61|80|160|212|31[01]|5(08|16|24)|9)(x[0-3])?(:[0-9])?(\+[0-9]{1,2})?"


@settings(max_examples=60, deadline=None)
@given(
    encoding=st.from_regex(_ENCODINGS, fullmatch=True),
    samples=st.sampled_from(["", "0", "1", "7", "600", "9999999"]),
    gain=st.sampled_from(["200/mV", "-1e9(2147483647)/nV", "0.001(9999999999)/V"]),
    content=st.binary(min_size=1, max_size=60),
)
def test_no_signal_file_does_anything_but_to_be_read_or_refused(encoding, samples, gain, content):
    header = f"r 2 500 {samples}\na.dat {encoding} {gain} 16 0 3 9\na.dat {encoding} {gain}"
    tracemalloc.start()
    try:
        assert _decoded(header, {"a.dat": content}).dtype == np.float32
    except BadRecord:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 5_000_000
