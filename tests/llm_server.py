"""An OpenAI-compatible server that misbehaves as told, in a process of its own.

``POST /plan`` says how: ``truth`` (statement -> entities), ``script`` (statement -> what its first, second
and further calls get; then the truth), ``rules`` for all calls. ``GET /seen`` tells what was asked.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from aiohttp import web

KEY = "sk-correct-horse-battery-staple"


@dataclass
class Rules:
    """What holds for every call."""

    key: str = ""
    """The key that is asked for."""
    status: int = 0
    """An error for everybody."""
    after: int = 0
    """How many calls pass before that."""
    latency_s: float = 0.0
    refuses: list[str] = field(default_factory=list)
    """Parameters that are refused with status 400, or values of `response_format`'s type; also ``after``."""
    tokens: int = 740
    """What a call is said to have used."""
    per_second: int = 0
    """More calls in a second get a 429."""


class Server:
    def __init__(self) -> None:
        self.plan({})

    def plan(self, told: dict[str, Any]) -> None:
        self.truth: dict[str, list[dict[str, str]]] = told.get("truth", {})
        self.script: dict[str, list[str]] = told.get("script", {})
        self.rules = Rules(**told.get("rules", {}))
        self.calls: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.times: list[float] = []
        self.in_flight = self.most_in_flight = 0

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._chat(request)
        finally:
            self.in_flight -= 1

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body, rules = await request.json(), self.rules
        self.times.append(time.monotonic())
        self.bodies = [*self.bodies[-99:], body]
        self.keys.add(request.headers.get("Authorization", ""))
        if rules.key and request.headers.get("Authorization") != f"Bearer {rules.key}":
            return _error(401, f"Incorrect API key provided: {request.headers.get('Authorization')}")
        kind = body.get("response_format", {}).get("type", "")
        for name in rules.refuses:
            if (name in body or name == kind) and self.calls.total() >= rules.after:
                other = "Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
                what = f"response_format {kind}" if name == kind else name
                return _error(400, f"Unsupported parameter: '{what}'. {other}")
        asked = [json.loads(m["content"])["statement"] for m in body["messages"] if _is_question(m)][-1]
        number = self.calls[asked]
        self.calls[asked] += 1
        if rules.status and self.calls.total() > rules.after:
            return _error(rules.status, f"everybody gets {rules.status}", {"Location": "http://elsewhere/v1"})
        if rules.per_second and sum(at > time.monotonic() - 1 for at in self.times) > rules.per_second:
            return _error(429, "slow down")
        await asyncio.sleep(rules.latency_s)
        script = self.script.get(asked, [])
        return await self._answer(request, asked, script[number] if number < len(script) else "good")

    def _completion(self, content: str | None, finish: str = "stop") -> dict[str, Any]:
        message = {"role": "assistant", "content": content, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        used = {"prompt_tokens": self.rules.tokens - 40, "completion_tokens": 40}
        return {"object": "chat.completion", "choices": [choice], "usage": used}

    async def _answer(self, request: web.Request, asked: str, way: str) -> web.StreamResponse:
        good = json.dumps({"entities": self.truth.get(asked, [])}, ensure_ascii=False)
        invented = {"name": "atrial flutter", "span": "flutter waves nowhere", "tag": "Abnormal"}
        contents = {
            "good": good,
            "fence": f"Here you are:\n```json\n{good}\n```\nAnything else?",
            "think": f"<think>Is {{this}} sinus rhythm?</think>\n\n{good}",
            "not_json": "Sure! The entities are sinus rhythm and others.",
            "wrong_schema": good.replace('"tag"', '"label"').replace("[]", "null"),
            "list": json.dumps(self.truth.get(asked, [])),
            "invented": json.dumps({"entities": [invented]}),
            "partly_invented": json.dumps({"entities": [invented, *self.truth.get(asked, [])]}),
            "empty": "",
        }
        if way in contents:
            return web.json_response(self._completion(contents[way]))
        if way == "truncated":
            return web.json_response(self._completion(good[: len(good) // 2], "length"))
        if way == "complete_but_cut":
            return web.json_response(self._completion(good, "length"))
        if way == "filtered":
            return web.json_response(self._completion("", "content_filter"))
        if way == "no_choices":
            return web.json_response({"choices": []})
        if way == "null":
            return web.json_response(self._completion(None))
        if way == "html":
            return web.Response(text="<html>Please log in</html>", content_type="text/html")
        if way == "error_in_200":
            return web.json_response({"error": {"message": "provider gone", "code": 502}})
        if way == "hang":
            await asyncio.sleep(30)
        if way == "reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if way == "huge":
            return web.Response(text=" " * (5 << 20) + json.dumps(self._completion(good)))
        if way in ("drip", "half"):
            return await _slowly(request, way)
        if way == "429_date":
            then = datetime.now(UTC) + timedelta(seconds=2)
            return _error(429, "slow down", {"Retry-After": format_datetime(then, usegmt=True)})
        if way == "429_long":
            return _error(429, "come back tomorrow", {"Retry-After": "86400"})
        if way == "429":
            return _error(429, "slow down", {"Retry-After": "1"})
        if way == "no_credit":
            return _error(429, "You exceeded your current quota", code="insufficient_quota")
        return _error(int(way), f"could not handle '{asked}' for {request.headers.get('Authorization')}")

    def seen(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "bodies": self.bodies,
            "keys": sorted(self.keys),
            "times": self.times,
            "most_in_flight": self.most_in_flight,
        }


def _is_question(message: dict[str, str]) -> bool:
    return message["role"] == "user" and message["content"].startswith('{"statement"')


def _error(status: int, message: str, headers: dict[str, str] | None = None, code: str = "") -> web.Response:
    value = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
    return web.json_response(value, status=status, headers=headers)


async def _slowly(request: web.Request, way: str) -> web.StreamResponse:
    """One byte a tenth of a second; a body that ends early."""
    answer = web.StreamResponse(headers={"Content-Length": "1000"} if way == "half" else {})
    await answer.prepare(request)
    try:
        while way == "drip":
            await answer.write(b" ")
            await asyncio.sleep(0.1)
    except ConnectionError:
        return answer
    await answer.write(b'{"choices": [')
    assert request.transport is not None
    request.transport.close()
    return answer


class Client:
    """The tests' side: tells the server what to do and asks what it saw."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/v1"

    def plan(self, **told: Any) -> None:
        body = json.dumps(told).encode()
        urlopen(Request(f"http://127.0.0.1:{self.port}/plan", data=body), timeout=10).close()

    def seen(self) -> dict[str, Any]:
        with urlopen(f"http://127.0.0.1:{self.port}/seen", timeout=10) as answer:
            return json.load(answer)


@contextmanager
def running() -> Iterator[Client]:
    """A server process for as long as the block."""
    process = subprocess.Popen([sys.executable, str(Path(__file__))], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield Client(int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def _serve() -> None:
    server = Server()

    async def plan(request: web.Request) -> web.Response:
        server.plan(await request.json())
        return web.Response()

    async def seen(_: web.Request) -> web.Response:
        return web.json_response(server.seen())

    app = web.Application()
    app.add_routes(
        [
            web.post("/v1/chat/completions", server.chat),
            web.post("/plan", plan),
            web.get("/seen", seen),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve())
