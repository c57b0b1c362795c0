"""What a run will ask for, before it does: calls, tokens, money, minutes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from supreme import config
from supreme.reports import statements
from supreme.reports.llm.cache import Cache
from supreme.reports.llm.question import Question, pending
from supreme.reports.llm.replies import Reply

#: From so many replies on, what they took is a better guide than the number of characters.
MIN_REPLIES = 20


def plan(texts: Iterable[str], llm: config.LLM, folder: str) -> dict[str, Any]:
    """Calls, tokens, cost and minutes for the statements that ``folder`` has no reply to; asks nothing.

    Tokens are the mean of earlier replies where there are enough, else guessed from the number of characters
    (``tokens_from`` says which). Calls about refused replies and retries come on top. ``minutes`` is what the
    rate limits and the seconds of earlier replies allow; None where neither is known. ``cost`` is None
    without prices.
    """
    known = {statements.digest(text): text for text in texts}
    cache = Cache(folder, llm)
    questions = pending(known, cache.replies, llm.asks)
    earlier = [reply for replies in cache.replies.values() for reply in replies if reply.prompt_tokens]
    prompt, completion, source = _tokens(questions, earlier, llm)
    price = llm.price_per_million_input * prompt + llm.price_per_million_output * completion
    return {
        "statements": len(known),
        "calls": len(questions),
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "tokens_from": source,
        "cost": round(price / 1e6, 2) if price or not questions else None,
        "minutes": _minutes(len(questions), prompt + completion, earlier, llm),
    }


def _tokens(questions: list[Question], earlier: list[Reply], llm: config.LLM) -> tuple[int, int, str]:
    if len(earlier) >= MIN_REPLIES:
        share = len(questions) / len(earlier)
        prompt = sum(reply.prompt_tokens for reply in earlier) * share
        completion = sum(reply.completion_tokens for reply in earlier) * share
        return round(prompt), round(completion), f"{len(earlier)} earlier replies"
    prompt = sum(question.prompt_tokens() for question in questions)
    completion = sum(question.completion_tokens(llm.max_tokens) for question in questions)
    return round(prompt), round(completion), "characters"


def _minutes(calls: int, tokens: int, earlier: list[Reply], llm: config.LLM) -> float | None:
    known = []
    if llm.requests_per_minute:
        known.append(calls / llm.requests_per_minute)
    if llm.tokens_per_minute:
        known.append(tokens / llm.tokens_per_minute)
    if earlier and llm.engine == "http":
        seconds = sum(reply.seconds for reply in earlier) / len(earlier)
        known.append(calls * seconds / min(llm.concurrency, max(calls, 1)) / 60)
    return round(max(known), 2) if known else None
