"""Lead lists in free text ("II, III, aVF", "V4-6") and the wall of the heart that they look at."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_V = r"v\s?[1-6](?!\w|:)"
_LIMB = r"(?:iii|ii|i|a\.?v\.?[rlf])(?!\w|'|-?v\b)"
_STRONG = r"\s*(?:,|/|\+|&|-|–)\s*|\s+(?:and|und|och|to|bis|till|through|or|oder|eller)\s+"
_LIST = re.compile(
    rf"(?<![\w#])(?:{_V}|{_LIMB})(?:(?:{_STRONG}|\s+)(?:{_V}|{_LIMB})|(?:{_STRONG})[1-6](?![\w:]|[.,]\d\d|\.?\s*grad))*",
    re.IGNORECASE,
)
_ITEM = re.compile(rf"{_V}|{_LIMB}|[1-6]", re.IGNORECASE)
_RANGE = re.compile(r"^\s*(?:-|–)\s*$|^\s+(?:to|bis|till|through)\s+$", re.IGNORECASE)
_BEFORE = re.compile(r"([\w#]+)[\s.,:(\-]*$")
#: Numbers of a grade or type, not leads.
_NUMBERED = {"block", "blocks", "mobitz", "typ", "type", "grad", "grade", "degree", "blockering", "factor"}
_INTRODUCING = {"in", "lead", "leads", "ableitung", "ableitungen", "abl", "avledning", "leads(s)", "s"}


def find(statement: str) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """Lead lists as (start, end, folded lead names in order); a lone "I" counts only after "in" or "lead"."""
    for match in _LIST.finditer(statement):
        start, end = match.span()
        items = [(m.start() + start, m.group().casefold()) for m in _ITEM.finditer(match.group())]
        before = _BEFORE.search(statement, 0, start)
        word = before.group(1).casefold() if before else ""
        # Swedish "i" is the preposition "in": "T-negativ i V4-V6".
        spaced = len(items) > 1 and items[0][1] == "i" and statement[start + 1 : items[1][0]].isspace()
        if spaced and not items[1][1].startswith("ii"):
            start, items, word = items[1][0], items[1:], "in"
        names = _expand(statement, items)
        alone = len(names) == 1 and names[0] in ("i", "ii", "iii")
        if not names or word in _NUMBERED or (alone and word not in _INTRODUCING):
            continue
        yield start, end, names


def _expand(statement: str, items: list[tuple[int, str]]) -> tuple[str, ...]:
    names: list[str] = []
    end = 0
    for start, raw in items:
        text = re.sub(r"[\s.]", "", raw)
        name = f"v{text}" if text.isdigit() else text
        if text.isdigit() and not (names and names[-1].startswith("v")):
            continue
        if (
            names
            and names[-1].startswith("v")
            and name.startswith("v")
            and _RANGE.match(statement[end:start])
        ):
            names += [f"v{n}" for n in range(int(names[-1][1]) + 1, int(name[1]))]
        names.append(name)
        end = start + len(raw)
    return tuple(dict.fromkeys(names))


def walls(names: Iterable[str]) -> tuple[str, ...]:
    """The walls a set of leads looks at: "anterior", "septal", "lateral", "inferior".

    V1 and V2 alone are septal; V2 to V4 anterior, V4 only beside V2 or V3; I, aVL, V5 and V6 lateral; III or
    aVF, or II without another limb lead, inferior.
    """
    chosen = set(names)
    found = []
    if (
        (chosen & {"v2", "v3"} and chosen & {"v3", "v4"})
        or chosen & {"v3"}
        or (chosen & {"v4"} and not chosen & {"v5", "v6"})
    ):
        found.append("anterior")
    elif chosen & {"v1", "v2"}:
        found.append("septal")
    if chosen & {"i", "avl", "v5", "v6"}:
        found.append("lateral")
    if chosen & {"iii", "avf"} or ("ii" in chosen and not chosen & {"i", "avl"}):
        found.append("inferior")
    return tuple(found)
