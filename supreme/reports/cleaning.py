"""Report text without marks of other formats: escaped line ends, HTML, HL7, RTF, odd white space."""

from __future__ import annotations

import html
import re
import unicodedata

#: A report without any of these is clean.
_SIGNS = re.compile(
    r"\.{4}|[\\<&_\t\v\f\r\x00-\x08\x0e-\x1f\x7f-\x9f\xa0\xad\u2000-\u200f\u2028-\u202f\u2060\ufeff]"
)
#: Dots that lead to the answer of a form.
_LEADER = re.compile(r"[ \t]*\.{4,}[ \t]*:?[ \t]*(?=\w)")
#: Spreadsheets write characters as "_x000D_".
_SPREADSHEET = re.compile(r"_x([0-9A-Fa-f]{4})_")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
#: What a reader of HTML does not see, from its first mark to its last.
_HIDDEN = re.compile(r"(?i)<!--|<(?:style|script|head)\b[^<>]*>")
_ATTRIBUTES = r"""(?:\s+[\w:-]+\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>]+))*\s*/?"""
#: Tags that end a line, that end a cell, and that only change the look. "R<S and V1>V2" has none of them.
_LINE_TAG = re.compile(
    rf"(?i)</?(?:br|p|div|li|ul|ol|tr|table|tbody|thead|h[1-6]|hr|pre|body|html|section|dl|dt|dd){_ATTRIBUTES}>\n?"
)
_CELL_TAG = re.compile(rf"(?i)</?(?:td|th){_ATTRIBUTES}>")
_LOOK_TAG = re.compile(
    rf"(?i)</?(?:b|i|u|em|strong|span|font|sub|sup|small|big|center|code|a|content|paragraph){_ATTRIBUTES}>"
)
_HL7 = re.compile(r"\\(\.br|\.sp|\.ce|\.in|\.fi|\.nf|[HNFSTRE]|X[0-9A-Fa-f]{2,8})[+-]?\d*\\")
_HL7_MARKS = {"F": "|", "S": "^", "T": "&", "R": "~", "E": "\\", "H": "", "N": ""}
_RTF = re.compile(r"\\rtf\d|\\pard?(?![a-z])")
_RTF_GROUP = re.compile(r"\{\\(?:\*|fonttbl|colortbl|stylesheet|info|pict)[^{}]*(?:\{[^{}]*\}[^{}]*)*\}")
_RTF_WORD = re.compile(
    r"\\'([0-9a-fA-F]{2})|\\u(-?\d{1,6})\s?\??|\\([a-z]+)(-?\d+)?[ ]?|\\([{}\\~_-])|([{}])"
)
_RTF_LINES = {"par", "line", "row", "page", "sect"}
#: Line ends written out, but not the backslash of "left\\normal" or "LBBB\\no LVH".
_WRITTEN = re.compile(r"(?:\\r\\n|\\r(?![a-z])|\\n(?!orm|ot\b|on|o\b|ein|icht|egativ|ej\b))\n?|\\t(?![a-z])")
#: Kept as they are: "\n" and what joins emoji or letters is nothing that an ECG report needs.
_NOTHING = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u200b-\u200f\u2060\ufeff]")
_LINE = re.compile(r"\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")
_SPACE = re.compile(r"[\t\x1f\xa0\u2000-\u200a\u202f]")


def clean(report: str) -> str:
    r"""The report's plain text; line ends are ``"\n"``, and no finding is lost with a mark beside it."""
    report = unicodedata.normalize("NFC", report)
    if not _SIGNS.search(report):
        return report
    if "_x" in report:
        report = _SPREADSHEET.sub(lambda match: _character(int(match[1], 16)), report)
    for _ in range(2):  # "&amp;lt;" of a text that was escaped twice
        if "&" in report:
            report = _ENTITY.sub(lambda match: html.unescape(match[0]), report)
    if "<" in report:
        report = _without_hidden(report)
        report = _LOOK_TAG.sub("", _CELL_TAG.sub(" ", _LINE_TAG.sub("\n", report)))
    if "\\" in report:
        report = _HL7.sub(_of_hl7, report)
        if _RTF.search(report):
            report = _RTF_WORD.sub(
                _of_rtf, _RTF_GROUP.sub("", re.sub(r"(?<=\w)\n(?=\\)|(?<=\\par)\n", "", report))
            )
        report = _WRITTEN.sub(lambda match: " " if match[0] == "\\t" else "\n", report)
    report = _LEADER.sub(": ", report)
    return _NOTHING.sub("", _SPACE.sub(" ", _LINE.sub("\n", report)))


def _without_hidden(report: str) -> str:
    parts: list[str] = []
    at = 0
    lower = report.lower() if len(report.lower()) == len(report) else report
    absent: set[str] = set()
    for match in _HIDDEN.finditer(report):
        last = "-->" if match[0] == "<!--" else f"</{match[0][1:].split('>')[0].split()[0].lower()}>"
        if match.start() < at or last in absent:
            continue
        end = lower.find(last, match.end())
        if end < 0:
            absent.add(last)
            continue
        parts.append(report[at : match.start()])
        at = end + len(last)
    return " ".join([*parts, report[at:]])


def _character(code: int) -> str:
    return "" if 0xD800 <= code <= 0xDFFF else chr(code)


def _of_hl7(match: re.Match[str]) -> str:
    escape = match[1]
    if escape.startswith("X"):
        return bytes.fromhex(escape[1:] if len(escape) % 2 else escape[1:-1]).decode("latin-1")
    return _HL7_MARKS.get(escape, "\n")


def _of_rtf(match: re.Match[str]) -> str:
    code, number, word, _, mark, _ = match.groups()
    if code:
        return bytes.fromhex(code).decode("cp1252", "replace")
    if number:
        return _character(int(number) % 0x10000)
    if word:
        return "\n" if word in _RTF_LINES else " " if word in ("tab", "cell") else ""
    return " " if mark == "~" else mark if mark in ("{", "}", "\\", "-") else ""
