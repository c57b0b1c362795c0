"""Calls to an OpenAI-compatible endpoint: many at once, paced, retried; a bad one costs one statement.

Plain asyncio in one process: a call is a few kilobytes and the endpoint is the bottleneck, so that more
processes would only have to share out one rate limit.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import aiohttp
from pydantic import BaseModel, ValidationError

from supreme import config, log
from supreme.config import ConfigError
from supreme.reports.llm import pace
from supreme.reports.llm.address import Address, complaint
from supreme.reports.llm.dialect import Dialect
from supreme.reports.llm.question import Question
from supreme.reports.llm.replies import Reply
from supreme.runtime import observability

MAX_BODY_BYTES = 4 << 20
#: So many statements without an answer, one after the other, end the run.
MAX_UNANSWERED = 20
#: A longer Retry-After than this is a quota, not a burst.
MAX_PAUSE_S = 600.0
#: An endpoint that says "too many requests" to everybody for so long is out of order.
MAX_BUSY_S = 300.0
#: Replies are kept at least this often.
FLUSH_S = 2.0
_NO_CREDIT = ("insufficient_quota", "billing_not_active", "insufficient_balance")
_PASSING = (408, 409, 425, 429)

_log = log.get("reports.llm")


class EndpointError(RuntimeError):
    """The endpoint answers no more; what was answered is kept, and the same command goes on."""


class _Unanswered(Exception):
    """No answer about one statement."""


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(BaseModel):
    choices: list[_Choice]
    usage: _Usage | None = None


@dataclass(frozen=True, slots=True)
class _Problem:
    """Why a call gave no reply, and what that means."""

    text: str
    status: int = 0
    passing: bool = True
    """Another try may do."""


class Endpoint:
    """One endpoint, with what was learned about it during the run.

    ``calls`` counts the requests that were sent, ``retries`` those of them that repeat one.

    Raises:
        ConfigError: the configuration names no usable endpoint.
    """

    def __init__(self, llm: config.LLM) -> None:
        self.llm = llm
        self.address = Address(llm)
        self.dialect = Dialect.of(llm)
        self.counts: Counter[str] = Counter()
        self._requests, self._tokens = pace.Pace(llm.requests_per_minute), pace.Pace(llm.tokens_per_minute)
        self._answered = self._silent = 0
        self._last_s = time.monotonic()

    def ask_all(
        self, questions: Sequence[Question], keep: Callable[[Reply], None], flush: Callable[[], None]
    ) -> dict[str, str]:
        """Ask everything; ``keep`` gets each reply; ``flush`` makes them last, now and then and at the end.

        Returns:
            Statement id -> why it got no answer, for those that got none.

        Raises:
            ConfigError: the endpoint refuses the key, the address or the model.
            EndpointError: it does not answer any more.
        """
        return asyncio.run(self._ask_all(questions, keep, flush)) if questions else {}

    async def _ask_all(
        self, questions: Sequence[Question], keep: Callable[[Reply], None], flush: Callable[[], None]
    ) -> dict[str, str]:
        failed: dict[str, str] = {}
        done = 0
        waiting = iter(questions)
        progress = log.Progress(_log, "statements", len(questions))

        async def work(some: Iterator[Question]) -> None:
            nonlocal done
            for question in some:
                try:
                    keep(await self._ask(session, question))
                except _Unanswered as error:
                    failed[question.statement_id] = str(error)
                    observability.add("supreme_llm_failures_total")
                    self._count_silence(question, str(error))
                done += 1
                progress.update(done, calls=self.counts["calls"], unanswered=len(failed))

        async def save() -> None:
            while True:
                await asyncio.sleep(FLUSH_S)
                await asyncio.to_thread(flush)

        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self.llm.concurrency),
            timeout=aiohttp.ClientTimeout(total=self.llm.timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self.address.headers(),
        ) as session:
            try:
                async with asyncio.TaskGroup() as tasks:
                    saving = tasks.create_task(save())
                    # One call alone: what is wrong with the configuration, or not this endpoint's way, shows.
                    await work(iter([next(waiting)]))
                    await asyncio.wait(
                        [tasks.create_task(work(waiting)) for _ in range(self.llm.concurrency)]
                    )
                    saving.cancel()
            except ExceptionGroup as group:
                raise group.exceptions[0] from group
            finally:
                flush()
        return failed

    def _count_silence(self, question: Question, why: str) -> None:
        self._silent += 1
        _log.warning(f"statement {question.statement_id}: no answer: {why}")
        if self._silent >= MAX_UNANSWERED:
            raise EndpointError(
                f"{self.address.url}: the last {self._silent} statements got no answer ({why}); "
                "what was answered is kept: look at the endpoint, then run the same command"
            )

    async def _ask(self, session: aiohttp.ClientSession, question: Question) -> Reply:
        tries = failures = 0
        while True:
            dialect = self.dialect
            outcome = await self._try(session, question, dialect)
            if isinstance(outcome, Reply):
                self._answered += 1
                self._silent, self._last_s = 0, time.monotonic()
                return outcome
            if dialect is not self.dialect:
                continue
            tries += 1
            # As long as some call gets through now and then, a 429 means "wait", not "broken".
            failures += not (outcome.status == 429 and time.monotonic() - self._last_s < MAX_BUSY_S)
            if not outcome.passing or failures > self.llm.retries:
                raise _Unanswered(outcome.text)
            self.counts["retries"] += 1
            await asyncio.sleep(pace.backoff_s(tries))

    async def _try(
        self, session: aiohttp.ClientSession, question: Question, dialect: Dialect
    ) -> Reply | _Problem:
        expected = question.prompt_tokens() + question.completion_tokens(self.llm.max_tokens)
        await self._requests.take()
        await self._tokens.take(expected)
        self.counts["calls"] += 1
        observability.add("supreme_llm_calls_total")
        started = time.monotonic()
        try:
            async with session.post(
                self.address.url,
                json=dialect.body(question, self.llm),
                proxy=self.address.proxy,
                allow_redirects=False,
            ) as response:
                body = await _read(response)
        except aiohttp.ClientConnectorCertificateError as error:
            raise ConfigError(f"{self.address.url}: its certificate is not trusted ({error})") from error
        except TimeoutError:
            return _Problem(f"no reply within {self.llm.timeout_s:g} s (llm.timeout_s)")
        except (aiohttp.ClientError, OSError) as error:
            return _Problem(f"{type(error).__name__}: {self.address.quote(str(error), question.statement)}")
        if response.status != 200:
            return self._judge(response, body, question, dialect)
        try:
            completion = _Completion.model_validate_json(body)
        except ValidationError:
            quoted = self.address.quote(complaint(body)[0], question.statement)
            return _Problem(f"status 200, but no chat completion {quoted}".rstrip())
        return self._reply(completion, question, expected, time.monotonic() - started)

    def _reply(self, completion: _Completion, question: Question, expected: int, seconds: float) -> Reply:
        choice = completion.choices[0] if completion.choices else _Choice(message=_Message())
        usage = completion.usage or _Usage()
        used = usage.prompt_tokens + usage.completion_tokens
        if used:
            self._tokens.charge(used - expected)
            observability.add("supreme_llm_tokens_total", used)
        return Reply(
            statement_id=question.statement_id,
            ask=question.ask,
            content=choice.message.content or "",
            finish=choice.finish_reason or "",
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            seconds=round(seconds, 3),
        )

    def _judge(
        self, response: aiohttp.ClientResponse, body: bytes, question: Question, dialect: Dialect
    ) -> _Problem:
        """What a status other than 200 means: for this statement, the next calls, or the whole run."""
        status = response.status
        message, names = complaint(body)
        quoted = self.address.quote(message, question.statement)
        wrong = self.address.remedy(status, quoted, response.headers.get("Location", ""))
        # Once others were answered, a 403 (moderation) or 404 (a gateway) is about this call.
        if wrong and (status == 401 or not self._answered):
            raise wrong
        if any(code in names for code in _NO_CREDIT):
            raise EndpointError(f"{self.address.url}: no credit is left ({status}: {quoted})")
        if status in (400, 422) and dialect is self.dialect:
            self._adapt(f"{message} {names}", quoted)
        wait_s = pace.retry_after_s(response.headers.get("Retry-After"))
        if wait_s > MAX_PAUSE_S:
            raise EndpointError(
                f"{self.address.url}: asks for a pause of {wait_s / 60:,.0f} minutes ({status}); "
                "what was answered is kept: run the same command then"
            )
        self._requests.pause(wait_s)
        passing = status in _PASSING or status >= 500
        return _Problem(f"status {status} {quoted}".rstrip(), status, passing)

    def _adapt(self, complaint_: str, quoted: str) -> None:
        adapted = self.dialect.adapted(complaint_)
        if adapted:
            _log.warning(f"{self.address.host} does not take {self.dialect} ({quoted}): now {adapted}")
            self.dialect = adapted


async def _read(response: aiohttp.ClientResponse) -> bytes:
    chunks, size = [], 0
    async for chunk in response.content.iter_chunked(1 << 16):
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise aiohttp.ClientPayloadError(f"more than {MAX_BODY_BYTES} bytes")
    return b"".join(chunks)
