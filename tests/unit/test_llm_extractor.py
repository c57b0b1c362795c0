"""Readings to mentions, the plan before a run, and vLLM where there is none."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from supreme import config
from supreme.config import ConfigError
from supreme.reports import statements
from supreme.reports.llm import cluster, estimate, extractor
from supreme.reports.llm.cache import Cache
from supreme.reports.llm.replies import NamedFinding, Reading, Reply, Tag
from supreme.reports.vocabulary import load_base

pytestmark = pytest.mark.unit

TEXTS = [f"Sinus rhythm with finding number {number}" for number in range(100)]


def _llm(**settings: Any) -> config.LLM:
    return config.LLM.model_validate({"model": "m", **settings})


# ---- mentions


@pytest.mark.parametrize(
    ("entity", "tag", "status"),
    [
        ("st_elevation", "Abnormal", "present"),
        ("st_elevation", "Normal", "absent"),
        ("st_elevation", "Uncertain", "uncertain"),
        ("sinus_rhythm", "Normal", "present"),
        ("sinus_rhythm", "Abnormal", "absent"),
        ("sinus_rhythm", "Uncertain", "uncertain"),
        ("normal_ecg", "Normal", "present"),
        ("abnormal_ecg", "Abnormal", "present"),
        ("abnormal_ecg", "Normal", "absent"),
        ("normal_qt_interval", "Normal", "present"),
    ],
)
def test_a_tag_says_what_is_there(entity: str, tag: Tag, status: str) -> None:
    mention = extractor.to_mention(NamedFinding("name", tag, "span", 3, 7), entity)
    assert (mention.entity, mention.assertion, mention.start, mention.end) == (entity, status, 3, 7)


def test_normal_entities_of_the_vocabulary_are_known() -> None:
    """An entity whose definition is about what is normal would be taken for absent."""
    called_normal = {entity.id for entity in load_base() if entity.name.casefold().startswith("normal")}
    assert called_normal <= {entity.id for entity in load_base() if extractor.is_normal(entity.id)}
    assert extractor.is_normal("sinus_rhythm")
    assert not any(map(extractor.is_normal, ("abnormal_ecg", "borderline_ecg", "sinus_bradycardia")))


def test_names_without_entity_are_left_out() -> None:
    found = (
        NamedFinding("sinus rhythm", "Normal", "SR", 0, 2),
        NamedFinding("odd thing", "Abnormal", "odd", 4, 7),
    )
    linked = {"sinus rhythm": "sinus_rhythm", "odd thing": ""}
    mentions = extractor.mentions(Reading(found), linked.get)
    assert [mention.entity for mention in mentions] == ["sinus_rhythm"]


def test_the_version_is_that_of_everything_that_decides() -> None:
    versions = {extractor.version(llm) for llm in (_llm(), _llm(model="n"), _llm(temperature=1.0))}
    assert len(versions) == 3
    assert extractor.version(_llm(concurrency=1, key_env="KEY")) == extractor.version(_llm())


def test_replies_lie_beside_the_stages() -> None:
    recipe = config.parse({"root": "s3://bucket/runs?scheme=http"})
    assert extractor.cache_folder(recipe) == "s3://bucket/runs/llm?scheme=http"
    assert not extractor.cache_folder(recipe).startswith(recipe.folder(""))
    assert extractor.cache_folder(config.parse({"llm": {"cache": "else/where"}})) == "else/where"


# ---- the plan


def test_the_plan_of_a_first_run(tmp_path: Path) -> None:
    llm = _llm(
        price_per_million_input=2.0,
        price_per_million_output=10.0,
        requests_per_minute=50,
        tokens_per_minute=1_000_000,
    )
    plan = estimate.plan([*TEXTS, TEXTS[0].upper()], llm, str(tmp_path))
    assert (plan["statements"], plan["calls"], plan["tokens_from"]) == (100, 100, "characters")
    assert 60_000 < plan["prompt_tokens"] < 120_000
    assert 3_000 < plan["completion_tokens"] < 10_000
    prompt, completion = plan["prompt_tokens"], plan["completion_tokens"]
    assert plan["cost"] == pytest.approx((2 * prompt + 10 * completion) / 1e6, abs=0.01)
    assert plan["minutes"] == 2.0
    assert list(tmp_path.iterdir()) == []
    unlimited = estimate.plan(TEXTS, _llm(), str(tmp_path))
    assert (unlimited["minutes"], unlimited["cost"]) == (None, None)
    tokens = estimate.plan(TEXTS, _llm(tokens_per_minute=10_000), str(tmp_path))
    assert tokens["minutes"] == pytest.approx((prompt + completion) / 1e4, abs=0.01)


def test_the_plan_learns_from_what_was_asked(tmp_path: Path) -> None:
    llm = _llm(price_per_million_input=1.0, concurrency=8)
    kept = Cache(str(tmp_path), llm)
    for text in TEXTS[:20]:
        reply = Reply(statement_id=statements.digest(text), content='{"entities": []}', seconds=6.0)
        kept.add(reply.model_copy(update={"prompt_tokens": 1000, "completion_tokens": 50}))
    kept.flush()
    plan = estimate.plan(TEXTS, llm, str(tmp_path))
    assert (plan["calls"], plan["prompt_tokens"], plan["completion_tokens"]) == (80, 80_000, 4_000)
    assert plan["tokens_from"] == "20 earlier replies"
    assert (plan["cost"], plan["minutes"]) == (0.08, 1.0)
    assert estimate.plan(TEXTS[:20], llm, str(tmp_path)) == {
        **{"statements": 20, "calls": 0, "prompt_tokens": 0, "completion_tokens": 0},
        **{"tokens_from": "20 earlier replies", "cost": 0.0, "minutes": 0.0},
    }


# ---- vLLM


def test_without_vllm_the_error_says_what_to_install() -> None:
    assert not getattr(importlib.util.find_spec("vllm"), "origin", None)
    with pytest.raises(ConfigError, match=r'ray\[llm\].*llm\.engine="http"'):
        extractor.read_all(TEXTS, _llm(engine="vllm"), "unused")


def test_a_models_own_code_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.machinery.ModuleSpec("vllm", None, origin="vllm")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: there)
    with pytest.raises(ConfigError, match="trust_remote_code"):
        cluster.Engine(_llm(engine="vllm", engine_options={"trust_remote_code": True}))


def test_a_reply_of_full_length_was_cut_off() -> None:
    row = {"statement_id": "x", "ask": 2, "generated_text": "{}"}
    row |= {"num_input_tokens": 9, "time_taken_llm": 0.5}
    llm = _llm(max_tokens=5)
    assert cluster.to_reply({**row, "num_generated_tokens": 5}, llm).finish == "length"
    assert cluster.to_reply({**row, "num_generated_tokens": 4}, llm) == Reply(
        **{"statement_id": "x", "ask": 2, "content": "{}", "finish": "stop"},
        **{"prompt_tokens": 9, "completion_tokens": 4, "seconds": 0.5},
    )
