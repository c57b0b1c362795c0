"""Stages: finished, unfinished, or another configuration; and what may be deleted in their folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from supreme import manifest, owner, storage
from supreme.config import ConfigError
from supreme.manifest import Request, Stage

pytestmark = pytest.mark.unit


class Count(BaseModel):
    n: int = 0


STAGE = Stage("s", job="shard", result=Count, files=("part", "more/*.json", "deep/**"))
REQUEST = Request(stage="s", config={"a": {"b": 1}}, inputs={"x": "123"})


def _begun(folder: Path, *files: str) -> str:
    manifest.begin(str(folder), STAGE, REQUEST)
    for name in files or ("part",):
        storage.write_bytes(storage.join(str(folder), name), b"abc")
    return str(folder)


def test_a_stage_is_unfinished_until_its_manifest_is_published(tmp_path):
    folder = str(tmp_path / "stage")
    assert manifest.begin(folder, STAGE, REQUEST) is None
    assert manifest.read(folder, STAGE) is None
    with pytest.raises(ConfigError, match=r"not finished: run jobs/shard\.py first"):
        manifest.require(folder, STAGE)
    storage.write_bytes(storage.join(folder, "part"), b"abc")
    assert manifest.begin(folder, STAGE, REQUEST) is None, "the same request continues"
    made = manifest.publish(folder, STAGE, REQUEST, Count(n=1))
    assert manifest.begin(folder, STAGE, REQUEST) == made == manifest.require(folder, STAGE)
    assert made.result.n == 1
    assert made.files["part"].sha256 == storage.sha256(b"abc")
    assert set(made.files) == {"part"}


@pytest.mark.parametrize(
    "changes", [{"config": {"a": {"b": 2}}}, {"inputs": {"x": "124"}}, {"config": {"a": {"b": 1, "c": 1}}}]
)
def test_another_request_is_refused_with_the_difference(tmp_path, changes):
    folder = _begun(tmp_path)
    with pytest.raises(ConfigError, match="->") as caught:
        manifest.begin(folder, STAGE, REQUEST.model_copy(update=changes))
    assert "--new" in str(caught.value)


def test_other_inputs_are_called_so_and_a_stage_may_follow_them(tmp_path):
    folder = _begun(tmp_path / "stage")
    made = manifest.publish(folder, STAGE, REQUEST, Count())
    extended = REQUEST.model_copy(update={"inputs": {"x": "124", "y": "1"}})

    def follow(request: Request) -> manifest.Manifest[Count] | None:
        return manifest.begin(folder, STAGE, request, on_change="follow")

    with pytest.raises(ConfigError, match=r"of other data than is there now:\n  inputs\.x(.|\n)*--new"):
        manifest.begin(folder, STAGE, extended)
    assert follow(REQUEST) == made
    refused = [REQUEST.model_copy(update=change) for change in ({"inputs": {"y": "1"}}, {"config": {"a": 1}})]
    for other in refused:
        with pytest.raises(ConfigError, match="--new"):
            follow(other)
    assert manifest.read(folder, STAGE) == made, "what is refused leaves everything as it was"
    assert follow(extended) is None
    assert storage.list_files(folder) == ["stage.json"]
    storage.write_bytes(storage.join(folder, "part"), b"abc")
    assert follow(extended) is None
    assert storage.list_files(folder) == ["part", "stage.json"], "what was interrupted goes on"
    assert follow(refused[1]) is None, "perhaps the other could not be finished"
    assert storage.list_files(folder) == ["stage.json"]
    assert follow(extended) is None
    assert manifest.publish(folder, STAGE, extended, Count()) == follow(extended)


def test_new_deletes_what_the_stage_wrote_and_nothing_else(tmp_path):
    own = ("part", "more/1.json", "deep/a/b", "part.0123abcd.partial")
    others = ("thesis.tex", "more/notes.txt", "more/a/1.json", "other.parquet", "part2")
    folder = _begun(tmp_path / "stage", *own, *others)
    made = manifest.publish(folder, STAGE, REQUEST, Count())
    assert set(made.files) == set(own) - {"part.0123abcd.partial"}
    assert manifest.begin(folder, STAGE, REQUEST.model_copy(update={"config": {}}), new=True) is None
    assert storage.list_files(folder) == sorted([*others, "stage.json"])
    assert not (tmp_path / "stage" / "deep").exists()


@pytest.mark.parametrize("on_change", ["refuse", "replace", "follow"])
@pytest.mark.parametrize("new", [False, True])
def test_a_folder_of_another_origin_is_left_as_it_is(tmp_path, on_change, new):
    folder = tmp_path / "Documents"
    (folder / "more").mkdir(parents=True)
    (folder / "thesis.tex").write_text("years of work")
    assert manifest.begin(str(folder), STAGE, REQUEST, on_change=on_change, new=new) is None
    assert storage.list_files(str(folder)) == ["stage.json", "thesis.tex"]
    (folder / "stage.json").unlink()
    for name in ("more/1.json", "manifest.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("mine")
        with pytest.raises(ConfigError, match=rf"{name}.* no stage\.json"):
            manifest.begin(str(folder), STAGE, REQUEST, on_change=on_change, new=new)
        assert (folder / name).read_text() == "mine"
        (folder / name).unlink()


@given(
    names=st.sets(st.from_regex(r"[a-z]{1,4}(/[a-z]{1,4}[.]?[a-z]{1,4}){0,2}", fullmatch=True), max_size=6)
)
@settings(max_examples=40, deadline=None)
def test_whatever_else_is_in_a_folder_survives(tmp_path_factory, names):
    folder = _begun(tmp_path_factory.mktemp("any") / "stage")
    foreign = set()
    for name in sorted(names):
        place = Path(folder) / name
        if not STAGE.writes(name) and not any(parent.is_file() for parent in place.parents):
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                place.write_bytes(b"theirs")
                foreign.add(name)
    manifest.begin(folder, STAGE, REQUEST, new=True)
    assert set(storage.list_files(folder)) == foreign | {"stage.json"}


def test_the_digest_is_of_content_not_of_time(tmp_path):
    made = []
    for name in ("1", "2"):
        folder = _begun(tmp_path / name)
        made.append(manifest.publish(folder, STAGE, REQUEST, Count()))
    later = made[1].model_copy(update={"created": "2001-01-01"})
    assert made[0].digest() == later.digest()
    entry = made[0].files["part"].model_copy(update={"sha256": "0"})
    assert made[0].model_copy(update={"files": {"part": entry}}).digest() != made[0].digest()


def test_a_folder_that_is_emptied_never_looks_finished_and_stays_ours(tmp_path, monkeypatch):
    folder = _begun(tmp_path / "stage", "part", "more/1.json")
    manifest.publish(folder, STAGE, REQUEST, Count())
    delete, calls = storage.delete_file, []

    def killed(uri: str) -> None:
        calls.append(uri)
        if len(calls) == 3:
            raise KeyboardInterrupt
        delete(uri)

    monkeypatch.setattr(storage, "delete_file", killed)
    with pytest.raises(KeyboardInterrupt):
        manifest.begin(folder, STAGE, REQUEST, new=True)
    assert manifest.read(folder, STAGE) is None
    monkeypatch.undo()
    assert manifest.begin(folder, STAGE, REQUEST, new=True) is None
    assert storage.list_files(folder) == ["stage.json"]


@pytest.mark.parametrize("name", ["manifest.json", "stage.json"])
@pytest.mark.parametrize("damage", ["", "\0" * 900, '{"stage": "s"', "[]", "null", '{"schema_version": 2}'])
def test_a_damaged_file_is_named_with_the_remedy(tmp_path, name, damage):
    folder = _begun(tmp_path / "stage")
    manifest.publish(folder, STAGE, REQUEST, Count())
    (tmp_path / "stage" / name).write_text(damage)
    with pytest.raises(ConfigError, match=rf"{name} (is|has).*run jobs/shard\.py with --new"):
        manifest.begin(folder, STAGE, REQUEST)
    assert manifest.begin(folder, STAGE, REQUEST, new=True) is None, "the remedy works"


def test_a_manifest_of_an_older_version_says_so(tmp_path):
    folder = _begun(tmp_path / "stage")
    manifest.publish(folder, STAGE, REQUEST, Count())
    uri = storage.join(folder, manifest.MANIFEST)
    values = storage.read_json(uri)
    storage.write_json(uri, {key: value for key, value in values.items() if key != "schema_version"})
    with pytest.raises(
        ConfigError, match=r"format 1, this version of supreme reads format 2: run jobs/shard"
    ):
        manifest.read(folder, STAGE)


def test_a_folder_where_there_is_work_is_owned_and_a_finished_one_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(owner, "GONE_AFTER_S", 20.0)
    monkeypatch.setattr(owner, "RENEW_S", 0.05)
    folder = str(tmp_path / "stage")
    with manifest.opened(folder, STAGE, REQUEST) as finished:
        assert finished is None
        with pytest.raises(ConfigError, match="is at work here"):
            manifest.opened(folder, STAGE, REQUEST).__enter__()
        published = manifest.publish(folder, STAGE, REQUEST, Count(n=3))
    with manifest.opened(folder, STAGE, REQUEST) as finished:
        assert finished == published
        assert not (tmp_path / "stage" / owner.FILE).exists()
