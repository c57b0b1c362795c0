"""Headers: what they leave open is refused, what they announce is bounded, and no text of them does harm."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme.ecg import BadRecord
from supreme.records.wfdb_header import Encoding, Scale, parse

pytestmark = pytest.mark.unit

VALID = """r1 3 500/500(0) 1000 10:00:00 01/02/1990
r1.dat 16+24 1000.0(0)/mV 16 0 -315 20042 0 I
r1.dat 16x1:0 -2e2(-7)/uV 12 -5 7 -8 0 II with a name
r1.dat 212 .5
# Age: 71
#Dx: 1,2
# no value
"""


def _reason(text: str | bytes) -> str:
    with pytest.raises(BadRecord) as caught:
        parse(text if isinstance(text, bytes) else text.encode())
    return caught.value.reason


def test_every_field_is_read():
    header = parse(VALID.encode())
    assert (header.rate_hz, header.samples, header.files) == (500.0, 1000, ("r1.dat",) * 3)
    assert header.comments == {"age": "71", "dx": "1,2"}
    assert header.layout.encodings == (
        Encoding("16", 1, 0, 24),
        Encoding("16", 1, 0, 0),
        Encoding("212", 1, 0, 0),
    )
    assert header.layout.scales == (Scale(1000.0, 0, 1.0), Scale(-200.0, -7, 1e-3), Scale(0.5, 0, 1.0))
    assert (header.first_values, header.checksums) == ((-315, 7, None), (20042, -8, None))
    assert header.names == ("I", "II with a name", "")


def test_a_baseline_that_is_left_out_is_the_zero_of_the_converter():
    assert parse(b"r 1 500\nr.dat 16 200/mV 12 -5 7 8 0 I").layout.scales[0] == Scale(200.0, -5, 1.0)
    assert parse(b"r 1 500\nr.dat 16 200(3)/mV 12 -5 7 8 0 I").layout.scales[0] == Scale(200.0, 3, 1.0)


def test_bytes_that_are_no_text_do_no_harm_in_a_comment():
    header = parse(VALID.encode() + "#Sex: männlich\n#Hx: µ".encode("latin-1"))
    assert len(header.names) == 3
    assert header.comments["sex"].startswith("m")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("r1.dat", "../../../../etc/passwd", "unsafe_header"),
        ("r1.dat", "/etc/passwd", "unsafe_header"),
        ("r1.dat", "..", "unsafe_header"),
        ("r1.dat", "sub/r1.dat", "unsafe_header"),
        ("r1.dat", "s3://bucket/x", "unsafe_header"),
        ("r1.dat", "~r1.dat", "unsafe_header"),
        ("r1.dat", "x?anonymous=true", "unsafe_header"),
        ("r1.dat", "a" * 101, "unreadable"),
        ("r1 3", "r1 65", "unsafe_header"),
        ("r1 3", "r1 0", "unsafe_header"),
        ("r1 3", "r1 " + "9" * 5000, "unsafe_header"),
        ("r1 3", "r1/3 3", "unreadable"),
        ("r1 3", "r1 2", "unreadable"),
        ("r1 3", "r1 x", "unreadable"),
        ("r1 3 500/500(0) 1000 10:00:00 01/02/1990", "r1", "unreadable"),
        (" 1000 ", f" {10**12} ", "unsafe_header"),
        (" 1000 ", " " + "9" * 30 + " ", "unsafe_header"),
        (" 1000 ", " 6666667 ", "unsafe_header"),
        (" 1000 ", " -5 ", "unreadable"),
        ("500/500(0)", "0", "unknown_rate"),
        ("500/500(0)", "-500", "unknown_rate"),
        ("500/500(0)", "nan", "unknown_rate"),
        ("500/500(0)", "inf", "unknown_rate"),
        (" 500/500(0) 1000 10:00:00 01/02/1990", "", "unknown_rate"),
        ("1000.0(0)", "0(0)", "unknown_gain"),
        ("1000.0(0)", "nan", "unknown_gain"),
        ("1000.0(0)", "1.2.3", "unknown_gain"),
        ("1000.0(0)", "1e999", "unknown_gain"),
        ("1000.0(0)", "1e-30", "unknown_gain"),
        ("1000.0(0)", "1e30", "unknown_gain"),
        ("1000.0(0)", "200(99999999999)", "unknown_gain"),
        ("/mV", "/mmHg", "unknown_unit"),
        ("/uV", "/", "unknown_gain"),
        (" 16+24 ", " 16x9999999 ", "unsafe_header"),
        (" 16+24 ", " 16x0 ", "unsafe_header"),
        (" 16+24 ", " 16:99999 ", "unsafe_header"),
        (" 16+24 ", " x ", "unreadable"),
        (" 16+24 ", " " + "9" * 5000 + " ", "unreadable"),
        (" 212 .5", " 212", "unreadable"),
        (" 212 .5", "", "unreadable"),
    ],
)
def test_a_hostile_or_broken_header_is_refused_with_a_reason(old, new, reason):
    assert old in VALID
    assert _reason(VALID.replace(old, new)) == reason


def test_what_is_no_header_is_refused_with_a_reason():
    assert _reason(b"") == "unreadable"
    assert _reason("# only a comment\n") == "unreadable"
    assert _reason(bytes(range(256)) * 8) == "unreadable"
    assert _reason(VALID.encode("utf-16")) == "unreadable"


_PIECES = st.text(max_size=5) | st.sampled_from(
    [*" \t\n/:+-x#().~9", "\0", "²", "٣", "\u2028", "1e5", "9" * 40, "16", "212", "r.dat", "/mV", "../"]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(VALID)), st.integers(0, 8), _PIECES), max_size=4))
def test_no_header_does_anything_but_to_be_read_or_refused(changes):
    text = VALID
    for start, length, piece in changes:
        text = text[:start] + piece + text[start + length :]
    for content in (text.encode(), text.encode("latin-1", "replace"), text.encode()[:150]):
        _is_read_or_refused(content)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_to_be_read_or_refused(content):
    _is_read_or_refused(content)


def _is_read_or_refused(content: bytes) -> None:
    try:
        header = parse(content)
    except BadRecord:
        return
    assert header.rate_hz > 0
    assert all("/" not in file and ".." not in file for file in header.files)


@pytest.mark.parametrize("line", ["x" * 900_000, "r.dat 16 " + "1" * 900_000, "r.dat " * 150_000])
def test_long_lines_cost_no_more_than_their_own_size(line):
    tracemalloc.start()
    with pytest.raises(BadRecord):
        parse(f"r 1 500\n{line}".encode())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000
