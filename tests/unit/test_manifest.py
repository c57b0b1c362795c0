"""Stages: finished, unfinished, or another configuration."""

from __future__ import annotations

import pytest

from supreme import manifest, storage
from supreme.config import ConfigError
from supreme.manifest import Request

pytestmark = pytest.mark.unit

REQUEST = Request(stage="s", config={"a": {"b": 1}}, inputs={"x": "123"})


def test_a_stage_is_unfinished_until_its_manifest_is_published(tmp_path):
    folder = str(tmp_path / "stage")
    assert manifest.begin(folder, REQUEST) is None
    assert manifest.read(folder) is None
    with pytest.raises(ConfigError, match=r"not finished: run jobs/shard\.py first"):
        manifest.require(folder, "shard")
    storage.write_bytes(storage.join(folder, "part"), b"abc")
    assert manifest.begin(folder, REQUEST) is None, "the same request continues"
    made = manifest.publish(folder, REQUEST, {"n": 1})
    assert manifest.begin(folder, REQUEST) == made == manifest.require(folder, "shard")
    assert made.files["part"].sha256 == storage.sha256(b"abc")
    assert set(made.files) == {"part"}


@pytest.mark.parametrize(
    "changes", [{"config": {"a": {"b": 2}}}, {"inputs": {"x": "124"}}, {"config": {"a": {"b": 1, "c": 1}}}]
)
def test_another_request_is_refused_with_the_difference(tmp_path, changes):
    folder = str(tmp_path)
    manifest.begin(folder, REQUEST)
    other = REQUEST.model_copy(update=changes)
    with pytest.raises(ConfigError, match="->") as caught:
        manifest.begin(folder, other)
    assert "--new" in str(caught.value)


def test_other_inputs_are_called_so_and_a_stage_may_follow_them(tmp_path):
    folder = str(tmp_path / "stage")
    manifest.begin(folder, REQUEST)
    storage.write_bytes(storage.join(folder, "part"), b"abc")
    made = manifest.publish(folder, REQUEST, {})
    extended = REQUEST.model_copy(update={"inputs": {"x": "124", "y": "1"}})
    with pytest.raises(ConfigError, match=r"of other data than is there now:\n  inputs\.x(.|\n)*--new"):
        manifest.begin(folder, extended)
    assert manifest.begin_or_follow(folder, REQUEST) == made
    refused = [REQUEST.model_copy(update=change) for change in ({"inputs": {"y": "1"}}, {"config": {"a": 1}})]
    for other in refused:
        with pytest.raises(ConfigError, match="--new"):
            manifest.begin_or_follow(folder, other)
    assert manifest.read(folder) == made, "what is refused leaves everything as it was"
    assert manifest.begin_or_follow(folder, extended) is None
    assert storage.list_files(folder) == ["stage.json"]
    storage.write_bytes(storage.join(folder, "part"), b"abc")
    assert manifest.begin_or_follow(folder, extended) is None
    assert storage.list_files(folder) == ["part", "stage.json"], "what was interrupted goes on"
    assert manifest.begin_or_follow(folder, refused[1]) is None, "perhaps the other could not be finished"
    assert storage.list_files(folder) == ["stage.json"]
    assert manifest.begin_or_follow(folder, extended) is None
    assert manifest.publish(folder, extended, {}) == manifest.begin_or_follow(folder, extended)


def test_new_empties_the_folder(tmp_path):
    folder = str(tmp_path / "stage")
    manifest.begin(folder, REQUEST)
    storage.write_bytes(storage.join(folder, "part"), b"abc")
    manifest.publish(folder, REQUEST, {})
    assert manifest.begin(folder, REQUEST.model_copy(update={"stage": "t"}), new=True) is None
    assert storage.list_files(folder) == ["stage.json"]


def test_the_digest_is_of_content_not_of_time(tmp_path):
    made = []
    for name in ("1", "2"):
        folder = str(tmp_path / name)
        manifest.begin(folder, REQUEST)
        storage.write_bytes(storage.join(folder, "part"), b"abc")
        made.append(manifest.publish(folder, REQUEST, {}))
    later = made[1].model_copy(update={"created": "2001-01-01"})
    assert made[0].digest() == later.digest()
    entry = made[0].files["part"].model_copy(update={"sha256": "0"})
    assert made[0].model_copy(update={"files": {"part": entry}}).digest() != made[0].digest()


def test_a_folder_that_is_emptied_never_looks_finished(tmp_path, monkeypatch):
    folder = str(tmp_path / "stage")
    manifest.begin(folder, REQUEST)
    storage.write_bytes(storage.join(folder, "part"), b"abc")
    manifest.publish(folder, REQUEST, {})

    def killed(uri: str) -> None:
        storage.delete_file(storage.join(uri, "part"))
        raise KeyboardInterrupt

    monkeypatch.setattr(storage, "delete_folder", killed)
    with pytest.raises(KeyboardInterrupt):
        manifest.begin(folder, REQUEST, new=True)
    assert manifest.read(folder) is None
