"""What is wrong with a submission is seen before anything is sent."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from supreme.config import ConfigError
from supreme.runtime import origin, submit
from supreme.runtime.token import check_token

pytestmark = pytest.mark.unit
CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("job", "arguments", "reason"),
    [
        ("pretrian", [], "no job 'pretrian': choose from .*pretrain"),
        ("../jobs/pretrain", [], "no job"),
        ("pretrain", ["--config", "smoke", "root=s3://b/r", "training.lr=1"], "training.lr"),
        ("pretrain", ["--config", "nowhere", "root=/r"], "nowhere"),
        ("pretrain", ["--config", "smoke", "root=runs"], r"root=runs: .* give root as s3://"),
        ("pretrain", ["--config", "smoke"], "root="),
    ],
)
def test_a_job_that_would_end_with_2_is_refused_here(job: str, arguments: list[str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        submit.check_job(CHECKOUT, job, arguments)


def test_switches_of_the_job_pass() -> None:
    submit.check_job(
        CHECKOUT, "pretrain", ["--new", "--config=smoke", "--dry-run", "root=s3://b/r", "seed=2"]
    )


@pytest.mark.parametrize(
    ("address", "reason"),
    [("", "is not set: run `source"), ("127.0.0.1:8265", "http://HOST:8265"), ("ray://h:10001", "no job")],
)
def test_an_address_of_something_else(address: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        submit.check_address(address)


def test_an_unencrypted_address_beyond_this_machine_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    submit.check_address("http://127.0.0.1:8265")
    submit.check_address("https://ray.example")
    assert not caplog.records
    submit.check_address("http://10.0.0.7:8265")
    assert "the token is sent unencrypted" in caplog.text


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        (b"", 0o600, "is empty"),
        (b"abc\n", 0o600, "line ends"),
        (b"abc", 0o644, "can be read by others"),
        (None, 0, "No such file"),
    ],
)
def test_a_token_that_is_missing_spoilt_or_public(
    tmp_path: Path, monkeypatch, content: bytes | None, mode: int, reason: str
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
        file.chmod(mode)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(file))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with pytest.raises(ConfigError, match=r"no token for http://h: set RAY_AUTH_MODE=token"):
        check_token("http://h")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with pytest.raises(ConfigError, match=reason) as refused:
        check_token("http://h")
    assert "abc" not in str(refused.value)
    file.write_bytes(b"abc")
    file.chmod(0o600)
    check_token("http://h")


@pytest.mark.parametrize("with_git", [True, False])
def test_data_in_the_working_directory_are_named_unless_git_ignores_them(
    tmp_path: Path, monkeypatch, with_git: bool
) -> None:
    monkeypatch.setattr(submit, "MAX_BYTES", 10_000)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/ecgs.h5").write_bytes(bytes(20_000))
    (tmp_path / "code.py").write_text("pass")
    if with_git:
        subprocess.run(["git", "-C", str(tmp_path), "init", "-q"], check=True)
    with pytest.raises(ConfigError, match=r"data/ecgs\.h5 \(0 MB\)"):
        submit.check_size(tmp_path)
    if with_git:
        (tmp_path / ".gitignore").write_text("/data\n")
        submit.check_size(tmp_path)


def test_where_a_run_comes_from_is_carried_by_the_environment(tmp_path: Path, monkeypatch) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=A", "-c", "user.email=a@b.c"]
    (tmp_path / "code.py").write_text("pass")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *arguments], check=True)
    clean = origin.here(tmp_path)
    assert len(clean.commit) == 40
    assert not clean.changed
    assert clean.user
    assert clean.host
    (tmp_path / "code.py").write_text("raise")
    origin.here.cache_clear()
    assert origin.here(tmp_path) == clean.model_copy(update={"changed": True})
    monkeypatch.setenv(origin.VARIABLE, clean.model_dump_json())
    assert origin.of_this_process() == clean
    monkeypatch.setenv(origin.VARIABLE, "{nonsense")
    assert origin.of_this_process() == origin.here(CHECKOUT)


@pytest.mark.parametrize(
    ("variables", "max_bytes", "reason"),
    [
        ({}, 1, "the working directory holds"),
        ({"RAY_AUTH_MODE": "disabled"}, 1 << 40, "no token for"),
        ({"RAY_ADDRESS": "h:1"}, 1 << 40, "is no job server"),
    ],
)
def test_everything_is_checked_before_it_is_sent(
    tmp_path: Path, monkeypatch, variables: dict[str, str], max_bytes: int, reason: str
) -> None:
    monkeypatch.chdir(CHECKOUT)
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    right = {"RAY_ADDRESS": "http://127.0.0.1:8265", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "abc"}
    for name, value in (right | variables).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(submit, "MAX_BYTES", max_bytes)
    with pytest.raises(ConfigError, match=reason):
        submit.prepare(["shard", "--config", "smoke", f"root={tmp_path}"])
