"""The parameters of a call; what an endpoint refuses by name is put another way for all further calls."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from supreme import config
from supreme.config import ConfigError
from supreme.reports.llm import prompt
from supreme.reports.llm.question import Question

SEED = 0
_WEAKER = {"json_schema": "json_object", "json_object": "text"}
_FORMAT_WORDS = ("response_format", "json_schema", "json_object", "guided", "structured output", "grammar")
#: Ours to decide: no tools, one whole reply a call.
_RESERVED = ("model", "messages", "tools", "tool_choice", "functions", "function_call", "stream", "n")


@dataclass(frozen=True)
class Dialect:
    """How this endpoint wants its parameters."""

    reply_format: str
    tokens_name: str = "max_tokens"
    """OpenAI's reasoning models want `max_completion_tokens`."""
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, llm: config.LLM) -> Dialect:
        """The dialect to begin with.

        Raises:
            ConfigError: `llm.extra` holds a parameter that is not the user's to set.
        """
        reserved = sorted(set(llm.extra) & set(_RESERVED))
        if reserved:
            raise ConfigError(f"llm.extra must not hold {', '.join(reserved)}")
        return cls(llm.reply_format)

    def body(self, question: Question, llm: config.LLM) -> dict[str, Any]:
        """The JSON of one call."""
        fields: dict[str, Any] = {
            "model": llm.model,
            "messages": question.messages(),
            "temperature": llm.temperature,
            "seed": SEED,
            self.tokens_name: llm.max_tokens,
        }
        if self.reply_format == "json_schema":
            schema = {"name": "entities", "strict": True, "schema": prompt.load()["schema"]}
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif self.reply_format == "json_object":
            fields["response_format"] = {"type": "json_object"}
        return {name: value for name, value in fields.items() if name not in self.left_out} | llm.extra

    def adapted(self, message: str) -> Dialect | None:
        """The dialect after an error that names a parameter; None when there is nothing to change."""
        words = message.casefold()
        if self.tokens_name == "max_tokens" and "max_completion_tokens" in words:
            return replace(self, tokens_name="max_completion_tokens")
        if self.reply_format in _WEAKER and any(word in words for word in _FORMAT_WORDS):
            return replace(self, reply_format=_WEAKER[self.reply_format])
        for name in ("temperature", "seed"):
            if name in words and name not in self.left_out:
                return replace(self, left_out=(*self.left_out, name))
        return None
