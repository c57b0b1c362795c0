"""Marks of other formats go, and the words beside them stay."""

from __future__ import annotations

import html

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme.reports.cleaning import clean

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("report", "text"),
    [
        ("Sinus rhythm_x000D_\nLBBB_x000D_", "Sinus rhythm\nLBBB\n"),
        ("LBBB_x000A_RBBB_x0009_LVH", "LBBB\nRBBB LVH"),
        ("LBBB\r\nRBBB\rLVH\vAF\x85VT", "LBBB\nRBBB\nLVH\nAF\nVT"),
        (r"AF\nLBBB\r\nno LVH", "AF\nLBBB\nno LVH"),
        (r"axis left\normal PR, LBBB\no LVH", r"axis left\normal PR, LBBB\no LVH"),
        ("AF<br>LBBB<BR/>\nRBBB<br />LVH", "AF\nLBBB\nRBBB\nLVH"),
        ("<p>AF</p><ul><li>LBBB</li></ul>", "\nAF\n\n\nLBBB\n\n"),
        ("no <b>ST</b> <span class='x'>elevation</span>", "no ST elevation"),
        ("<td>AF</td><td>no</td>", " AF  no "),
        ("<style>p {color: red}</style>AF<!-- LBBB -->", " AF "),
        ("&lt;br&gt; m&ouml;glich &#228; &amp;lt; st & t", "\n möglich ä < st & t"),
        ("QRS <120 ms, R<S and V1>V2, axis > 30, <5/min", "QRS <120 ms, R<S and V1>V2, axis > 30, <5/min"),
        (r"AF\.br\LBBB\T\RBBB\X0A\LVH", "AF\nLBBB&RBBB\nLVH"),
        (r"{\rtf1\ansi{\fonttbl{\f0 Arial;}}\f0 m\'f6glich\par AF\par}", "möglich\nAF\n"),
        ("Vorhof\xadflimmern\u200b\ufeff\xa0bei", "Vorhofflimmern bei"),
        (r"R\S ratio, ST\T changes", r"R\S ratio, ST\T changes"),
    ],
)
def test_marks_become_text(report: str, text: str) -> None:
    assert clean(report) == text


@settings(deadline=None)
@given(st.text(alphabet="AF no<>/br&;lt_x0dD\\\n.", max_size=60))
def test_cleaning_is_safe_and_plain_text_stays(report: str) -> None:
    clean(report)
    plain = report.translate(str.maketrans("", "", "<>&_\\"))
    assert clean(plain) == plain


@settings(deadline=None)
@given(st.lists(st.sampled_from(["no LVH", "ST > 1 mm", "R<S", "möglich & alt", "V1 < V2"]), min_size=1))
def test_what_was_escaped_comes_back(lines: list[str]) -> None:
    escaped = "<br>".join(html.escape(line) for line in lines)
    assert clean(escaped).split("\n") == lines
