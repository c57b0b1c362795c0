"""What must not leave the process: passwords, tokens and keys, in text and in nested values.

One way for the console, result lines, manifests, MLflow and any other file. Values of environment variables
whose names look secret are hidden wherever they stand, and so are those of the variables that SUPREME_SECRETS
names; beside them what has the form of a secret: a login in a URL, a signed query, a header, a known token.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from urllib.parse import quote, quote_plus

HIDDEN = "***"
VARIABLES = "SUPREME_SECRETS"
"""Environment variable: names of further variables, separated by commas, whose values are secret."""
MIN_CHARACTERS = 6
"""Shorter values would hide ordinary words."""

_WORDS = (
    r"pass(?:word|wd|phrase)|secret|credentials?|bearer|authori[sz]ation|cookie|signature"
    r"|token(?!s|iz)|(?:api|access|private|secret|account|auth|encryption|signing)[-_.]?key(?:[-_]?id)?"
)
_SECRET_NAME = re.compile(rf"(?i){_WORDS}")
#: Whole words of a key that are too short to be looked for inside others.
_SHORT_WORDS = frozenset({"auth", "key", "pass", "pwd", "sas", "salt", "session", "sig", "pin"})
#: Keys of a recipe that name where a secret is, or are none.
_PUBLIC_NAMES = re.compile(r"(?i)(?:_env|_mode|_path|_file|_format)$")
_VALUE = r"""(?:\\"(?:(?!\\").)*\\"|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s,;&'"}\])]+)"""
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.S),
        HIDDEN,
    ),
    (
        re.compile(
            r"(?i)(\bauthori[sz]ation\\?['\"]?\s{0,3}[=:]\s{0,3}\\?['\"]?)"
            r"(?:(?:bearer|basic|digest|negotiate|token)\s)?[^\s'\",;\\]+"
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(?i)\b(bearer)[ :]{1,3}[\w+/~.=-]{6,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"\bBasic (?=[A-Za-z+/]{0,40}[A-Z0-9])[A-Za-z0-9+/]{12,}={0,2}"), f"Basic {HIDDEN}"),
    # scheme://login@host, but not host:port/path@version
    (
        re.compile(
            r"(\b\w[\w+.-]{0,30}://)(?![^\s/@]{0,300}:\d{1,5}/)(?:[^\s/@:]{0,300}:[^\s@]{0,300}|[^\s/@]{1,300})@(?=[\w\[])"
        ),
        rf"\1{HIDDEN}@",
    ),
    (re.compile(r"(?i)([?&]endpoint_override=)[^\s&@]{0,300}@"), rf"\1{HIDDEN}@"),
    (
        re.compile(
            r"(?i)([?&](?:x-amz-(?:signature|credential|security-token)|awsaccesskeyid|signature|sig|key|code"
            r"|auth|access_token|token|password|api[-_]?key|secret)=)[^\s&#'\"]+"
        ),
        rf"\1{HIDDEN}",
    ),
    (
        re.compile(
            rf"(?i)((?:{_WORDS})[\w.-]{{0,40}}\\?['\"]?\s{{0,3}}[=:]\s{{0,3}})(?!\s*{re.escape(HIDDEN)}){_VALUE}"
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}\b"), HIDDEN),
    (re.compile(r"\b(?:hf|ghp|gho|ghs|github_pat|glpat|xox[abprs]|dapi)[-_]?[A-Za-z0-9_-]{16,}\b"), HIDDEN),
    (re.compile(r"\bsk-[A-Za-z0-9_-]{16,}"), HIDDEN),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), HIDDEN),
)


def redact(text: str) -> str:
    """The text with ``***`` in place of everything that is, or looks, secret."""
    return _hide(text, _secret_values())


def redact_values(values: Mapping[str, object]) -> dict[str, object]:
    """Nested values, as a recipe has them, redacted: whole where their key looks secret, else as text."""
    secrets = _secret_values()
    return {_hide(key, secrets): _redacted(value, key, secrets) for key, value in values.items()}


def looks_secret(key: str) -> bool:
    """Whether a key of a setting, a header or a variable is one that holds a secret."""
    if _PUBLIC_NAMES.search(key):
        return False
    words = re.split(r"[^a-z0-9]+", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", key).lower())
    return bool(_SECRET_NAME.search(key)) or not _SHORT_WORDS.isdisjoint(words)


def hide_variable(name: str) -> None:
    """Treat the value of an environment variable as secret, here and in every process started from here."""
    names = [*filter(None, os.environ.get(VARIABLES, "").split(","))]
    if name and name not in names:
        os.environ[VARIABLES] = ",".join([*names, name])


def _hide(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, HIDDEN)
    return _hide_short(text) if len(text) <= _SHORT else _hide_forms(text)


def _hide_forms(text: str) -> str:
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


_SHORT = 80
#: The keys of a history are the same in each of its lines.
_hide_short = lru_cache(maxsize=4096)(_hide_forms)


def _redacted(value: object, key: str, secrets: Sequence[str]) -> object:
    if isinstance(value, Mapping):
        return {
            _hide(str(name), secrets): _redacted(item, str(name), secrets) for name, item in value.items()
        }
    if value is None or isinstance(value, bool) or value == "":
        return value
    if looks_secret(key):
        return HIDDEN
    if isinstance(value, list | tuple):
        return [_redacted(item, "", secrets) for item in value]
    return _hide(value, secrets) if isinstance(value, str) else value


def _secret_values() -> list[str]:
    """What secret variables hold, longest first, in each form in which it may be written."""
    named = os.environ.get(VARIABLES, "").split(",")
    values = {
        value
        for name, value in os.environ.items()
        if len(value) >= MIN_CHARACTERS
        and (name in named or (_SECRET_NAME.search(name) and not _is_plain(name, value)))
    }
    forms = {form for value in values for form in _forms(value)}
    return sorted(forms, key=len, reverse=True)


def _is_plain(name: str, value: str) -> bool:
    """Whether the variable only has a name like a secret's: a path, a number, a switch."""
    if _PUBLIC_NAMES.search(name) or value.lower() in ("disabled", "enabled", "default"):
        return True
    return (value.isdecimal() and len(value) < 12) or os.path.exists(value)


def _forms(value: str) -> tuple[str, ...]:
    in_json = json.dumps(value)[1:-1]
    return (
        value,
        in_json,
        json.dumps(in_json)[1:-1],
        quote(value, safe=""),
        quote_plus(value),
        repr(value)[1:-1],
    )
