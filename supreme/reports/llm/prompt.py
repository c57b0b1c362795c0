"""The question to the language model: a versioned data file, and the statement as quoted data in it."""

from __future__ import annotations

import json
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from supreme import config

Messages = list[dict[str, str]]
#: What of a refused reply is shown to the model again.
MAX_SHOWN = 1000


@cache
def load() -> dict[str, Any]:
    """``data/llm/prompt.toml``: system text, examples, the text after a refused reply, the reply's schema."""
    path = files("supreme.reports").joinpath("data/llm/prompt.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


@cache
def version() -> str:
    """Identity of the prompt: 12 hexadecimal digits over everything in its file."""
    return config.digest(load())[:12]


def messages(statement: str, refused: str = "", reason: str = "") -> Messages:
    """The messages of one call; with ``refused`` and ``reason``, the call after a refused reply.

    The statement travels as a JSON string, so that nothing in it can end its quotation; one statement a call,
    so that none can change what is said about another.
    """
    messages = [{"role": "system", "content": load()["system"].strip()}]
    for example in load()["examples"]:
        reply = json.dumps({"entities": example["entities"]}, ensure_ascii=False)
        messages += [_asked(example["statement"]), {"role": "assistant", "content": reply}]
    messages.append(_asked(statement))
    if reason:
        again = load()["again"].replace("{reason}", load()["reasons"][reason]).strip()
        messages.append({"role": "assistant", "content": refused[:MAX_SHOWN] or "{}"})
        messages.append({"role": "user", "content": again})
    return messages


def _asked(statement: str) -> dict[str, str]:
    return {"role": "user", "content": json.dumps({"statement": statement}, ensure_ascii=False)}
