"""S3: what a URI names, the clients, and one way to retry.

Objects are read and written with botocore's client: pyarrow's asks HEAD before every GET, does not try again
after an error with a code that AWS does not use (MinIO's `SlowDownRead`), and what it has begun to write it
can only finish, not take back. Folders are listed with pyarrow's, which is ten times as fast.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import parse_qs

from pyarrow import fs

from supreme.retry import backoff_s
from supreme.settings.uris import S3_OPTIONS
from supreme.storage import errors
from supreme.storage.errors import Answer, StorageError, Unavailable

T = TypeVar("T")

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.25, 20.0
#: More than there are threads that read ahead.
_CONNECTIONS = 32
_MAKING = threading.Lock()


@dataclass(frozen=True)
class Store:
    """An S3 endpoint, as a URI and the environment name it."""

    endpoint: str
    """With scheme; empty: AWS."""
    region: str
    anonymous: bool

    def __str__(self) -> str:
        return self.endpoint.rpartition("@")[2] or "AWS"


@dataclass(frozen=True)
class Place:
    """An object or prefix of a bucket."""

    store: Store
    bucket: str
    key: str

    @property
    def path(self) -> str:
        """As pyarrow writes it."""
        return f"{self.bucket}/{self.key}".rstrip("/")

    def __str__(self) -> str:
        return f"s3://{self.path}"


def parse(uri: str) -> Place:
    """Raises StorageError for an unknown option; its value may be a secret and is not repeated."""
    address, _, query = uri.partition("?")
    options = {key: values[-1] for key, values in parse_qs(query).items()}
    unknown = options.keys() - S3_OPTIONS
    if unknown:
        names = ", ".join(sorted(unknown))
        raise StorageError(f"{address}: unknown option(s) {names}; credentials come from the environment")
    bucket, _, key = address.removeprefix("s3://").partition("/")
    if not bucket:
        raise StorageError(f"{uri}: names no bucket")
    endpoint = options.get("endpoint_override") or os.environ.get("AWS_ENDPOINT_URL", "")
    scheme, _, host = endpoint.rpartition("://")
    region = options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    store = Store(
        endpoint=f"{options.get('scheme') or scheme or 'https'}://{host}" if host else "",
        region=region or "us-east-1",  # rather than what a metadata server may say, if there is one
        anonymous=options.get("anonymous") == "true",
    )
    return Place(store, bucket, key.rstrip("/"))


def filesystem(store: Store) -> fs.S3FileSystem:
    """pyarrow's client, one for an endpoint and a process."""
    with _MAKING:
        return _filesystem(os.getpid(), _environment(), store)


def with_filesystem(place: Place, action: Callable[[fs.S3FileSystem], T]) -> T:
    """The result of ``action`` with pyarrow's client; transient errors are retried."""
    client = filesystem(place.store)
    return _retry(place, lambda: action(client), OSError, Answer.of_arrow)


def with_client(place: Place, action: Callable[[Any], T]) -> T:
    """The result of ``action`` with botocore's client; transient errors are retried."""
    from botocore.exceptions import BotoCoreError, ClientError

    def act() -> T:
        with _MAKING:  # sessions are not safe among threads, the clients that they make are
            client = _client(os.getpid(), _environment(), place.store)
        return action(client)

    return _retry(place, act, (BotoCoreError, ClientError), _answer)


def _environment() -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))


def _attempts() -> int:
    return max(1, int(os.environ.get("AWS_MAX_ATTEMPTS", "8")))


def _retry(
    place: Place,
    action: Callable[[], T],
    failures: type[Exception] | tuple[type[Exception], ...],
    answer_of: Callable[[Any], Answer],
) -> T:
    attempts = _attempts()
    for attempt in range(1, attempts + 1):
        try:
            return action()
        except StorageError:
            raise
        except failures as error:
            answer = answer_of(error)
            if not answer.is_transient or answer.tried_again or attempt == attempts:
                raise errors.of_s3(str(place), str(place.store), answer) from error
        delay_s = backoff_s(attempt, _FIRST_DELAY_S, _LONGEST_DELAY_S)
        if attempt > 2:
            message = "%s: %s; attempt %d of %d in %.0f s"
            logging.getLogger(__name__).warning(message, place, answer, attempt + 1, attempts, delay_s)
        time.sleep(delay_s)
    raise AssertionError("the last attempt returns or raises")


# The process is part of the keys: a fork must not share connections.


@lru_cache(maxsize=32)
def _filesystem(process: int, environment: tuple[tuple[str, str], ...], store: Store) -> fs.S3FileSystem:
    _require_credentials(store)
    scheme, _, host = store.endpoint.partition("://")
    endpoint = {"endpoint_override": host, "scheme": scheme} if host else {}
    return fs.S3FileSystem(
        **endpoint,
        region=store.region,
        anonymous=store.anonymous,
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=READ_TIMEOUT_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_attempts()),
        allow_delayed_open=True,  # one request instead of three for a small object
        tls_ca_file_path=os.environ.get("AWS_CA_BUNDLE"),
    )


@lru_cache(maxsize=32)
def _client(process: int, environment: tuple[tuple[str, str], ...], store: Store) -> Any:
    from botocore import UNSIGNED
    from botocore.config import Config

    settings = Config(
        signature_version=UNSIGNED if store.anonymous else None,
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        max_pool_connections=_CONNECTIONS,
        retries={"total_max_attempts": 1},  # ours also cover a body that breaks off
        s3={"addressing_style": "path" if store.endpoint else "auto"},
    )
    return _require_credentials(store).create_client(
        "s3", endpoint_url=store.endpoint or None, region_name=store.region, config=settings
    )


def _require_credentials(store: Store) -> Any:
    """A botocore session that found some, or needs none; without any, pyarrow would ask unsigned."""
    import botocore.exceptions
    import botocore.session

    session = botocore.session.get_session()
    logging.getLogger("botocore.credentials").setLevel(logging.WARNING)  # not where it found them, each time
    try:
        credentials = store.anonymous or session.get_credentials()
    except botocore.exceptions.BotoCoreError as error:
        raise Unavailable(f"no credentials for S3 at {store}: {error}") from error
    if not credentials:
        raise Unavailable(
            f"no credentials for S3 at {store}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE; for a public bucket add ?anonymous=true"
        )
    return session


def _answer(error: Exception) -> Answer:
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        details = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return Answer(details.get("Code", ""), status, details.get("Message", ""))
    if isinstance(error, exceptions.SSLError):
        return Answer("Untrusted", 0, str(error))
    lost = (
        *(exceptions.ConnectionError, exceptions.HTTPClientError, exceptions.ResponseStreamingError),
        *(exceptions.IncompleteReadError, exceptions.FlexibleChecksumError),
    )
    return Answer("NetworkConnection" if isinstance(error, lost) else "NotAsked", 0, str(error))
