"""Ray's token file belongs to its user alone, whoever created it."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from supreme.runtime.token import keep_token_private

pytestmark = pytest.mark.unit


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    return tmp_path / ".ray" / "auth_token"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_token_is_private_and_stays_the_same(token: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: keep_token_private(), range(8)))
    first = token.read_text()
    assert len(first) == 64
    assert mode(token) == 0o600
    assert [path.name for path in token.parent.iterdir()] == [token.name]
    keep_token_private()
    assert token.read_text() == first


def test_a_token_that_others_may_read_is_taken_from_them(token: Path) -> None:
    token.parent.mkdir()
    token.write_text("0" * 64)
    token.chmod(0o644)
    keep_token_private()
    assert (mode(token), token.read_text()) == (0o600, "0" * 64)


@pytest.mark.parametrize("variable", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_another_token_is_none_of_ours(token: Path, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "x")
    keep_token_private()
    assert not token.exists()
