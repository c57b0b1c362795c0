"""S3 clients, and whole objects in one request each.

pyarrow's client lists and reads at random. Whole objects go through botocore's: pyarrow asks HEAD before
every GET, and what it has begun to write it can only finish, not take back.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import random
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import parse_qs

from pyarrow import fs

from supreme.storage import errors
from supreme.storage.errors import StorageError, TooLarge, Unavailable

T = TypeVar("T")

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
#: Of an upload; S3 allows 10,000 of them, no smaller than 5 MiB.
PART_BYTES = 16 * 2**20
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
    unknown = options.keys() - {"endpoint_override", "scheme", "region", "anonymous"}
    if unknown:
        names = ", ".join(sorted(unknown))
        raise StorageError(f"{address}: unknown option(s) {names}; credentials: the environment")
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
    """pyarrow's client, one for an endpoint, a process and its AWS environment."""
    with _MAKING:
        return _filesystem(os.getpid(), _environment(), store)


def _environment() -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))


def _attempts() -> int:
    return max(1, int(os.environ.get("AWS_MAX_ATTEMPTS", "8")))


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


def _require_credentials(store: Store) -> Any:
    """A botocore session that found some, or needs none; without, pyarrow would ask a metadata server."""
    import botocore.session

    session = botocore.session.get_session()
    if not store.anonymous and session.get_credentials() is None:
        raise StorageError(
            f"no credentials for S3 at {store}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE; for a public bucket add ?anonymous=true"
        )
    return session


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


def _call(place: Place, action: Callable[[Any], T]) -> T:
    """Let ``action`` use the client, again with growing delays while the store is in trouble."""
    from botocore.exceptions import BotoCoreError, ClientError

    with _MAKING:  # sessions are not safe among threads, the clients that they make are
        client = _client(os.getpid(), _environment(), place.store)
    attempts = _attempts()
    for attempt in range(1, attempts + 1):
        try:
            return action(client)
        except (BotoCoreError, ClientError) as error:
            failure = _translate(place, error)
            if not isinstance(failure, Unavailable) or attempt == attempts:
                raise failure from error
            delay_s = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** (attempt - 1)) * random.uniform(0.5, 1)
            if attempt > 2:
                logging.getLogger("supreme.storage").warning(
                    "%s: %s; attempt %d of %d in %.0f s", place, error, attempt + 1, attempts, delay_s
                )
            time.sleep(delay_s)
    raise AssertionError("the last attempt returns or raises")


def _translate(place: Place, error: Exception) -> StorageError:
    from botocore import exceptions

    uri, store = str(place), str(place.store)
    if isinstance(error, exceptions.ClientError):
        said = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return errors.of_s3(uri, store, said.get("Code", ""), status, said.get("Message", ""))
    if isinstance(error, exceptions.SSLError):
        return StorageError(f"{uri} at {store}: {error}; AWS_CA_BUNDLE names the certificates to trust")
    if isinstance(error, exceptions.CredentialRetrievalError | exceptions.MetadataRetrievalError):
        return errors.of_s3(uri, store, "CredentialRetrieval", 0, str(error))
    lost = (
        *(exceptions.HTTPClientError, exceptions.IncompleteReadError, exceptions.ResponseStreamingError),
        exceptions.FlexibleChecksumError,
    )
    code = "NetworkConnection" if isinstance(error, lost) else ""
    return errors.of_s3(uri, store, code, 0, str(error))


def read(place: Place, limit: int | None = None) -> bytes:
    """A whole object, in one request where nothing goes wrong."""

    def get(client: Any) -> bytes:
        answer = client.get_object(Bucket=place.bucket, Key=place.key)
        with closing(answer["Body"]) as body:
            if limit is not None and answer["ContentLength"] > limit:
                raise TooLarge(f"{place}: {answer['ContentLength']:,} bytes; at most {limit:,} are read")
            return bytes(body.read())  # raises when fewer bytes come than were announced

    return _call(place, get)


class Upload(io.RawIOBase):
    """An object in the making: there is none until :meth:`finish`."""

    def __init__(self, place: Place) -> None:
        self.place, self.held = place, bytearray()
        self.names: dict[str, str] = {"Bucket": place.bucket, "Key": place.key}
        self.parts: list[dict[str, Any]] = []

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self.held += content
        while len(self.held) >= PART_BYTES:
            self._send(bytes(self.held[:PART_BYTES]))
            del self.held[:PART_BYTES]
        return len(content)

    def finish(self) -> None:
        rest = bytes(self.held)
        if not self.parts:
            _call(self.place, lambda client: client.put_object(**self.names, Body=rest))
            return
        if rest:
            self._send(rest)
        _call(self.place, self._complete)

    def abandon(self) -> None:
        """Best effort: parts of an upload that is never finished are invisible, but take room."""
        if "UploadId" in self.names:
            with suppress(StorageError):
                _call(self.place, lambda client: client.abort_multipart_upload(**self.names))

    def _send(self, part: bytes) -> None:
        if not self.parts:
            begun = _call(self.place, lambda client: client.create_multipart_upload(**self.names))
            self.names["UploadId"] = begun["UploadId"]
        number = len(self.parts) + 1
        sent = _call(
            self.place, lambda client: client.upload_part(**self.names, PartNumber=number, Body=part)
        )
        checksums = {name: value for name, value in sent.items() if name.startswith("Checksum")}
        self.parts.append({"PartNumber": number, "ETag": sent["ETag"], **checksums})

    def _complete(self, client: Any) -> None:
        from botocore.exceptions import ClientError

        try:
            client.complete_multipart_upload(**self.names, MultipartUpload={"Parts": self.parts})
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchUpload" or not self._is_there(client):
                raise

    def _is_there(self, client: Any) -> bool:
        """Whether an earlier attempt to complete went well, and only its answer was lost."""
        hashes = b"".join(bytes.fromhex(part["ETag"].strip('"')) for part in self.parts)
        found = client.head_object(Bucket=self.place.bucket, Key=self.place.key)["ETag"]
        return bool(found.strip('"') == f"{hashlib.md5(hashes).hexdigest()}-{len(self.parts)}")
