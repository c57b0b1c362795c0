"""Which column of a table is meant: names in any spelling, usual synonyms, and advice where one is absent."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from supreme.config import ConfigError

#: Likeness by difflib; a name that another begins with may be less like it.
_ALIKE, _SHORT_FORM = 0.8, 0.55
_MOST_NAMES = 20
#: Columns that pandas adds when it writes an index.
_INDEX = re.compile(r"__index_level_\d+__|Unnamed: \d+|")


def fold(name: str) -> str:
    """A column's name in small letters without blanks, underscores, hyphens and byte-order mark."""
    text = unicodedata.normalize("NFKC", name).casefold()
    return "".join(character for character in text if character.isalnum())


def match(
    where: str,
    names: Sequence[str],
    required: Sequence[str],
    optional: Sequence[str] = (),
    synonyms: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, str]:
    """The table's own name of each column of ``required`` and ``optional`` that it has.

    Names are compared by :func:`fold`; a synonym counts where the column's own name is absent.

    Raises:
        ConfigError: required columns are absent (naming those that are alike), two columns may be the same
            one, or an unread column looks like a misspelt optional one.
    """
    by_folded: dict[str, list[str]] = {}
    for name in names:
        by_folded.setdefault(fold(name), []).append(name)
    matches: dict[str, str] = {}
    for column in dict.fromkeys([*required, *optional]):
        own = by_folded.get(fold(column), [])
        others = [name for word in (synonyms or {}).get(column, ()) for name in by_folded.get(fold(word), [])]
        candidates = own or list(dict.fromkeys(others))
        if len(candidates) > 1:
            both = " and ".join(map(repr, candidates[:3]))
            if len(set(candidates)) == 1:
                raise ConfigError(f"{where}: two columns are called {candidates[0]!r}: rename or drop one")
            remedy = f"call the right one {column!r}, or drop the others"
            raise ConfigError(f"{where}: {both} may each be {column!r}: {remedy}")
        if candidates:
            matches[column] = candidates[0]
    _refuse_absent(where, names, required, matches)
    _refuse_misspelt(where, names, optional, matches)
    return matches


def unread(names: Iterable[str], matches: Mapping[str, str]) -> list[str]:
    """The columns that nothing reads, without those that pandas adds."""
    return [name for name in names if name not in matches.values() and not _INDEX.fullmatch(name)]


def alike(name: str, others: Iterable[str]) -> list[str]:
    """Those of ``others`` that ``name`` may stand for, the nearest first; their numbers must be the same."""
    folded = fold(name)
    numbers = re.findall(r"\d+", folded)
    scored = []
    for other in others:
        candidate = fold(other)
        shorter, longer = sorted((folded, candidate), key=len)
        likeness = difflib.SequenceMatcher(None, folded, candidate).ratio()
        is_part = len(shorter) >= 4 and shorter in longer
        is_short_form = likeness >= _SHORT_FORM and longer.startswith(shorter)
        if re.findall(r"\d+", candidate) == numbers and (likeness >= _ALIKE or is_part or is_short_form):
            scored.append((-likeness, other))
    return [other for _, other in sorted(scored)]


def _refuse_absent(
    where: str, names: Sequence[str], required: Sequence[str], matches: Mapping[str, str]
) -> None:
    absent = [column for column in required if column not in matches]
    if not absent:
        return
    free = unread(names, matches)
    near = {column: candidates[:3] for column in absent if (candidates := alike(column, free))}
    problems = [
        f"no column {column!r}; nearest: {', '.join(map(repr, names))}: rename the right one"
        for column, names in near.items()
    ]
    if others := [column for column in absent if column not in near]:
        listed = ", ".join(map(repr, free[:_MOST_NAMES])) + (", ..." if len(free) > _MOST_NAMES else "")
        rest = f"its other columns: {listed}" if free else "there is no other"
        problems.append(f"no column {', '.join(map(repr, others))}" + ("" if near else f"; {rest}"))
    raise ConfigError(f"{where}: {'; '.join(problems)}")


def _refuse_misspelt(
    where: str, names: Sequence[str], optional: Sequence[str], matches: Mapping[str, str]
) -> None:
    # A column that is left out because of its spelling is missed late: patients in two splits.
    free = unread(names, matches)
    for column in optional:
        likeness = [(difflib.SequenceMatcher(None, fold(column), fold(name)).ratio(), name) for name in free]
        near = [name for ratio, name in likeness if ratio >= _ALIKE and alike(column, [name])]
        if column not in matches and near:
            raise ConfigError(f"{where}: column {near[0]!r} is not read: rename it to {column!r}, or drop it")
