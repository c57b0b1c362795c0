"""Every reply ever got, in JSON-lines parts that are only added to: nothing is asked, and paid, twice."""

from __future__ import annotations

import re
import threading
import uuid
from typing import Any

from pydantic import ValidationError

from supreme import config, storage
from supreme.log import redact_values
from supreme.reports.llm import prompt
from supreme.reports.llm.replies import Reply

ABOUT = "about.json"
#: Replies in one part; the last part of a run is written anew, whole, until it is full.
PART_REPLIES = 1000


class Cache:
    """Replies to one prompt from one model with one set of parameters.

    They lie in ``<folder>/<model>-<digest of prompt version, model and parameters>``; ``about.json`` there
    says what the digest stands for. A part is written whole or not at all, so a kill costs what was not yet
    flushed. Two runs may use a folder at once; at worst both ask the same.

    Raises:
        ValueError: a part is not what was written; the message names it.
    """

    def __init__(self, folder: str, llm: config.LLM) -> None:
        about = identity(llm)
        name = re.sub(r"[^\w.-]+", "_", llm.model).strip("_.")[:60]
        self.folder = storage.join(folder, f"{name}-{config.digest(about)[:12]}")
        self.replies: dict[str, list[Reply]] = {}
        self._about = about
        self._part: list[Reply] = []
        self._written = 0
        self._name = _part_name()
        self._lock = threading.Lock()
        for file in storage.list_files(self.folder, ".jsonl"):
            for reply in _read(storage.join(self.folder, file)):
                self._remember(reply)

    def add(self, reply: Reply) -> None:
        """Remember a reply; `flush` makes it last."""
        self._remember(reply)
        self._part.append(reply)

    def flush(self) -> None:
        """Write what was added; may run in another thread than `add`."""
        with self._lock:
            while len(part := self._part[:PART_REPLIES]) > self._written:
                if self._about:
                    storage.write_json(storage.join(self.folder, ABOUT), self._about)
                    self._about = {}
                lines = "".join(reply.model_dump_json(exclude_defaults=True) + "\n" for reply in part)
                storage.write_bytes(storage.join(self.folder, self._name), lines.encode())
                self._written = len(part)
                if len(part) == PART_REPLIES:
                    del self._part[:PART_REPLIES]
                    self._written, self._name = 0, _part_name()

    def _remember(self, reply: Reply) -> None:
        self.replies.setdefault(reply.statement_id, []).append(reply)


def identity(llm: config.LLM) -> dict[str, Any]:
    """What decides a reply, besides the statement; without secrets, which are no part of it."""
    parameters = {"temperature", "max_tokens", "reply_format", "extra"}
    return {
        "prompt_version": prompt.version(),
        "model": llm.model,
        "parameters": redact_values(llm.model_dump(mode="json", include=parameters)),
    }


def _part_name() -> str:
    return f"part-{uuid.uuid4().hex[:16]}.jsonl"


def _read(uri: str) -> list[Reply]:
    content = storage.read_bytes(uri)
    try:
        # Not splitlines(): a reply may hold other line ends than "\n".
        return [Reply.model_validate_json(line) for line in content.split(b"\n") if line]
    except ValidationError as error:
        raise ValueError(f"{uri} is damaged: delete it, and its statements are asked again") from error
