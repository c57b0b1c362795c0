"""Storage over HTTP: a real S3 server that checks signatures, behind a proxy that fails as networks do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faulty_s3 import KEYS, SECRETS, Proxy, Request, proxy

from supreme import storage
from supreme.storage import objects, s3

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BODY = os.urandom(120_000)
#: The smallest that S3 allows.
PART_BYTES = 5 * 2**20
#: Two parts and a rest.
BIG = os.urandom(PART_BYTES + 1000) + bytes(PART_BYTES)
#: AWS's, MinIO's and Cloudflare's ways to say "later", and a network's.
FAULTS = (
    *("503 SlowDown", "503 SlowDownRead", "429 TooManyRequests", "500 InternalError", "502 BadGateway"),
    *("reset", "cut", "garble", "hang"),
)
OPTIONS = "scheme=http&region=us-east-1"


@pytest.fixture(scope="module")
def between(lake: str) -> Iterator[Proxy]:
    with proxy(lake) as made:
        yield made


@pytest.fixture
def store(between: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The proxy, well behaved, in an environment with the right keys."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(objects, "PART_BYTES", PART_BYTES)
    between.forget()
    yield between
    between.plan = lambda request: ""


@pytest.fixture
def at(store: Proxy) -> Callable[[str], str]:
    return lambda path: f"s3://{path}?endpoint_override={store.address}&{OPTIONS}"


def sent(store: Proxy) -> list[str]:
    return [request.method for request in store.requests]


def test_of_many_who_create_an_object_one_does_also_where_its_answer_is_lost(
    store: Proxy, at: Callable[[str], str]
) -> None:
    uri = at("lake/owner.json")
    with ThreadPoolExecutor(6) as threads:
        created = [*threads.map(lambda number: storage.create(uri, b"%d" % number), range(6))]
    assert created.count(True) == 1
    assert storage.read_bytes(uri) == b"%d" % created.index(True)
    storage.delete_file(uri)
    lost = iter(["lost"])
    store.plan = lambda request: next(lost, "") if request.method == "PUT" else ""
    assert storage.create(uri, b"mine")
    assert not storage.create(uri, b"yours")
    assert storage.read_bytes(uri) == b"mine"


def test_a_small_object_is_one_request_to_write_and_one_to_read(
    store: Proxy, at: Callable[[str], str]
) -> None:
    storage.write_bytes(at("lake/one/a b#c+d.dat"), BODY)
    assert storage.read_bytes(at("lake/one/a b#c+d.dat")) == BODY
    assert sent(store) == ["PUT", "GET"]
    assert all(request.signed for request in store.requests)
    storage.write_bytes(at("lake/one/empty"), b"")
    assert storage.read_bytes(at("lake/one/empty")) == b""
    assert storage.list_files(at("lake/one")) == ["a b#c+d.dat", "empty"]


def test_a_parquet_file_is_opened_with_one_request_and_a_column_is_another(
    store: Proxy, at: Callable[[str], str]
) -> None:
    signals = [os.urandom(5000) for _ in range(50)]
    table = pa.table({"record_id": [f"r{n}" for n in range(50)], "signal": signals})
    with storage.writing(at("lake/x.parquet")) as stream:
        pq.write_table(table, stream, row_group_size=25)
    store.forget()
    with storage.open_file(at("lake/x.parquet")) as file, pq.ParquetFile(file, pre_buffer=False) as shard:
        assert sent(store) == ["GET"]
        assert shard.read_row_group(0).equals(table.slice(0, 25))
        assert len(sent(store)) == 3
        assert shard.read(["record_id"]).equals(table.select(["record_id"]))
        storage.write_bytes(at("lake/x.parquet"), BIG)
        with pytest.raises(storage.Unavailable, match=r"s3://lake/x\.parquet.*replaced or removed it"):
            shard.read_row_group(0)
    with storage.open_file(at("lake/one/empty")) as file:
        assert file.read() == b""


def test_what_is_too_large_is_not_read(at: Callable[[str], str]) -> None:
    storage.write_bytes(at("lake/limit.dat"), BODY)
    assert storage.read_bytes(at("lake/limit.dat"), limit=len(BODY)) == BODY
    with pytest.raises(storage.TooLarge, match="120,000 bytes; at most 119,999"):
        storage.read_bytes(at("lake/limit.dat"), limit=len(BODY) - 1)


def test_every_fault_is_outlived(
    store: Proxy, at: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "READ_TIMEOUT_S", 1.0)
    monkeypatch.setattr(s3, "_FIRST_DELAY_S", 0.05)
    monkeypatch.setenv("AWS_SDK_UA_APP_ID", "short-timeout")  # another environment, another client
    faults, turn = cycle(FAULTS), cycle([True, False])
    store.plan = lambda request: next(faults) if next(turn) else ""
    uri = at("lake/outlived/x.dat")
    storage.write_bytes(uri, BODY)
    for _ in range(7):
        assert storage.read_bytes(uri) == BODY
    storage.write_bytes(at("lake/outlived/big.dat"), BIG)
    assert storage.read_bytes(at("lake/outlived/big.dat")) == BIG
    with storage.open_file(uri) as file:
        for start, size in ((1000, 5000), (119_000, 5000), (50_000, 20_000), (0, 120_000), (120_000, 1)):
            file.seek(start)
            assert file.read(size) == BODY[start : start + size]
    assert storage.list_files(at("lake/outlived")) == ["big.dat", "x.dat"]
    storage.delete_file(uri)
    assert not storage.exists(uri)
    assert {fault for fault, _ in store.faults} == set(FAULTS)


def read_at_random(uri: str) -> None:
    with storage.open_file(uri) as file:
        file.read()


@pytest.mark.parametrize(
    ("fault", "action"),
    [
        *((fault, storage.read_bytes) for fault in ("503 SlowDown", "reset", "cut")),
        *((fault, read_at_random) for fault in ("503 SlowDownRead", "cut")),
        ("500 InternalError", lambda uri: storage.write_bytes(uri, BODY)),
        ("reset", lambda uri: storage.write_bytes(uri, BIG)),
        ("429 TooManyRequests", storage.list_files),
        ("503 SlowDown", storage.exists),
    ],
)
def test_what_outlives_the_retries_is_unavailable(
    fault: str,
    action: Callable[[str], object],
    store: Proxy,
    at: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    storage.write_bytes(at("lake/out/x.dat"), BODY)
    store.plan = lambda request: fault
    store.forget()
    with pytest.raises(storage.Unavailable) as caught:
        action(at("lake/out/x.dat"))
    told = str(caught.value)
    for part in ("s3://lake/out/x.dat", store.address, "run the same command again: finished parts are kept"):
        assert part in told
    assert not any(secret in told for secret in SECRETS)
    assert 2 <= len(store.requests) <= 4, "tried twice (curl, and an upload that is given up, each once more)"
    store.plan = lambda request: ""
    assert storage.read_bytes(at("lake/out/x.dat")) == BODY


def test_missing_is_told_from_forbidden(
    store: Proxy, at: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write_bytes(at("open/x.dat"), BODY)
    storage.write_bytes(at("lake/forbidden/x.dat"), BODY)
    for missing in ("lake/none.dat", "no-such-bucket/x.dat"):
        with pytest.raises(storage.NotFound, match=rf"s3://{missing}.*{store.address}"):
            storage.read_bytes(at(missing))
        with pytest.raises(storage.NotFound, match=rf"s3://{missing}"):
            read_at_random(at(missing))
    for name, value in {"AWS_ACCESS_KEY_ID": "guest", "AWS_SECRET_ACCESS_KEY": "guest-of-the-house"}.items():
        monkeypatch.setenv(name, value)
    assert storage.read_bytes(at("open/x.dat")) == BODY
    for action in (storage.read_bytes, read_at_random, storage.list_files, storage.exists):
        with pytest.raises(storage.StorageError, match=r"lake/forbidden/x.dat.*permission denied") as caught:
            action(at("lake/forbidden/x.dat"))
        assert type(caught.value) is storage.StorageError
        assert "guest-of-the-house" not in str(caught.value)
    with pytest.raises(storage.StorageError, match=r"open/y.dat.*permission denied"):
        storage.write_bytes(at("open/y.dat"), BODY)


def test_refused_credentials_end_the_run_rather_than_reject_every_record(
    store: Proxy, at: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "staple-incorrect-donkey")
    with pytest.raises(storage.Unavailable, match=r"s3://lake/x.dat.*credentials were refused") as caught:
        storage.read_bytes(at("lake/x.dat"))
    assert "donkey" not in str(caught.value)
    assert sent(store) == ["GET"], "asking again would not help"


def test_a_public_bucket_is_read_without_signature_or_credentials(
    store: Proxy, at: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write_bytes(at("open/set/1.hea"), b"1 2 500")
    store.forget()
    public = at("open/set") + "&anonymous=true"
    for keys in (KEYS, {}):
        for name in KEYS:
            monkeypatch.delenv(name, raising=False)
        for name, value in keys.items():
            monkeypatch.setenv(name, value)
        assert storage.list_files(public) == ["1.hea"]
        assert storage.read_bytes(storage.join(public, "1.hea")) == b"1 2 500"
        read_at_random(storage.join(public, "1.hea"))
        assert storage.is_folder(public)
    assert len(store.requests) >= 8
    assert not any(request.signed for request in store.requests)
    with pytest.raises(storage.StorageError, match=r"lake/x.dat.*permission denied"):
        storage.read_bytes(at("lake/x.dat") + "&anonymous=true")


def test_an_upload_that_fails_leaves_what_was_there(store: Proxy, at: Callable[[str], str]) -> None:
    uri = at("lake/atomic/x.dat")
    storage.write_bytes(uri, b"old")
    with pytest.raises(ZeroDivisionError), storage.writing(uri) as stream:  # noqa: PT012
        stream.write(BIG)
        raise ZeroDivisionError
    assert storage.read_bytes(uri) == b"old"
    assert [r.method for r in store.requests if "uploadId" in r.path][-1] == "DELETE", "nothing is left there"
    with storage.writing(uri) as stream:
        for start in range(0, len(BIG), 1_000_000):
            stream.write(BIG[start : start + 1_000_000])
    assert storage.read_bytes(uri) == BIG


def test_a_process_killed_between_parts_leaves_no_object(store: Proxy, at: Callable[[str], str]) -> None:
    script = f"""
import os, signal
from supreme import storage
storage.objects.PART_BYTES = {PART_BYTES}
with storage.writing({at("lake/killed/x.dat")!r}) as stream:
    stream.write(bytes({PART_BYTES}) * 2)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True)
    assert done.returncode == -9, done.stderr
    assert len([r for r in store.requests if "partNumber" in r.path]) == 2
    assert storage.list_files(at("lake/killed")) == []
    assert not storage.exists(at("lake/killed/x.dat"))


def test_an_upload_whose_last_answer_is_lost_is_whole(store: Proxy, at: Callable[[str], str]) -> None:
    uri, answers = at("lake/lost/x.dat"), ["cut", "404 NoSuchUpload"]
    store.plan = lambda request: answers.pop(0) if answers and completes(request) else ""
    storage.write_bytes(uri, BIG)
    assert [fault for fault, _ in store.faults] == ["cut", "404 NoSuchUpload"]
    assert storage.read_bytes(uri) == BIG
    store.plan = lambda request: "404 NoSuchUpload" if completes(request) else ""
    with pytest.raises(storage.Unavailable, match="somebody else"):
        storage.write_bytes(uri, BIG[::-1])
    assert storage.read_bytes(uri) == BIG


def completes(request: Request) -> bool:
    return request.method == "POST" and "uploadId=" in request.path


def test_one_client_serves_all_threads(
    store: Proxy, at: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SDK_UA_APP_ID", "threads")
    names = [f"{number}.dat" for number in range(64)]
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda n: storage.write_bytes(at(f"lake/many/{n}"), n.encode() * 1000), names))
        read = list(threads.map(lambda n: storage.read_bytes(at(f"lake/many/{n}")), names))
    assert read == [name.encode() * 1000 for name in names]
    assert storage.list_files(at("lake/many")) == sorted(names)
    assert s3.filesystem(s3.parse(at("lake/a")).store) is s3.filesystem(s3.parse(at("lake/b")).store)


def test_a_folder_of_several_pages_is_listed_in_full(store: Proxy, at: Callable[[str], str]) -> None:
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda n: storage.write_bytes(at(f"lake/pages/{n:04d}/x.hea"), b""), range(1010)))
    store.forget()
    assert len(storage.list_files(at("lake/pages"), ".hea")) == 1010
    assert sent(store) == ["GET", "GET"]


def test_bytes_are_what_they_are_whatever_the_name(at: Callable[[str], str], tmp_path: Path) -> None:
    for uri in (at("lake/raw/x.gz"), str(tmp_path / "x.gz")):
        storage.write_bytes(uri, b"not compressed")
        assert storage.read_bytes(uri) == b"not compressed"
