"""Tracking servers that are no tracking servers: every stage says what happened, where, and the remedy."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from supreme import config, tracking
from supreme.registry import versions
from supreme.settings.tracking import Tracking
from supreme.tracking import server
from supreme.tracking.server import TrackingError

pytestmark = pytest.mark.unit

SECRET = "correct-horse-battery"


@dataclass
class Answer:
    """What a scripted server answers to everything."""

    status: int = 200
    body: str = "{}"
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    stall_s: float = 0.0
    requests: list[str] = field(default_factory=list)
    address: str = ""


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answer]:
    """A web server that answers as `Answer` says, and a client that does not repeat by itself."""
    answer = Answer()

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            answer.requests.append(f"{self.command} {self.path}")
            time.sleep(answer.stall_s)
            content = answer.body.encode()
            self.send_response(answer.status)
            for name, value in {"Content-Type": answer.kind, **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = respond

        def log_message(self, format: str, *arguments: object) -> None:
            """Silent."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    answer.address = f"http://127.0.0.1:{http.server_address[1]}"
    for name, value in (("MAX_RETRIES", "0"), ("TIMEOUT", "2"), ("BACKOFF_FACTOR", "0")):
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", value)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", SECRET)
    monkeypatch.setattr(server, "WAIT_S", 1.5)
    yield answer
    answer.stall_s = 0
    http.shutdown()
    http.server_close()


PAGE = "<!doctype html><html><body>Sign in</body></html>"

FAULTS = {
    "401": (Answer(401, "Unauthorized", "text/plain"), "refuses the login .401..*MLFLOW_TRACKING_USERNAME"),
    "403": (Answer(403, PAGE, "text/html"), "refuses the login .403."),
    "500": (Answer(500, "oops", "text/plain"), "does not serve it.*the same command again"),
    "503": (Answer(503, PAGE, "text/html"), "does not serve it.*the same command again"),
    "429": (Answer(429, "", "text/plain"), "does not serve it"),
    "404": (Answer(404, PAGE, "text/html"), "answers 404, as no MLflow server does.*tracking.uri"),
    "page": (Answer(200, PAGE, "text/html"), "answers with a page instead of MLflow's JSON.*tracking.uri"),
    "login page": (Answer(302, "", "text/html", {"Location": "/login"}), "answers|redirects|not serve"),
    "list": (Answer(200, "[1, 2]"), "answers|MLflow"),
    "json of others": (Answer(200, '{"registered_model": 7, "model_version": "x", "run": []}'), "answers"),
    "stalls": (Answer(stall_s=4), "gives no answer within 2 s|does not serve it"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_registry_behind_a_faulty_server_says_so(scripted: Answer, fault: str) -> None:
    planned, words = FAULTS[fault]
    vars(scripted).update({**vars(planned), "address": scripted.address, "requests": scripted.requests})
    began = time.monotonic()
    with pytest.raises(TrackingError, match=words) as caught:
        versions.resolve("models:/any@champion", scripted.address)
    assert time.monotonic() - began < 10
    message = str(caught.value)
    assert f"tracking server {scripted.address}" in message
    assert SECRET not in message
    assert "\n" not in message
    assert len(message) < 600


def test_a_closed_port_is_waited_for_and_then_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(server, "WAIT_S", 1.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(TrackingError, match=f"tracking server {address} does not serve it"):
            tracking.TrackingRun.attach(address, "0" * 32).set_tags({"a": 1})
        assert 0.4 < time.monotonic() - began < 10


def test_a_server_that_is_busy_for_a_moment_is_asked_again(
    scripted: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "WAIT_S", 60.0)
    scripted.status, scripted.body = 503, "busy"
    scripted_alias = '{"model_version": {"name": "any", "version": "3"}}'

    def recover() -> None:
        while len(scripted.requests) < 2:
            time.sleep(0.01)
        scripted.status, scripted.body = 200, scripted_alias

    threading.Thread(target=recover, daemon=True).start()
    version = versions.resolve("models:/any@champion", scripted.address)
    assert int(version.version) == 3
    assert len(scripted.requests) >= 2, "the first answer was 503"


def test_what_mlflow_answers_is_no_fault_of_the_server(scripted: Answer) -> None:
    scripted.status = 404
    scripted.body = '{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "Registered Model with name=any"}'
    assert versions.find("models:/any@champion", scripted.address) is None
    assert len(scripted.requests) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            Answer(302, headers={"Location": "https://sso.example.org/?token=abc"}),
            r"redirects to https://sso\.ex",
        ),
        (Answer(308, headers={"Location": "/elsewhere"}), "redirects to another page"),
        (Answer(200, PAGE, "text/html"), "answers with a web page, as no MLflow server does"),
        (Answer(500, "no"), "does not answer .500"),
        (Answer(404, PAGE, "text/html"), "does not answer .404"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Answer) else "",
)
def test_what_is_no_tracking_server_is_said_before_any_work(
    scripted: Answer, answer: Answer, words: str, tmp_path: Path
) -> None:
    vars(scripted).update({**vars(answer), "address": scripted.address})
    with pytest.raises(config.ConfigError, match=words) as caught:
        tracking.open_store(Tracking(uri=scripted.address), str(tmp_path))
    assert "token=abc" not in str(caught.value)


def test_a_refused_login_of_a_new_run_is_said(scripted: Answer, tmp_path: Path) -> None:
    scripted.status, scripted.body = 401, "Unauthorized"
    uri = tracking.open_store(Tracking(uri=scripted.address), "")
    with pytest.raises(TrackingError, match=r"refuses the login .401..*MLFLOW_TRACKING_PASSWORD"):
        tracking.start_or_resume(uri, "tests", str(tmp_path), "pretrain", {})


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            MlflowException("(sqlite3.OperationalError) database or disk is full"),
            "full disk.*make room, then",
        ),
        (
            MlflowException("(sqlite3.OperationalError) attempt to write a readonly database"),
            "read-only.*mount",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "full disk.*make room, then"),
        (OSError(errno.EROFS, "Read-only file system"), "read-only disk.*mount it for writing"),
    ],
)
def test_a_disk_that_is_full_or_read_only_is_said_at_once(error: Exception, words: str) -> None:
    tries: list[int] = []

    def fail() -> None:
        tries.append(1)
        raise error

    with pytest.raises(TrackingError, match=rf"sqlite:///runs/mlflow.db is on a {words}.*same command again"):
        server.call("sqlite:///runs/mlflow.db", fail, "log metrics")
    assert len(tries) == 1
