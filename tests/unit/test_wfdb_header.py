"""Headers: what they leave open is refused, what they announce is bounded, and no text of them does harm."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme.ecg import LEADS, BadRecord
from supreme.records.wfdb_header import parse
from supreme.records.wfdb_layout import Encoding, HeaderOverrides, Scale

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


TWELVE = "\n".join(["r 13 500 4", *(f"r.dat 16 1000/mV 16 0 1 4 0 {lead}" for lead in LEADS), ""])


@pytest.mark.parametrize(
    "extra",
    [
        "r.dat 16 10(0)/mmHg 16 0 0 0 0 ABP",
        "r.dat 16 0 16 0 0 0 0 MARKER",
        "r.dat 16x4 100/bpm 16 0 0 0 0 PULSE",
        "r.dat 16 x/y 16 0 0 0 0 -",
        "gone.xyz 16 1e99/mV 16 0 0 0 0 vx",
        "~ 0 1/mV 0 0 0 0 0 NULL",
        "../r.dat 999 1/mV 16 0 0 0 0 RESP",
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_another_channel_is_left_out_before_anything_of_it_is_judged(extra, first):
    record, *leads, _ = TWELVE.split("\n")
    lines = [record, extra, *leads] if first else [record, *leads, extra]
    header = parse("\n".join(lines).encode())
    assert (header.names, len(header.layout.rows), set(header.files)) == (LEADS, 12, {"r.dat"})


def test_a_channel_that_is_no_voltage_is_no_lead_where_leads_are_missing():
    lines = (
        TWELVE.replace("r 13", "r 12")
        .replace(" V6", " ABP")
        .replace("1000/mV 16 0 1 4 0 ABP", "10/mmHg 16 0 1 4 0 ABP")
    )
    assert parse(lines.encode()).names == LEADS[:11]
    with pytest.raises(
        BadRecord, match="unknown_unit: signal 'V6': 'mmHg' is not a voltage: give mV, uV, nV or V"
    ):
        parse(
            TWELVE.replace("r 13", "r 12").replace("1000/mV 16 0 1 4 0 V6", "10/mmHg 16 0 1 4 0 V6").encode()
        )


def test_what_the_user_knows_better_than_the_header_wins():
    lines = TWELVE.replace("r 13", "r 12").replace(" V6", " CH12").replace("1000/mV", "0(7)/NU")
    header = parse(lines.encode(), HeaderOverrides(200.0, (("CH12", "V6"),)))
    assert header.names == LEADS
    assert set(header.layout.scales) == {Scale(200.0, 7, 1.0)}
    with pytest.raises(
        BadRecord, match=r"unknown_gain: gain '0\(7\)/NU' of signal 'I'.*set gain_per_mv of the source"
    ):
        parse(lines.encode())


@pytest.mark.parametrize("mu", ["µ".encode("latin-1"), "µ".encode(), "μ".encode(), b"u", "Âµ".encode()])
def test_microvolts_in_every_encoding(mu):
    header = parse(
        b"r 1 500 4\nr.dat 16 1/" + mu + b"V 16 0 1 4 0 I\n#Sex: m\xe4nnlich" * (mu != b"") + b"\n"
    )
    assert header.layout.scales[0].millivolts == 1e-3


@pytest.mark.parametrize(
    "file",
    [
        "1.2.840.113619.2.dat",
        "a.b.c",
        "Müller.dat",
        "Mu\u0308ller.dat",
        "x_1-2.MAT",
        "心电.dat",
        "a+b@1=2.dat",
    ],
)
def test_a_plain_name_may_have_dots_and_letters_of_any_language(file):
    assert parse(f"r 1 500\n{file} 16 200/mV 12 0 0 0 0 I".encode()).files == (file,)


@pytest.mark.parametrize(
    "file", ["a..b", ".a", "a.", "a/b", "a\\b", "~a", "a?b", "a%2Fb:c", "*", "a\u202eb", "a\0b"]
)
def test_any_other_name_is_refused_with_the_remedy(file):
    with pytest.raises(
        BadRecord, match=r"unsafe_header: signal file .*letters, digits, - and _, with dots between"
    ):
        parse(f"r 1 500\n{file} 16 200/mV 12 0 0 0 0 I".encode())


def test_all_lines_of_codes_count_and_of_others_the_last():
    comments = parse(VALID.encode() + b"#Dx: 3\n# DX:  2 \n#age: 72\n").comments
    assert comments == {"age": "72", "dx": "1,2,3,2"}


def test_a_byte_order_mark_before_a_comment_is_no_record_line():
    assert parse(b"\xef\xbb\xbf# exported\n" + VALID.encode()).rate_hz == 500


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
