"""The only door to files: whole or not at all, and only where it may go."""

from __future__ import annotations

import os

import pytest

from supreme import storage

pytestmark = pytest.mark.unit


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
    with pytest.raises(storage.StorageError, match="No space left"):
        storage.write_bytes(uri, b"new")
    assert storage.read_bytes(uri) == b"old"
    assert storage.list_files(str(tmp_path)) == ["x"]


@pytest.mark.parametrize("uri", ["http://host/x", "ftp://host/x", "hdfs://x", "gs://bucket/x"])
def test_other_schemes_are_refused(uri):
    with pytest.raises(storage.StorageError, match="only local paths, file:// and s3://"):
        storage.read_bytes(uri)


def test_credentials_in_a_uri_are_refused_without_being_repeated():
    with pytest.raises(storage.StorageError, match="environment") as caught:
        storage.read_bytes("s3://bucket/x?access_key=AKIA123&secret_key=hunter22")
    assert "hunter22" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(storage.StorageError, match=r"nowhere\.json: not found"):
        storage.read_bytes(str(tmp_path / "nowhere.json"))


def test_join_keeps_the_query_at_the_end():
    assert storage.join("s3://b/p/?anonymous=true", "a", "b") == "s3://b/p/a/b?anonymous=true"
    assert storage.join("/data/", "a") == "/data/a"


def test_listing_tells_files_from_folders_and_an_absent_folder_is_empty(tmp_path):
    for name in ("b/x.hea", "a/y.hea", "a/y.dat", "z.hea"):
        storage.write_bytes(str(tmp_path / name), b"")
    assert storage.list_folders(str(tmp_path)) == ["a", "b"]
    assert storage.list_files(str(tmp_path), ".hea") == ["a/y.hea", "b/x.hea", "z.hea"]
    assert storage.list_files(str(tmp_path), ".hea", recursive=False) == ["z.hea"]
    assert storage.list_files(str(tmp_path / "none")) == storage.list_folders(str(tmp_path / "none")) == []
    assert storage.is_folder(str(tmp_path / "a"))
    assert not storage.is_folder(str(tmp_path / "z.hea"))


def test_deleting_a_folder_leaves_its_neighbours(tmp_path):
    for name in ("a/x", "ab/x"):
        storage.write_bytes(str(tmp_path / name), b"1")
    storage.delete_folder(str(tmp_path / "a"))
    storage.delete_folder(str(tmp_path / "a"))
    assert storage.list_files(str(tmp_path)) == ["ab/x"]
