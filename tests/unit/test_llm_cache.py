"""Replies are kept: all of them, whole, apart by model, parameters and prompt."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from supreme import config, storage
from supreme.reports.llm import cache, prompt
from supreme.reports.llm.cache import Cache
from supreme.reports.llm.replies import Reply

pytestmark = pytest.mark.unit

LLM = config.LLM(model="org/model:1")


def _reply(number: int, content: str = "{}") -> Reply:
    return Reply(statement_id=f"s{number}", content=content, finish="stop", prompt_tokens=7, seconds=0.5)


def _known(folder: Path, llm: config.LLM = LLM) -> dict[str, list[Reply]]:
    return Cache(str(folder), llm).replies


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    kept = Cache(str(tmp_path), LLM)
    contents = ["\u2028 \x85 \x1c", "\r\n\n", "\x00", "", '"\\"', "\U0001f493", "ä" * 5000]
    for number, content in enumerate(contents):
        kept.add(_reply(number, content))
        kept.add(_reply(number, "second"))
    kept.flush()
    known = _known(tmp_path)
    assert known == kept.replies
    said = [[reply.content for reply in known[f"s{number}"]] for number in range(len(contents))]
    assert said == [[content, "second"] for content in contents]


def test_parts_are_only_added_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "PART_REPLIES", 10)
    first = Cache(str(tmp_path), LLM)
    for number in range(25):
        first.add(_reply(number))
        first.flush()
    before = {path: path.read_bytes() for path in tmp_path.rglob("part-*.jsonl")}
    assert sorted(content.count(b"\n") for content in before.values()) == [5, 10, 10]
    second = Cache(str(tmp_path), LLM)
    second.add(_reply(25))
    second.flush()
    assert {path: path.read_bytes() for path in before} == before
    assert set(_known(tmp_path)) == {f"s{number}" for number in range(26)}


def test_nothing_is_lost_between_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "PART_REPLIES", 7)
    kept = Cache(str(tmp_path), LLM)
    done = threading.Event()
    write_bytes = storage.write_bytes

    def slowly(uri: str, content: bytes) -> None:
        time.sleep(0.001)
        write_bytes(uri, content)

    monkeypatch.setattr(storage, "write_bytes", slowly)

    def write() -> None:
        while not done.is_set():
            kept.flush()

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    for number in range(200):
        kept.add(_reply(number))
        time.sleep(0.0005)
    done.set()
    for writer in writers:
        writer.join()
    kept.flush()
    assert set(_known(tmp_path)) == {f"s{number}" for number in range(200)}


def test_what_decides_a_reply_decides_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Cache(str(tmp_path), LLM)
    kept.add(_reply(1))
    kept.flush()
    same = [{"url": "http://elsewhere/v1"}, {"concurrency": 1}, {"asks": 5}, {"key_env": "KEY"}]
    other = [{"model": "org/model-1"}, {"temperature": 0.5}, {"max_tokens": 9}, {"reply_format": "text"},
             {"extra": {"top_p": 0.5}}]  # fmt: skip
    assert all(_known(tmp_path, LLM.model_copy(update=change)) for change in same)
    assert not any(_known(tmp_path, LLM.model_copy(update=change)) for change in other)
    about = json.loads((Path(kept.folder) / "about.json").read_text())
    assert (about["model"], about["prompt_version"]) == (LLM.model, prompt.version())
    monkeypatch.setattr(prompt, "version", lambda: "another")
    assert not _known(tmp_path)


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    kept = Cache(str(tmp_path), LLM)
    kept.add(_reply(1))
    kept.flush()
    [part] = tmp_path.rglob("part-*.jsonl")
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(ValueError, match=rf"{part.name} is damaged: delete it"):
        _known(tmp_path)


def test_nothing_is_written_without_replies(tmp_path: Path) -> None:
    Cache(str(tmp_path), LLM).flush()
    assert list(tmp_path.iterdir()) == []
