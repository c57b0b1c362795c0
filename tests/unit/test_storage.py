"""The only door to files: whole or not at all, only where it may go, and errors that say what to do."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from supreme import storage
from supreme.storage import errors, s3

pytestmark = pytest.mark.unit


@pytest.fixture
def no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_a_file_is_written_with_its_folders_and_read_back(tmp_path):
    uri = storage.join(str(tmp_path), "a", "b", "c.bin")
    storage.write_bytes(uri, b"one")
    storage.write_bytes(uri, b"two")
    assert storage.read_bytes(uri) == b"two"
    assert storage.read_bytes(f"file://{uri}") == b"two"
    assert storage.list_files(str(tmp_path)) == ["a/b/c.bin"]


def test_json_is_the_same_bytes_whatever_the_order_of_keys(tmp_path):
    first, second = str(tmp_path / "1.json"), str(tmp_path / "2.json")
    storage.write_json(first, {"a": 1, "b": "ü"})
    storage.write_json(second, {"b": "ü", "a": 1})
    assert storage.read_bytes(first) == storage.read_bytes(second)
    assert storage.read_json(first) == {"a": 1, "b": "ü"}


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    uri = str(tmp_path / "x")
    storage.write_bytes(uri, b"old")

    def no_space(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(storage.Unavailable, match="No space left"):
        storage.write_bytes(uri, b"new")
    assert storage.read_bytes(uri) == b"old"
    assert storage.list_files(str(tmp_path)) == ["x"]


def test_a_block_that_fails_writes_nothing(tmp_path):
    uri = str(tmp_path / "x")
    with pytest.raises(ZeroDivisionError), storage.writing(uri) as stream:  # noqa: PT012
        stream.write(b"half")
        raise ZeroDivisionError
    with pytest.raises(storage.NotFound, match="other"), storage.writing(uri) as stream:
        stream.write(storage.read_bytes(str(tmp_path / "other")))
    assert storage.list_files(str(tmp_path)) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one MiB, where we may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True
    ).returncode:
        pytest.skip("may not mount a small disk here; test_a_file_too_large_for_its_quota remains")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_told_with_what_is_needed_and_what_is_free(small_disk):
    storage.write_bytes(str(small_disk / "shards" / "0"), bytes(600_000))
    with pytest.raises(storage.Unavailable) as caught:
        storage.write_bytes(str(small_disk / "shards" / "1"), bytes(600_000))
    told = str(caught.value)
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize
    assert free > 400_000, "what was half written is gone"
    for part in (
        f"{small_disk}/shards/1: No space left",
        f"600,000 bytes to write, {free:,} free",
        errors.AGAIN,
    ):
        assert part in told
    # Nobody knows how long a stream will be.
    told = f"No space left on device: {free:,} free in"
    with pytest.raises(storage.Unavailable, match=told), storage.writing(f"{small_disk}/shards/1") as stream:
        stream.write(bytes(600_000))
    assert storage.list_files(str(small_disk)) == ["shards/0"]


def test_what_another_process_removed_while_it_was_written_is_said(tmp_path):
    uri, message = str(tmp_path / "shard"), r"shard: another process removed .* let the other one end"
    with pytest.raises(storage.Unavailable, match=message), storage.writing(uri) as stream:  # noqa: PT012
        stream.write(b"half")
        for partial in tmp_path.glob("*.partial"):
            partial.unlink()
    assert storage.list_files(str(tmp_path)) == []


def test_a_file_too_large_for_its_quota_leaves_the_old_one(tmp_path):
    uri = str(tmp_path / "x")
    storage.write_bytes(uri, b"old")
    script = f"""
import resource
from supreme import storage
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    storage.write_bytes({uri!r}, bytes(200_000))
except storage.Unavailable as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert f"{uri}: File too large: 200,000 bytes to write" in done.stdout
    assert storage.list_files(str(tmp_path)) == ["x"]
    assert storage.read_bytes(uri) == b"old"


def test_what_is_written_goes_to_the_disk_meanwhile_and_before_it_gets_its_name(tmp_path, monkeypatch):
    happened, early = [], threading.Event()
    monkeypatch.setattr(storage.local, "_FLUSH_EVERY_S", 0.001)
    monkeypatch.setattr(os, "fdatasync", lambda _: early.set())
    monkeypatch.setattr(os, "fsync", lambda file: happened.append(os.fstat(file).st_size))
    monkeypatch.setattr(os, "replace", lambda *_: happened.append("named"))
    with storage.writing(str(tmp_path / "x")) as stream:
        stream.write(b"half")
        assert early.wait(10)
        stream.write(b" of it")
    assert happened == [10, "named"]


@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_a_disk_that_did_not_take_it_all_is_told_and_the_old_file_stays(tmp_path, monkeypatch, call):
    uri, failed = str(tmp_path / "x"), threading.Event()
    storage.write_bytes(uri, b"old")

    def fail(_: int) -> None:
        failed.set()
        raise OSError(errno.EIO, "told once, and to one who asks")

    monkeypatch.setattr(storage.local, "_FLUSH_EVERY_S", 0.001)
    monkeypatch.setattr(os, call, fail)
    told = "x: Input/output error"
    with pytest.raises(storage.Unavailable, match=told), storage.writing(uri) as stream:  # noqa: PT012
        stream.write(b"new")
        assert call == "fsync" or failed.wait(10)
    assert storage.list_files(str(tmp_path)) == ["x"]
    assert storage.read_bytes(uri) == b"old"


@pytest.mark.parametrize("uri", ["http://host/x", "ftp://host/x", "hdfs://x", "gs://bucket/x"])
def test_other_schemes_are_refused(uri):
    with pytest.raises(storage.StorageError, match="only local paths, file:// and s3://"):
        storage.read_bytes(uri)


def test_credentials_in_a_uri_are_refused_without_being_repeated():
    with pytest.raises(storage.StorageError, match="environment") as caught:
        storage.read_bytes("s3://bucket/x?access_key=AKIA123&secret_key=hunter22")
    assert "hunter22" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    for missing in (tmp_path / "nowhere.json", tmp_path / "x" / "nowhere.json"):
        (tmp_path / "x").write_text("a file, not a folder")
        with pytest.raises(storage.NotFound, match=r"nowhere\.json: not found"):
            storage.read_bytes(str(missing))
        with (
            pytest.raises(storage.NotFound, match=r"nowhere\.json: not found"),
            storage.open_file(str(missing)),
        ):
            pass
    with pytest.raises(storage.StorageError, match=f"{tmp_path}: Is a directory"):
        storage.read_bytes(str(tmp_path))


def test_what_is_larger_than_allowed_is_not_read(tmp_path):
    uri = str(tmp_path / "x")
    storage.write_bytes(uri, b"12345")
    assert storage.read_bytes(uri, limit=5) == b"12345"
    with pytest.raises(storage.TooLarge, match="5 bytes; at most 4"):
        storage.read_bytes(uri, limit=4)


def test_a_file_is_read_at_random(tmp_path):
    uri = str(tmp_path / "x.gz")
    storage.write_bytes(uri, bytes(range(200)))
    with storage.open_file(f"file://{uri}") as file:
        file.seek(100)
        assert file.read(3) == b"def"
    assert storage.read_bytes(uri) == bytes(range(200)), "the name asks for nothing"


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE])
def test_trouble_of_the_machine_is_not_of_the_file(tmp_path, monkeypatch, code):
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    storage.write_bytes(str(tmp_path / "x"), b"1")
    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(storage.Unavailable, match=r"x: .*; run the same command again"):
        storage.read_bytes(str(tmp_path / "x"))


#: What pyarrow 25 said when a SeaweedFS server, or a proxy before it, answered so.
ARROW = "When reading information for key 'x.dat' in bucket 'lake': AWS Error "
FROM_ARROW = {
    "UNKNOWN (HTTP status 503) during HeadObject operation: No response body.": storage.Unavailable,
    "UNKNOWN (HTTP status 429) during HeadObject operation: No response body.": storage.Unavailable,
    "SLOW_DOWN during PutObject operation: SlowDown": storage.Unavailable,
    "SERVICE_UNAVAILABLE during GetObject operation: ": storage.Unavailable,
    "UNKNOWN (HTTP status 429) during ListObjectsV2 operation: Unable to parse ExceptionName: "
    "TooManyRequests Message: TooManyRequests": storage.Unavailable,
    "NETWORK_CONNECTION during GetObject operation: curlCode: 18, Transferred a partial file; Details: "
    "end of response with 60000 bytes missing": storage.Unavailable,
    "NETWORK_CONNECTION during HeadObject operation: curlCode: 28, Timeout was reached": storage.Unavailable,
    "NETWORK_CONNECTION during HeadObject operation: curlCode: 60, SSL peer certificate or SSH remote key "
    "was not OK; Details: SSL certificate OpenSSL verify result: self-signed": storage.Unavailable,
    "INVALID_ACCESS_KEY_ID during ListObjectsV2 operation: none such": storage.Unavailable,
    "UNKNOWN (HTTP status 400) during GetObject operation: Unable to parse ExceptionName: ExpiredToken "
    "Message: it has expired": storage.Unavailable,
    "ACCESS_DENIED during HeadObject operation: No response body.": storage.StorageError,
    "UNKNOWN (HTTP status 301) during HeadObject operation: No response body.": storage.StorageError,
    "NO_SUCH_BUCKET during PutObject operation: The specified bucket does not exist": storage.NotFound,
}


@pytest.mark.parametrize("said", FROM_ARROW)
def test_what_pyarrow_says_has_its_kind_and_its_remedy(said):
    answer = errors.Answer.of_arrow(OSError(ARROW + said))
    told = errors.of_s3("s3://lake/x.dat", "http://127.0.0.1:9000", answer)
    assert type(told) is FROM_ARROW[said]
    assert str(told).startswith("s3://lake/x.dat at http://127.0.0.1:9000: ")
    remedies = ("run the same command again", "credentials", "AWS_REGION", "AWS_CA_BUNDLE", "create it")
    assert any(remedy in str(told) for remedy in remedies)
    sent = pickle.loads(pickle.dumps(told))  # as from a worker to the job
    assert (type(sent), str(sent)) == (type(told), str(told))


@pytest.mark.usefixtures("no_credentials")
def test_without_credentials_nothing_is_asked(monkeypatch):
    uri = "s3://bucket/x?endpoint_override=127.0.0.1:1&scheme=http"
    for action in (storage.read_bytes, storage.exists, storage.list_files, storage.filesystem):
        with pytest.raises(storage.Unavailable, match=r"127\.0\.0\.1:1.*AWS_ACCESS_KEY_ID.*anonymous=true"):
            action(uri)


@pytest.mark.usefixtures("no_credentials")
def test_a_store_that_is_down_is_asked_again_and_then_unavailable(monkeypatch, caplog):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "4")
    monkeypatch.setattr(s3, "_FIRST_DELAY_S", 0.01)
    options = "endpoint_override=127.0.0.1:1&scheme=http&anonymous=true"
    with pytest.raises(storage.Unavailable, match=r"s3://b/x at http://127\.0\.0\.1:1: .*same command again"):
        storage.read_bytes(f"s3://b/x?{options}")
    assert [record.message.split(";")[-1] for record in caplog.records] == [" attempt 4 of 4 in 0 s"]


@pytest.mark.usefixtures("no_credentials")
def test_a_profile_that_is_not_there_says_nothing_about_a_record(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    for uri in ("s3://b/x", "s3://b/x?anonymous=true"):
        with pytest.raises(storage.Unavailable, match="nobody"):
            storage.read_bytes(uri)
    with pytest.raises(storage.Unavailable, match="nobody"):
        storage.exists("s3://b/x")


@pytest.mark.usefixtures("no_credentials")
def test_an_endpoint_comes_from_the_uri_or_the_environment_and_its_login_is_not_told(monkeypatch):
    place = s3.parse("s3://bucket/a/b#c/?anonymous=true")
    assert (place.bucket, place.key, str(place)) == ("bucket", "a/b#c", "s3://bucket/a/b#c")
    assert (place.store.endpoint, place.store.region, str(place.store)) == ("", "us-east-1", "AWS")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://me:hunter22@store:9000")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    store = s3.parse("s3://bucket").store
    assert (store.region, store.anonymous) == ("eu-central-1", False)
    assert "hunter22" not in str(store)
    assert s3.parse("s3://b?endpoint_override=other:1&scheme=http").store.endpoint == "http://other:1"
    with pytest.raises(storage.StorageError, match="names no bucket"):
        storage.read_bytes("s3:///x")


def test_another_ending_keeps_the_query_at_the_end():
    assert storage.with_ending("s3://b/x.parquet?region=r", ".parquet", ".parts") == "s3://b/x.parts?region=r"
    assert storage.with_ending("/what?/x.parquet", ".parquet", ".parts") == "/what?/x.parts"
    assert storage.with_ending("x", ".parquet", ".parts") == "x.parts"


def test_join_keeps_the_query_at_the_end():
    assert storage.join("s3://b/p/?anonymous=true", "a", "b") == "s3://b/p/a/b?anonymous=true"
    assert storage.join("/data/", "a") == "/data/a"
    assert storage.join("/what?/b", "a") == "/what?/b/a"


def test_listing_tells_files_from_folders_and_an_absent_folder_is_empty(tmp_path):
    for name in ("b/x.hea", "a/y.hea", "a/y.dat", "z.hea"):
        storage.write_bytes(str(tmp_path / name), b"")
    assert storage.list_folders(str(tmp_path)) == ["a", "b"]
    assert storage.list_files(str(tmp_path), ".hea") == ["a/y.hea", "b/x.hea", "z.hea"]
    assert storage.list_files(str(tmp_path), ".hea", recursive=False) == ["z.hea"]
    assert storage.list_files(str(tmp_path / "none")) == storage.list_folders(str(tmp_path / "none")) == []
    assert storage.is_folder(str(tmp_path / "a"))
    assert not storage.is_folder(str(tmp_path / "z.hea"))


def test_only_empty_folders_are_deleted(tmp_path):
    storage.write_bytes(str(tmp_path / "a/b/x"), b"1")
    (tmp_path / "a/c/d").mkdir(parents=True)
    storage.delete_empty_folders(str(tmp_path / "a"))
    assert storage.list_files(str(tmp_path)) == ["a/b/x"]
    assert storage.list_folders(str(tmp_path / "a")) == ["b"]


@pytest.mark.parametrize(
    "path", ["a", "a/", "./a//b/", "a/./b", "link/../b", "../b", "..", "", ".", " a", "~/a", "//a", "/a/./b/"]
)
def test_a_local_path_is_taken_as_pathlib_takes_it(path, tmp_path, monkeypatch):
    """Links are followed before the folder above is: `link/../b` is not `b`."""
    monkeypatch.chdir(tmp_path)
    assert storage._local(path) == str(Path(path).expanduser().absolute())
