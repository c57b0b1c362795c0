"""Patience and words for the tracking store: one way to ask it, used by every stage and by the registry.

A request that fails because the server is busy, restarting or away is repeated for about a minute. What the
server refuses for good (a login, another web server's page, a redirect) is said at once, with the remedy.
What MLflow itself answers (no such model, name is taken) is its own `MlflowException`, as ever.
"""

from __future__ import annotations

import errno
import logging
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException

from supreme import log
from supreme.storage.errors import AGAIN

T = TypeVar("T")

#: How long a request that fails or gets no answer is repeated or waited for.
WAIT_S = 75.0
#: How long an upload or download may take while bytes move.
TRANSFER_S = 1800.0
_MAX_REASON = 200
_FIRST_DELAY_S, _MAX_DELAY_S = 0.5, 8.0

#: What MLflow says when it may go well another time; anything else that it says in JSON is its answer.
_TRANSIENT_CODES = {
    "INTERNAL_ERROR",
    "TEMPORARILY_UNAVAILABLE",
    "REQUEST_LIMIT_EXCEEDED",
    "DEADLINE_EXCEEDED",
}
_STATUS = re.compile(r"failed with error code (\d{3})")

logger = log.get("tracking")


class TrackingError(RuntimeError):
    """The tracking store cannot be used; the message names its address, what happened and the remedy."""


class Attempt(threading.Thread):
    """One try to reach the server, for which nobody has to wait."""

    def __init__(self, action: Callable[[], Any]) -> None:
        super().__init__(daemon=True, name="tracking")
        self.action = action
        self.result: Any = None
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        # MLflow shows a locked database with a traceback: we say it once, in a line.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        try:
            self.result = self.action()
        except Exception as error:  # whatever a server, a proxy or its artifact store comes up with
            self.error = error

    def failure(self, wait_s: float) -> str:
        """What went wrong within this time; empty when all went well."""
        self.join(wait_s)
        return f"no answer within {wait_s:.0f} s" if self.is_alive() else reason(self.error)


def call(uri: str | None, action: Callable[[], T], doing: str, *, limit_s: float | None = None) -> T:
    """The result of a request to the tracking store, repeated while it may still go well.

    Args:
        uri: of the store, for the message; MLFLOW_TRACKING_URI when None.
        doing: what the request is for, as in "register the bundle".
        limit_s: how long one attempt may take; :data:`WAIT_S` when None.

    Raises:
        TrackingError: the store is away, refuses the login, or is no MLflow server.
        MlflowException: what MLflow answers, for instance that there is no such model.
    """
    deadline, delay_s = time.monotonic() + WAIT_S, _FIRST_DELAY_S
    limit_s = WAIT_S if limit_s is None else limit_s
    while True:
        attempt = Attempt(action)
        attempt.join(limit_s)
        if attempt.is_alive():
            raise _error(uri, doing, f"gives no answer within {limit_s:.0f} s", _AWAY)
        error = attempt.error
        if error is None:
            return cast(T, attempt.result)
        if _is_answer(error):
            raise error
        what, remedy = _words(error)
        if remedy is not _AWAY or time.monotonic() + delay_s > deadline:
            raise _error(uri, doing, what, remedy) from None
        logger.info("%s %s: tried again in %.0f s", address(uri), what, delay_s)
        time.sleep(delay_s)
        delay_s = min(2 * delay_s, _MAX_DELAY_S)


@contextmanager
def worded(uri: str | None, doing: str) -> Iterator[None]:
    """Turn what a server refuses for good into a `TrackingError`, at once; nothing is repeated."""
    try:
        yield
    except Exception as error:
        if _is_answer(error) or not isinstance(error, MlflowException | OSError):
            raise
        what, remedy = _words(error)
        if remedy is _AWAY:
            raise
        raise _error(uri, doing, what, remedy) from None


def connect(uri: str | None) -> MlflowClient:
    """A client of a tracking store and its registry, all of whose requests go through :func:`call`."""
    return cast(MlflowClient, _PatientClient(uri))


def address(uri: str | None) -> str:
    """Scheme, host and port of a store, without a login; the file of a sqlite store."""
    uri = uri or str(mlflow.get_tracking_uri())
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        return f"tracking store {log.redact(uri)}"
    return f"tracking server {parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


def reason(error: Exception | None) -> str:
    """The first line, without what the HTTP library wraps around it, free of secrets; empty for no error."""
    if error is None:
        return ""
    line = [*str(error).rpartition("(Caused by ")[2].splitlines(), ""][0].removesuffix("))")
    return log.redact(f"{type(error).__name__}: {line}")[:_MAX_REASON]


class _PatientClient:
    def __init__(self, uri: str | None) -> None:
        self._uri = uri
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        attribute = getattr(self._client, name)
        if not callable(attribute):
            return attribute
        limit_s = TRANSFER_S if "artifact" in name else None

        def request(*arguments: Any, **options: Any) -> Any:
            action = partial(attribute, *arguments, **options)
            return call(self._uri, action, name.replace("_", " "), limit_s=limit_s)

        return request


_AWAY = f"start it, then {AGAIN}"
_ROOM = f"make room, then {AGAIN}"
_WRITABLE = f"mount it for writing, then {AGAIN}"
_LOGIN = (
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, "
    "to a login that may do this"
)
_ANOTHER = "give the address of an MLflow server as tracking.uri or MLFLOW_TRACKING_URI"


def _is_answer(error: Exception) -> bool:
    """Whether MLflow has understood the request and answered it."""
    if not isinstance(error, MlflowException) or error.error_code in _TRANSIENT_CODES:
        return False
    if isinstance(error, RestException):
        return error.error_code not in ("UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED")
    return "API request to" not in str(error) and not _STATUS.search(str(error))


def _words(error: Exception) -> tuple[str, str]:
    """What happened and what to do about it."""
    text, number = str(error), getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT) or "database or disk is full" in text:
        return "is on a full disk", _ROOM
    if number == errno.EROFS or "attempt to write a readonly database" in text:
        return "is on a read-only disk", _WRITABLE
    status = _STATUS.search(text)
    code = int(status[1]) if status else 0
    if code in (401, 403) or getattr(error, "error_code", "") in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return f"refuses the login ({code or error.error_code})", _LOGIN  # type: ignore[attr-defined]
    if 300 <= code < 400:
        return f"redirects elsewhere ({code})", _ANOTHER
    if 400 <= code < 500 and code not in (408, 425, 429):
        return f"answers {code}, as no MLflow server does", _ANOTHER
    if "not in a valid JSON format" in text:
        return "answers with a page instead of MLflow's JSON", _ANOTHER
    if isinstance(error, MlflowException | OSError | sqlite3.Error):  # requests' errors are OSErrors
        return f"does not serve it ({reason(error)})", _AWAY
    return f"answers what MLflow's client does not understand ({reason(error)})", _ANOTHER


def _error(uri: str | None, doing: str, what: str, remedy: str) -> TrackingError:
    return TrackingError(f"{address(uri)} {what} (to {doing}); {remedy}")
