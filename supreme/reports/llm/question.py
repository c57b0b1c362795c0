"""One question about one statement, and how many tokens it will cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from supreme.reports.llm import prompt
from supreme.reports.llm.replies import Reply, read

#: Measured on the prompt, MIMIC-IV-ECG's and PTB-XL's statements with two tokenizers: 2.9 (German) to 3.8.
CHARACTERS_PER_TOKEN = 3.3
#: A reply repeats the statement's findings as names and spans with their JSON (the examples of the prompt).
REPLY_TOKENS, REPLY_TOKENS_PER_CHARACTER = 10, 1.5


@dataclass(frozen=True, slots=True)
class Question:
    """``ask`` is 1, or higher after refused replies; then ``refused`` is the last of them, ``reason`` why."""

    statement_id: str
    statement: str
    ask: int = 1
    refused: str = ""
    reason: str = ""

    def messages(self) -> prompt.Messages:
        """The chat messages of the question."""
        return prompt.messages(self.statement, self.refused, self.reason)

    def prompt_tokens(self) -> int:
        """An estimate from the number of characters; tokenizers differ by a quarter."""
        return round(sum(len(one["content"]) for one in self.messages()) / CHARACTERS_PER_TOKEN)

    def completion_tokens(self, max_tokens: int) -> int:
        """An estimate of a good reply's length, from the number of characters of the statement."""
        return min(max_tokens, round(REPLY_TOKENS + REPLY_TOKENS_PER_CHARACTER * len(self.statement)))


def pending(known: Mapping[str, str], replies: Mapping[str, list[Reply]], asks: int) -> list[Question]:
    """Questions about those of ``known`` (id -> statement) that have no usable reply, and asks left."""
    questions = []
    for statement_id, statement in known.items():
        got = replies.get(statement_id, [])
        error = read(got, statement).error
        if error and not got:
            questions.append(Question(statement_id, statement))
        elif error and len(got) < asks:
            questions.append(Question(statement_id, statement, len(got) + 1, got[-1].content, error))
    return questions
