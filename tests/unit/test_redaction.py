"""What must not leave the process does not, in whatever form it is written; what is no secret stays."""

from __future__ import annotations

import json
import time
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supreme import config, redaction
from supreme.log import redact, redact_values

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "text",
    [
        *(
            "postgresql://user:hunter22@host/db",
            "postgresql://user:hun/hunter22@host/db",
            "https://hunter22@host/x",
        ),
        *(
            "s3://AKIAEXAMPLE:hunter22@bucket/x",
            "http://u:hunter22@[::1]:80/",
            "AWS_SECRET_ACCESS_KEY=hunter22",
        ),
        *(
            "password: hunter22",
            'token="hunter22"',
            "MLFLOW_TRACKING_PASSWORD=hunter22 ok",
            "apikey=hunter22",
        ),
        *("Authorization: Bearer hunter22", "Authorization: Basic hunter22==", "bearer hunter22xyz"),
        *(
            "{'Authorization': 'Bearer hunter22'}",
            '{"api_key": "hun ter,hunter22"}',
            r"{\"token\": \"hunter22\"}",
        ),
        *("https://h/p?x=1&token=hunter22&y=2", "https://h/v1?key=hunter22", "https://h/?sig=hunter22"),
        "https://b.s3.amazonaws.com/k?X-Amz-Credential=hunter22%2F2026&X-Amz-Signature=hunter22",
        *(
            "X-Api-Key: hunter22",
            "openai-api-key=hunter22",
            "Cookie: session=hunter22",
            "client_secret=hunter22",
        ),
        *("AKIAHUNTER2200000000", "hf_hunter22hunter22hunter22", "sk-proj-hunter22hunter22hunter"),
        *("ghp_hunter22hunter22hunter22", "eyJhunter22.eyJhunter22.hunter22"),
        "-----BEGIN RSA PRIVATE KEY-----\nhunter22\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_secrets_are_hidden(text: str) -> None:
    assert "hunter22" not in redact(text).lower()
    assert redaction.HIDDEN in redact(text)


@pytest.mark.parametrize(
    "line",
    [
        *("ptbxl: 485 records, 0 refused, s3://bucket/key.parquet", "http://127.0.0.1:8265/api/version"),
        *("models:/supreme-ecg@champion", "http://host:8000/models/x@champion", "max_tokens=1024, tokens: 5"),
        *("model.tokens: 'joint' -> 'leadwise'", "tokens_per_minute=100", "s3://b/p?region=eu-west-1"),
        *(
            "llm.key_env='OPENAI_API_KEY'",
            "unknown key 'traning'; nearest valid key: 'training'",
            "a key: value",
        ),
        "basic rhythm: sinus; digest 0e9ca21b2d3f0e9ca21b2d3f differs; bearer of news; the key is 5",
        "shards.rate_hz: more than 50,000 is refused: no ECG is sampled faster (got 1000000)",
    ],
)
def test_ordinary_lines_are_left_alone(line: str) -> None:
    assert redact(line) == line


@pytest.mark.parametrize(
    "piece",
    [
        "a.",
        "a",
        "token",
        "password: '",
        "a://",
        "x:",
        "eyJaaaaaaaa.",
        "Bearer ",
        "-----BEGIN PRIVATE KEY-----",
        '\\"',
    ],
)
def test_the_time_grows_with_the_length(piece: str) -> None:
    start = time.process_time()
    redact(piece * (300_000 // len(piece)))
    assert time.process_time() - start < 5


def test_values_of_secret_variables_are_hidden_wherever_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "correct-horse")
    assert redact("sent correct-horse over") == "sent *** over"


def test_the_variable_that_the_recipe_names_is_secret_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENDOR", "correct-horse")
    monkeypatch.setenv(redaction.VARIABLES, "OTHER")
    assert redact("correct-horse") == "correct-horse"
    redaction.hide_variable("VENDOR")
    redaction.hide_variable("VENDOR")
    assert redact("correct-horse") == "***"


def test_paths_numbers_and_switches_are_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in [
        ("RAY_AUTH_TOKEN_PATH", "/tmp"),
        ("MAX_TOKEN", "100000"),
        ("TOKENIZERS_PARALLELISM", "really"),
        ("X_TOKEN_MODE", "strict"),
    ]:
        monkeypatch.setenv(name, value)
        assert redact(f"so {value} it is") == f"so {value} it is"


SECRETS = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x24F, blacklist_characters="*"), min_size=8, max_size=40
).filter(lambda text: not text.isdecimal())


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(secret=SECRETS)
def test_a_planted_secret_survives_in_no_form(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_TOKEN", secret)
    values = {"a": [{"b": f"x{secret}y"}], "headers": {"Authorization": "Bearer x"}, "n": 1}
    for text in (
        f"x{secret}y",
        json.dumps({"value": secret}),
        json.dumps(json.dumps(secret)),
        f"http://h/?x={quote(secret, safe='')}",
        repr({"value": secret}),
        json.dumps(redact_values(values)),
    ):
        assert secret not in redact(text)
        assert json.dumps(secret)[1:-1] not in redact(text)
    assert redact_values(values)["n"] == 1


def test_secret_looking_keys_of_a_recipe_are_hidden_and_its_own_keys_are_not() -> None:
    plain = config.Recipe().model_dump(mode="json")
    assert redact_values(plain) == plain, "nothing of a recipe's own is taken for a secret"
    extra = {
        "headers": {"X-Api-Key": "hunter22", "accept": "json"},
        "authToken": "hunter22",
        "pass": "hunter22",
        "keys": ["hunter33"],
        "session": {"id": "visible"},
        "token": ["hunter22"],
        "pin": 1234567,
        "max_tokens": 5,
        "url": "https://u:hunter22@h",
    }
    shown = redact_values(config.LLM(extra=extra, engine_options={"hf_token": "hunter22"}).model_dump())
    assert "hunter22" not in str(shown)
    assert "1234567" not in str(shown)
    assert shown["extra"]["max_tokens"] == 5  # type: ignore[index]
    assert shown["extra"]["headers"]["accept"] == "json"  # type: ignore[index]
    assert redact_values(shown) == shown, "a second time changes nothing"
