"""What people write into cells and header comments: keys, codes, sex and age in their many spellings."""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from decimal import Decimal, InvalidOperation
from typing import Any

#: Cells that hold nothing, as pandas, R, SQL and spreadsheets write them; "-" stands for itself.
MISSING = frozenset(
    f(word)
    for word in ("", "nan", "none", "null", "na", "n/a", "<na>", "#n/a", "#na", "nat", "nil")
    for f in (str, str.upper, str.title)
) | {"NaN", "NaT", "-nan", "-NaN", "#N/A N/A"}

_FEMALE = (
    "f female fem woman girl weiblich weibl frau mädchen w kvinna kvinne kvinde kvinnlig femme féminin"
    " féminine feminin mujer femenino femenina hembra mulher feminino feminina donna femmina femminile vrouw"
    " feminine vrouwelijk nainen kobieta żena žena kadın женский жен ж женщина 女 女性"
)
_MALE = (
    "m male masc man boy männlich maennlich mannlich mann herr junge manlig homme masculin hombre varón varon"
    " masculino macho homem uomo maschio maschile mannelijk mies mężczyzna muž erkek мужской муж м мужчина"
    " 男 男性"
)
_SEX = dict.fromkeys(_FEMALE.split(), "F") | dict.fromkeys(_MALE.split(), "M")
#: What says that the sex is neither or not known, so that nothing is left to understand.
_NO_SEX = frozenset(
    ("unknown", "unk", "u", "unbekannt", "divers", "diverse", "other", "o", "x", "not specified", "?", "-")
)

_MAX_AGE, _MAX_LITERAL = 120.0, 20_000
#: Years in one unit of an age.
_YEARS = {
    **dict.fromkeys(
        ("", "y", "yr", "yrs", "year", "years", "yo", "y/o", "y.o", "year old", "years old"), 1.0
    ),
    **dict.fromkeys(
        ("j", "jahr", "jahre", "a", "an", "ans", "año", "años", "ano", "anos", "anni", "år"), 1.0
    ),
    **dict.fromkeys(("m", "mo", "mon", "month", "months", "monate", "monat", "mois", "mes", "meses"), 1 / 12),
    **dict.fromkeys(("w", "wk", "week", "weeks", "wochen", "semaines", "semanas"), 7 / 365.25),
    **dict.fromkeys(("d", "day", "days", "tage", "jours", "días", "dias"), 1 / 365.25),
}
_AGE_PART = re.compile(r"(\d{1,5}(?:[.,]\d{1,6})?)[ -]?([^\W\d]*(?:[/. -][^\W\d]+)?)\.?,?\s*")
_OPEN_AGE = re.compile(
    r"(?:>=?|≥|over|older than|über|plus de|más de)?\s*(\d{2,3})\s*(?:\+|and older|or older|and over)?"
)
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


def is_missing(text: str | None) -> bool:
    """Whether a cell holds nothing: empty, blank, "nan", "None", "NA" and alike."""
    return text is None or text.strip() in MISSING or text.strip().casefold() in MISSING


def key(text: str) -> str:
    """A cell by which tables are joined: without blanks at its ends; whole floats as integers.

    "12345.0" and "1.2345e4" are "12345"; "1.23e10", which a spreadsheet has rounded, stays.
    """
    text = text.strip()
    if text.isdecimal():
        return text
    whole, point, rest = text.partition(".")
    if point and whole.isdecimal() and rest and not rest.strip("0"):
        return whole
    if text[:1].isdecimal() and "e" in text.casefold():
        return _whole(text)
    return text


def _whole(text: str) -> str:
    """A number with an exponent as an integer, where its digits say all of it."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    _, digits, exponent = number.as_tuple()
    is_exact = isinstance(exponent, int) and exponent <= 0 and len(digits) < 30
    return str(int(number)) if is_exact and number == int(number) else text


def codes(text: str) -> tuple[str, ...]:
    """The labels of a cell, each once, in order.

    Lists of JSON, Python or numpy, and dictionaries (their keys; those of 0 and 1 only: where it is 1); else
    text separated by ";", "|" or tab, or where there is none of these by ",", or numbers by blanks.
    """
    text = text.strip()
    if text[:1] in ("[", "(", "{") and text[-1:] in ("]", ")", "}"):
        items = _items_of_literal(text)
    elif separators := [separator for separator in (";", "|", "\t", "\n") if separator in text]:
        items = re.split(f"[{''.join(map(re.escape, separators))}]", text)
    elif "," in text:
        items = text.split(",")
    else:
        numbers = text.split()
        items = numbers if all(len(number) > 5 and number.isdecimal() for number in numbers) else [text]
    labels = (key(str(item).strip().strip("'\"")) for item in items if item is not None)
    return tuple(dict.fromkeys(label for label in labels if not is_missing(label)))


def _items_of_literal(text: str) -> list[Any]:
    inner = text[1:-1]
    quoted = _QUOTED.findall(inner)
    if len(quoted) > 1 and not _QUOTED.sub("", inner).strip():  # numpy: ['AF' 'LBBB']
        return [single or double for single, double in quoted]
    value: Any = None
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text) if len(text) <= _MAX_LITERAL else None
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            continue
        break
    if isinstance(value, dict):
        is_indicator = all(type(flag) in (int, bool) and flag in (0, 1) for flag in value.values())
        return [code for code, flag in value.items() if flag or not is_indicator]
    if isinstance(value, list | tuple | set) and not any(isinstance(item, list | dict) for item in value):
        return sorted(value, key=str) if isinstance(value, set) else list(value)
    return re.split("[,;|]", inner)


def parse_sex(text: str) -> str:
    """F, M, or empty for anything that says neither, as 0 and 1, whose meaning differs between data sets."""
    return _SEX.get(text.strip(" .").casefold(), "")


def says_no_sex(text: str) -> bool:
    """Whether a cell says that the sex is unknown or neither, so that nothing in it was misunderstood."""
    return is_missing(text) or text.strip(" .").casefold() in _NO_SEX


def parse_age(text: str) -> float | None:
    """Years, or None for what is no plausible age.

    Reads "57", "57,5", "57 years", "057Y", "P57Y", "18 months", "2 y 6 m", "89+" and "> 89". Whatever is open
    above 85, and PTB-XL's 300, becomes 90.
    """
    folded = unicodedata.normalize("NFKC", text).casefold().strip().strip(".")
    try:
        age = float(folded.replace(",", ".", 1))
    except ValueError:
        age = _age_with_words(folded)
    return 90.0 if age == 300 else age if 0 <= age <= _MAX_AGE else None


def _age_with_words(text: str) -> float:
    """Years of an age that is more than a number; NaN where it is not understood."""
    if (match := _OPEN_AGE.fullmatch(text)) and int(match[1]) >= 85:
        return max(90.0, float(match[1]))
    text = re.sub(r"^p(?=\d)|^age[ :=]*", "", text)
    parts = list(_AGE_PART.finditer(text))
    units = [_YEARS.get(part[2].strip(" .").replace("-", " ")) for part in parts]
    if not parts or None in units or "".join(part[0] for part in parts) != text:
        return float("nan")
    return sum(
        float(part[1].replace(",", ".")) * unit for part, unit in zip(parts, units, strict=True) if unit
    )
