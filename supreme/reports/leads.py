"""Lead lists in free text ("II, III, aVF", "V4-6") and the wall of the heart that they look at."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

_V = r"v\s?[1-6](?!\w|:)"
_LIMB = r"(?:iii|ii|i|a\.?v\.?[rlf])(?!\w|'|-?v\b)"
_STRONG = r"\s*(?:,|/|\+|&|-|–)\s*|\s+(?:and|und|och|to|bis|till|through|or|oder|eller)\s+"
#: Later items may be short: "V4-6", German "II, III, F".
_SHORT = r"[1-6](?![\w:]|[.,]\d\d|\.?\s*grad)|[rlf](?![\w'])"
#: All in lower case; what may not stand before a lead is looked for behind its first letter, because a
#: pattern that begins with one of a few letters is searched for three times as fast.
_FIRST = (
    r"v(?<![\w#]v)\s?[1-6](?!\w|:)"
    r"|i(?<![\w#]i)i{0,2}(?!\w|'|-?v\b)"
    r"|a(?<![\w#]a)\.?v\.?[rlf](?!\w|'|-?v\b)"
)
_LIST = re.compile(rf"(?:{_FIRST})(?:(?:{_STRONG}|\s+)(?:{_V}|{_LIMB})|(?:{_STRONG})(?:{_SHORT}))*")
_ITEM = re.compile(rf"{_V}|{_LIMB}|[1-6]|\b[rlf]\b")
_RANGE = re.compile(r"^\s*(?:-|–)\s*$|^\s+(?:to|bis|till|through)\s+$")
_BEFORE = re.compile(r"([\w#]+)[\s.,:(\-]*$")
#: Numbers of a grade or type, not leads.
_NUMBERED = {"block", "blocks", "mobitz", "typ", "type", "grad", "grade", "degree", "blockering", "factor"}
_INTRODUCING = {"in", "lead", "leads", "ableitung", "ableitungen", "abl", "avledning", "leads(s)", "s"}
#: For the few texts that `str.lower` makes longer.
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_LIMB_RANGE = ("i", "ii", "iii")


def find(statement: str) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """Lead lists as (start, end, folded lead names in order); a lone "I" counts only after "in" or "lead"."""
    lower = statement.lower()
    if len(lower) != len(statement):
        lower = statement.translate(_LOWER)
    for match in _LIST.finditer(lower):
        skipped, names = _names(match[0])
        if not names:
            continue
        start, end = match.span()
        if not skipped:
            before = _BEFORE.search(lower, max(start - 40, 0), start)
            word = before[1] if before else ""
            if word in _NUMBERED or (
                names[0] in _LIMB_RANGE and len(names) == 1 and word not in _INTRODUCING
            ):
                continue
        yield start + skipped, end, names


@lru_cache(maxsize=4096)
def _names(text: str) -> tuple[int, tuple[str, ...]]:
    """The leads of a list, and how much of it is none: Swedish "i" is "in" ("T-negativ i V4-V6")."""
    items = [(match.start(), match[0]) for match in _ITEM.finditer(text)]
    spaced = len(items) > 1 and items[0][1] == "i" and text[1 : items[1][0]].isspace()
    if spaced and not items[1][1].startswith("ii"):
        items = items[1:]
    names: list[str] = []
    end = 0
    for start, raw in items:
        item = re.sub(r"[\s.]", "", raw)
        last = names[-1] if names else ""
        if item.isdigit() and not last.startswith("v"):
            continue
        name = f"v{item}" if item.isdigit() else f"av{item}" if item in ("r", "l", "f") else item
        if last and _RANGE.match(text[end:start]):
            if last.startswith("v") and name.startswith("v"):
                names += [f"v{n}" for n in range(int(last[1]) + 1, int(name[1]))]
            elif (last, name) == ("i", "iii"):
                names.append("ii")
        names.append(name)
        end = start + len(raw)
    return items[0][0], tuple(dict.fromkeys(names))


def walls(names: Iterable[str]) -> tuple[str, ...]:
    """The walls a set of leads looks at: "anterior", "septal", "lateral", "inferior".

    Two leads make a wall: one of V1 and II, III, aVF alone is often negative in healthy hearts. V1 and V2
    without V3 and V4 are septal.
    """
    leads = set(names)
    result = []
    if len(leads & {"v1", "v2", "v3", "v4"}) >= 2:
        result.append("anterior" if leads & {"v3", "v4"} else "septal")
    if len(leads & {"i", "avl", "v5", "v6"}) >= 2:
        result.append("lateral")
    if len(leads & {"ii", "iii", "avf"}) >= 2:
        result.append("inferior")
    return tuple(result)
