"""The gate with a registry: what is refused, what is kept, and the way back."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path

import evaluation_data
import pytest
import tiny_bundle
from hypothesis import given
from hypothesis import strategies as st
from test_promotion import contender, registered

from jobs import promote
from supreme import config, manifest, promotion, tracking
from supreme.evaluation import model_comparison
from supreme.inference.bundle import BundleError
from supreme.promotion import gate
from supreme.registry import champion, history, versions
from supreme.registry.history import HistoryEntry
from supreme.runtime.cli import Options
from supreme.settings.promote import Promote
from supreme.settings.tracking import Tracking
from supreme.sweep.summary import SWEEP, SweepResult

pytestmark = pytest.mark.unit

ROLLBACK = Options(rollback=True)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> config.Recipe:
    recipe = evaluation_data.recipe(tmp_path_factory.mktemp("gate"))
    evaluation_data.write_all_shards(recipe)
    evaluation = recipe.evaluation.model_copy(update={"model_uri": "", "min_positives": 1, "bootstrap": 20})
    return recipe.model_copy(update={"evaluation": evaluation, "promote": Promote(margin=0.9)})


@pytest.fixture(scope="module")
def bare(recipe: config.Recipe) -> config.Recipe:
    """Without labels: validation numbers decide, and nothing is scored."""
    unlabelled = recipe.sources[0].model_copy(update={"kind": "mimic_iv_ecg", "uri": "x", "records": None})
    return recipe.model_copy(update={"sources": (unlabelled,), "real": "", "promote": Promote(margin=0.1)})


def named(recipe: config.Recipe, name: str, **gate: object) -> config.Recipe:
    """The recipe with a registered model of its own."""
    section = recipe.promote.model_copy(update=gate)
    return recipe.model_copy(update={"tracking": Tracking(model=name), "promote": section})


def register(recipe: config.Recipe, seed: int, value: float = 0.8) -> str:
    return registered(recipe, seed, tiny_bundle.provenance(), value)


def at(recipe: config.Recipe, alias: str) -> int | None:
    version = versions.find(f"models:/{recipe.tracking.model}@{alias}", store(recipe))
    return int(version.version) if version else None


def store(recipe: config.Recipe) -> str:
    return tracking.open_store(Tracking(), recipe.root)


def entries(recipe: config.Recipe) -> list[HistoryEntry]:
    return history.read(recipe.tracking.model, store(recipe))


def files_of(recipe: config.Recipe, number: int) -> Path:
    version = versions.resolve(f"models:/{recipe.tracking.model}/{number}", store(recipe))
    return Path(str(version.source).removeprefix("file://"))


# ---- guarded classes


def test_a_guarded_class_may_not_lose_what_the_mean_hides(tmp_path: Path) -> None:
    """Three classes; only the guarded one loses more than its limit, while the margin lets the mean pass."""
    poor, good = contender(tmp_path / "poor", 0.8), contender(tmp_path / "good", 0.4)
    passed = promotion.decide(poor, good, Promote(margin=0.9))
    assert passed.promoted
    rows = {row.condition: row for row in passed.comparisons[0].by_class}
    loss = -rows["long_qt"].difference
    assert loss > 0
    for guarded in ("long_qt", rows["long_qt"].name.upper()):
        for limit, promoted in ((loss - 1e-9, False), (loss + 1e-9, True)):
            settings = Promote(margin=0.9, guarded=(guarded,), class_limit=limit)
            decision = promotion.decide(poor, good, settings)
            assert decision.promoted is promoted
            assert promoted or f"guarded class {guarded} lost more than" in decision.reason


def test_a_guard_that_cannot_see_its_class_stops_the_promotion(tmp_path: Path) -> None:
    good, poor = contender(tmp_path / "good", 0.3), contender(tmp_path / "poor", 2.0)
    with pytest.raises(
        config.ConfigError, match=r"promote\.guarded.*'atrial flop'; nearest class: 'atrial f"
    ):
        promotion.decide(good, poor, Promote(guarded=("atrial flop",)))
    blind = [contender(tmp_path / name, 0.3, min_positives=1000) for name in ("a", "bb")]
    decision = promotion.decide(*blind, Promote(guarded=("long_qt",)), new_data=True)
    assert not decision.promoted
    assert "guarded class long_qt cannot be compared" in decision.reason


# ---- history and the way back


@given(st.lists(st.one_of(st.integers(1, 5), st.none()), max_size=30))
def test_the_way_back_is_a_stack(steps: list[int | None]) -> None:
    """A number is promoted, None rolls back; compared with a plain list of champions."""
    champions: list[int] = []
    log: list[HistoryEntry] = []

    def add(action: history.Action, version: int) -> None:
        fields = {"number": len(log) + 1, "champion": None, "moved": True, "reason": "", "by": "", "at": ""}
        entry = fields | {"action": action, "version": version, "recipe": "", "run_id": ""}
        log.append(HistoryEntry.model_validate(entry))

    for step in steps:
        if step is None and len(champions) > 1 and champions[-2] not in champions[-1:]:
            champions.pop()
            add("rollback", champions[-1])
        elif step is not None and champions[-1:] != [step]:
            champions.append(step)
            add("promote", step)
        if step is not None and champions[-1] == step:
            assert history.reigns(log)[-1] == step
    assert history.reigns(log) == champions


def test_every_decision_is_kept_and_the_way_back_ends_where_it_began(bare: config.Recipe) -> None:
    own = named(bare, "kept")
    for seed in (31, 32, 33):
        register(own, seed)
        assert promote.run(own, Options())["promoted"]
    before = entries(own)
    register(own, 30, 0.6)
    strict = named(bare, "kept", model="models:/kept/4")
    refused = promote.run(strict, Options())
    assert not refused["promoted"]
    assert promote.run(strict, Options()) == refused, "the same decision again adds nothing"
    assert (at(own, "champion"), at(own, "previous")) == (3, 2)
    back = named(bare, "kept", reason="version 3 missed posterior infarcts")
    assert promote.run(back, ROLLBACK)["model_uri"] == "models:/kept/2"
    assert (at(own, "champion"), at(own, "previous")) == (2, 1)
    assert promote.run(back, ROLLBACK)["version"] == 1
    assert (at(own, "champion"), at(own, "previous")) == (1, None)
    with pytest.raises(config.ConfigError, match="has no alias 'previous': there is no earlier champion"):
        promote.run(back, ROLLBACK)
    after = entries(own)
    assert after[:3] == before, "what is in the history stays as it was"
    assert [(one.action, one.version, one.champion, one.moved) for one in after] == [
        *[("promote", 1, None, True), ("promote", 2, 1, True), ("promote", 3, 2, True)],
        *[("promote", 4, 3, False), ("rollback", 2, 3, True), ("rollback", 1, 2, True)],
    ]
    assert after[4].reason == "version 3 missed posterior infarcts"
    shown = promote.run(own, Options(history=True))
    assert (shown["champion"], shown["previous"], len(shown["decisions"])) == (1, None, 6)


def test_the_evidence_of_a_decision_is_an_artifact(recipe: config.Recipe, tmp_path: Path) -> None:
    own = named(recipe, "evidence", guarded=("atrial_fibrillation",), class_limit=1.0)
    register(own, 34), promote.run(own, Options())
    register(own, 35)
    result = promote.run(own, Options())
    client = tracking.connect(store(own))
    file = client.download_artifacts(result["evidence_run"], history.EVIDENCE, str(tmp_path))
    evidence = gate.DecisionEvidence.model_validate_json(Path(file).read_text())
    assert (evidence.candidate, evidence.champion) == ("models:/evidence/2", "models:/evidence/1")
    assert (evidence.guarded, evidence.promoted) == (("atrial_fibrillation",), True)
    pooled = evidence.comparisons[0]
    assert pooled == model_comparison.judge(pooled.comparison, 0.9)
    assert pooled.comparison.by_class


def test_what_was_rolled_back_is_promoted_again_only_by_name(bare: config.Recipe) -> None:
    own = named(bare, "again")
    for seed in (36, 37):
        register(own, seed), promote.run(own, Options())
    promote.run(own, ROLLBACK)
    result = promote.run(own, Options())
    assert not result["promoted"]
    assert "rolled it back" in result["reason"]
    assert "promote.model=models:/again/2" in result["reason"]
    assert at(own, "champion") == 1
    assert promote.run(named(own, "again", model="models:/again/2"), Options())["promoted"]
    assert (at(own, "champion"), at(own, "previous")) == (2, 1)


# ---- which candidate


def test_the_stages_of_the_recipe_are_candidates(bare: config.Recipe) -> None:
    own = named(bare, "stages")
    register(own, 38)
    trained = named(own, "trained", model="pretrain").model_copy(update={"name": "pretrained-38"})
    assert gate.candidate_uri(trained) == "models:/trained/1", "registered where it was not"
    swept = named(own, "stages", model="sweep")
    with pytest.raises(config.ConfigError, match=r"jobs/sweep\.py first"):
        promote.run(swept, Options())
    request = manifest.Request(stage="sweep", config={}, inputs={})
    facts = {"bundle": "", "best": "lr=1", "changes": {}, "value": 0.8, "recipe_value": 0.7, "run_id": ""}
    for uri in ("", "models:/stages/1"):
        summary = SweepResult.model_validate(facts | {"model_uri": uri, "trials": {}})
        manifest.begin(own.folder("sweep"), SWEEP, request, new=True)
        manifest.publish(own.folder("sweep"), SWEEP, request, summary)
        if not uri:
            with pytest.raises(config.ConfigError, match=r"lr=1 is only a short trial.*sweep\.finalists=1"):
                promote.run(swept, Options())
    assert gate.candidate_uri(swept) == "models:/stages/1"
    for wrong in ("runs/demo/pretrain", "champion"):
        with pytest.raises(config.ConfigError, match=r"promote\.model: give models:/NAME/VERSION"):
            config.parse({"promote": {"model": wrong}})


# ---- faults


def unchanged(recipe: config.Recipe, error: type[Exception], words: str, model: str = "") -> None:
    """A promotion that fails leaves aliases and history as they are."""
    before = (at(recipe, "champion"), at(recipe, "previous"), entries(recipe))
    own = named(recipe, recipe.tracking.model, model=model)
    with pytest.raises(error, match=words) as caught:
        promote.run(own, Options())
    assert "\n" not in str(caught.value)
    assert (at(recipe, "champion"), at(recipe, "previous"), entries(recipe)) == before


def test_a_tampered_bundle_is_not_promoted_though_it_was_evaluated(recipe: config.Recipe) -> None:
    own = named(recipe, "tampered")
    for seed in (41, 42):
        register(own, seed)
        promote.run(own, Options())
    third = files_of(own, int(register(own, 43).rpartition("/")[2]))
    promote.run(named(own, "tampered", margin=0.0), Options())  # refused, and its evaluation is finished
    for name in ("model.safetensors", "README.md"):
        original = (third / name).read_bytes()
        (third / name).write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
        unchanged(own, BundleError, name, model="models:/tampered/3")
        (third / name).write_bytes(original)
    first = files_of(own, 1) / "model.safetensors"
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"model\.safetensors"):
        promote.run(own, ROLLBACK)
    assert (at(own, "champion"), at(own, "previous")) == (2, 1)


def test_a_version_without_a_bundle_is_not_promoted(bare: config.Recipe) -> None:
    own = named(bare, "hollow")
    register(own, 44), promote.run(own, Options())
    client = tracking.connect(store(own))
    run_id = versions.resolve("models:/hollow/1", store(own)).run_id
    client.create_model_version("hollow", files_of(own, 1).as_uri(), run_id)
    unchanged(own, BundleError, r"version 2 of hollow has no tag sha256", model="models:/hollow/2")
    tags = {"sha256": "0" * 64}
    client.create_model_version("hollow", files_of(own, 1).as_uri() + "-gone", run_id, tags=tags)
    unchanged(own, BundleError, r"models:/hollow/3.* no longer in the artifact store", "models:/hollow/3")
    unchanged(own, config.ConfigError, r"run jobs/register\.py first", model="models:/hollow/9")


def test_an_alias_moved_by_hand_is_noticed(bare: config.Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    own = named(bare, "hand")
    register(own, 45), promote.run(own, Options())
    for seed in (46, 47):
        register(own, seed)
    client, judged = tracking.connect(store(own)), []
    original = gate._judge

    def interrupted(recipe: config.Recipe, candidate: object, current: object, *rest: str, **options: bool):  # type: ignore[no-untyped-def]
        judged.append(current.version)  # type: ignore[attr-defined]
        if len(judged) == 1:
            client.set_registered_model_alias("hand", "champion", 2)
        return original(recipe, candidate, current, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(gate, "_judge", interrupted)
    result = promote.run(own, Options())
    assert [int(version) for version in judged] == [1, 2], "compared again with the champion that it met"
    assert (at(own, "champion"), at(own, "previous")) == (3, 2)
    assert "is at version 2; the last decision put it at version 1: moved by hand" in result["reason"]
    client.delete_registered_model_alias("hand", "champion")
    assert "'champion' is gone; the last decision" in promote.run(own, Options(history=True))["note"]


def test_two_promotions_at_once_come_one_after_the_other(bare: config.Recipe) -> None:
    own = named(bare, "twice")
    for seed in (48, 49, 50):
        register(own, seed)
    promote.run(named(own, "twice", model="models:/twice/1"), Options())
    results: list[Mapping[str, object]] = []

    def run(number: int) -> None:
        results.append(promote.run(named(own, "twice", model=f"models:/twice/{number}"), Options()))

    threads = [threading.Thread(target=run, args=(number,)) for number in (2, 3)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert [result["promoted"] for result in results] == [True, True]
    first, second, third = entries(own)
    assert (second.champion, third.champion) == (first.version, second.version)
    assert (at(own, "champion"), at(own, "previous")) == (third.version, second.version)
    assert json.loads(third.model_dump_json())["number"] == 3


def test_a_history_that_somebody_changed_or_that_is_not_there_is_said(bare: config.Recipe) -> None:
    own = named(bare, "changed")
    with pytest.raises(config.ConfigError, match="no registered model changed: run jobs/register"):
        promote.run(own, Options(history=True))
    with pytest.raises(config.ConfigError, match="no registered model changed"):
        promote.run(own, ROLLBACK)
    register(own, 51)
    assert promote.run(own, Options(history=True))["decisions"] == ()
    with pytest.raises(config.ConfigError, match="not both"):
        promote.run(own, Options(history=True, rollback=True))
    with pytest.raises(config.ConfigError, match="has no alias 'previous'"):
        promote.run(own, ROLLBACK)
    assert not champion.moved_by_hand(entries(own), None)
    tracking.connect(store(own)).set_registered_model_tag("changed", "supreme.decision.000001", "{}")
    with pytest.raises(
        config.ConfigError, match=r"supreme\.decision\.000001 of the registered model changed"
    ):
        promote.run(own, Options())
