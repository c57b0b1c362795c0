"""A call to the endpoint: address, secrets, parameters, pace."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from supreme import config
from supreme.config import ConfigError
from supreme.reports.llm import pace
from supreme.reports.llm.address import Address, complaint
from supreme.reports.llm.dialect import Dialect
from supreme.reports.llm.pace import Pace
from supreme.reports.llm.question import Question

pytestmark = pytest.mark.unit

KEY = "sk-correct-horse"
QUESTION = Question("x", "Sinus rhythm")


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def _llm(**settings: Any) -> config.LLM:
    return config.LLM.model_validate({"model": "m", "url": "https://api.example.com/v1", **settings})


# ---- address


@pytest.mark.parametrize("end", ["", "/", "/chat/completions"])
def test_the_address_of_the_calls(end: str) -> None:
    assert Address(_llm(url=f"http://[::1]:8000/v1{end}")).url == "http://[::1]:8000/v1/chat/completions"


@pytest.mark.parametrize(
    "url", ["", "api.example.com/v1", "file:///etc/passwd", "ftp://host/v1", "http:///v1", "gopher://h"]
)
def test_only_http(url: str) -> None:
    with pytest.raises(ConfigError, match=r"llm\.url: give http"):
        Address(_llm(url=url))


@pytest.mark.parametrize(
    "url",
    [
        f"https://me:{KEY}@host/v1",
        f"https://:{KEY}@host/v1",
        f"https://host/v1?key={KEY}",
        f"https://host/v1#{KEY}",
    ],
)
def test_no_secret_in_the_url(url: str) -> None:
    with pytest.raises(ConfigError, match="OPENAI_API_KEY") as raised:
        Address(_llm(url=url))
    assert KEY not in str(raised.value)


def test_no_model_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"llm\.model"):
        Address(_llm(model=""))


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    assert Address(_llm()).headers()["Authorization"] == f"Bearer {KEY}"
    assert "Authorization" not in Address(_llm(key_env="NO_SUCH_KEY")).headers()
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\r\nX-Evil: 1")
    with pytest.raises(ConfigError, match="OPENAI_API_KEY") as raised:
        Address(_llm())
    assert KEY not in str(raised.value)


def test_the_environments_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "intern.example.com")
    assert Address(_llm()).proxy == "http://proxy:3128"
    assert Address(_llm(url="https://intern.example.com/v1")).proxy is None
    assert Address(_llm(url="http://api.example.com/v1")).proxy is None


def test_what_a_server_says_is_shown_without_key_and_report() -> None:
    address = Address(_llm())
    report = "Patient Miller: sinus rhythm, old inferior infarct"
    assert address.quote(f"bad key {KEY}\n  given", report) == "bad key *** given"
    for repeated in (f"cannot parse '{report}'", "input: sinus rhythm, old inf..."):
        assert address.quote(repeated, report) == "(its message repeats the report)"
    assert address.quote("cannot parse 'LVH'", "LVH") == "(its message repeats the report)"
    assert len(address.quote("x" * 10000, report)) < 400


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": {"message": "no", "param": "seed", "code": null, "type": "bad"}}', ("no", "seed bad")),
        (b'{"error": "no"}', ("no", "")),
        (b'{"message": "no", "code": 7}', ("no", "")),
        (b'{"detail": [{"loc": "seed"}]}', ('[{"loc": "seed"}]', "")),
        (b"<html>", ("", "")),
        (b"[" * 100000, ("", "")),
        (b"[1]", ("", "")),
        (b"\xff", ("", "")),
        (b'{"error": null}', ("", "")),
    ],
)
def test_errors_in_every_form(body: bytes, said: tuple[str, str]) -> None:
    assert complaint(body) == said


# ---- parameters


def test_the_body_of_a_call() -> None:
    body = Dialect("json_schema").body(QUESTION, _llm(max_tokens=99, extra={"seed": 5, "top_p": 0.5}))
    assert (body["model"], body["temperature"], body["max_tokens"], body["seed"], body["top_p"]) == (
        *("m", 0.0, 99),
        *(5, 0.5),
    )
    assert body["response_format"]["json_schema"]["schema"]["required"] == ["entities"]
    assert not {"tools", "functions", "stream"} & set(body)
    assert json.loads(json.dumps(body)) == body


@pytest.mark.parametrize("name", ["messages", "tools", "stream", "n", "model"])
def test_what_is_not_the_users_to_set(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Dialect.of(_llm(extra={name: 1}))


def test_an_endpoint_is_answered_in_its_own_dialect() -> None:
    complaints = [
        "'response_format' of type 'json_schema' is not supported",
        "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
        "Unsupported value: 'temperature' does not support 0",
        "extra fields not permitted: seed",
        "response_format is unknown",
    ]
    dialect = Dialect.of(_llm())
    for complaint_ in complaints:
        adapted = dialect.adapted(complaint_)
        assert adapted
        dialect = adapted
    assert set(dialect.body(QUESTION, _llm())) == {"model", "messages", "max_completion_tokens"}
    assert [dialect.adapted(complaint_) for complaint_ in complaints] == [None] * 5
    assert dialect.adapted("the prompt is too long") is None


# ---- pace


def test_what_is_taken_is_spread_over_time() -> None:
    async def take(paced: Pace, units: list[float]) -> float:
        start = time.monotonic()
        await asyncio.gather(*(paced.take(one) for one in units))
        return time.monotonic() - start

    assert 0.19 <= asyncio.run(take(Pace(6000), [1] * 20)) < 0.5
    assert 0.19 <= asyncio.run(take(Pace(60000), [100, 100, 1])) < 0.5
    assert asyncio.run(take(Pace(0), [1e9] * 20)) < 0.1
    paused = Pace(0)
    paused.pause(0.2)
    assert 0.15 <= asyncio.run(take(paused, [1] * 20)) < 0.5
    charged = Pace(6000)
    charged.pause(0.01)
    charged.charge(20)
    assert 0.19 <= asyncio.run(take(charged, [1])) < 0.5


def test_waits_double_with_jitter_up_to_a_minute() -> None:
    for failures, longest in [(1, 1), (2, 2), (5, 16), (7, 60), (500, 60)]:
        waits = [pace.backoff_s(failures) for _ in range(200)]
        assert longest / 2 <= min(waits) < max(waits) <= longest
        assert max(waits) - min(waits) > longest / 4


def test_retry_after_in_every_form() -> None:
    then = datetime.now(UTC) + timedelta(seconds=100)
    assert pace.retry_after_s("7") == 7
    assert 95 < pace.retry_after_s(format_datetime(then, usegmt=True)) <= 100
    assert pace.retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    for nothing in (None, "", "soon", "-5", "nan", "inf", "1e9", "Wed, 21 Oct 2015 07:28:00 -0000"):
        assert pace.retry_after_s(nothing) == 0
