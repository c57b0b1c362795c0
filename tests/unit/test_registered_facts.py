"""A version is a logged model that MLflow ranks by benchmark, and says of itself what a card says."""

from __future__ import annotations

from pathlib import Path

import evaluation_data
import mlflow
import numpy as np
import pytest
import tiny_bundle
from hypothesis import given
from hypothesis import strategies as st
from test_promotion import registered

from jobs import models
from supreme import config, storage, tracking
from supreme.evaluation import stage
from supreme.inference import bundle
from supreme.inference.bundle import files
from supreme.registry import facts, versions
from supreme.registry.facts import VersionValue
from supreme.runtime.cli import Options
from supreme.settings.models import Models
from supreme.settings.tracking import Tracking

pytestmark = pytest.mark.unit

NAME = "facts.model"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> config.Recipe:
    """Three versions, two of them evaluated."""
    recipe = evaluation_data.recipe(tmp_path_factory.mktemp("facts"))
    evaluation_data.write_all_shards(recipe)
    evaluation = recipe.evaluation.model_copy(update={"model_uri": "", "min_positives": 1, "bootstrap": 0})
    section = Tracking(model=NAME, licence="CC BY 4.0")
    recipe = recipe.model_copy(update={"evaluation": evaluation, "tracking": section})
    for seed in (61, 62, 63):
        uri = registered(recipe, seed, evaluation_data.seen_by(recipe))
        if seed == 61:  # evaluated before it was registered
            stage.run(recipe, f"{recipe.root}/pretrained-61/pretrain/bundle")
        if seed != 63:
            stage.run(recipe, uri)
    return recipe


@pytest.fixture(scope="module")
def store(recipe: config.Recipe) -> str:
    return tracking.open_store(Tracking(), recipe.root)


def test_mlflow_ranks_the_models_by_a_benchmark(recipe: config.Recipe, store: str) -> None:
    client = mlflow.MlflowClient(store)
    experiment = client.get_experiment_by_name("tests").experiment_id
    expected = {}
    for number in (1, 2):
        result = stage.run(recipe, f"models:/{NAME}/{number}")
        version = client.get_model_version(NAME, str(number))
        expected[version.tags["model_id"]] = result.datasets["cpsc2018"]
    digests = {part.shards_digest[:36] for part in expected.values()}
    [digest] = digests
    data = {"dataset_name": "cpsc2018", "dataset_digest": digest}
    metric = "metrics.evaluation/cpsc2018/macro_auroc_headline"
    for ascending in (True, False):
        order = {"field_name": metric, "ascending": ascending, **data}
        ranked = client.search_logged_models([experiment], datasets=[data], order_by=[order])
        ids = [one.model_id for one in ranked if one.model_id in expected]
        values = [expected[one].zero_shot.macro["headline"].auroc for one in ids]
        assert len(values) == 2
        assert values == sorted(values, reverse=not ascending)
    logged = client.get_logged_model(ids[0])
    assert logged.status.name == "READY"
    assert "facts.model" in logged.tags["mlflow.modelVersions"]
    of_cpsc = [one for one in logged.metrics if one.dataset_name == "cpsc2018"]
    headline = next(one for one in of_cpsc if one.key.endswith("macro_auroc_headline"))
    assert (headline.value, headline.dataset_digest) == (values[0], digest)
    assert {"merl/cpsc2018", "pooled", "simulated"} <= {one.dataset_name for one in logged.metrics}


def test_a_logged_model_loads_as_the_version_does(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    version = versions.resolve(f"models:/{NAME}/1", store)
    ecg_mv = np.asarray(tiny_bundle.ecgs(2), np.float32)
    loaded = mlflow.pyfunc.load_model(f"models:/{version.tags['model_id']}")
    scores = loaded.predict(ecg_mv, params={"queries": ["atrial fibrillation?"]})
    ours = versions.load(f"models:/{NAME}/1", store).score(ecg_mv, 100, ["atrial fibrillation?"])
    np.testing.assert_array_equal(scores, ours)


def test_the_description_is_a_card_and_the_tags_say_what_made_the_version(
    recipe: config.Recipe, store: str
) -> None:
    version = versions.resolve(f"models:/{NAME}/1", store)
    files_read = files.read(f"{recipe.root}/pretrained-61/pretrain/bundle")
    expected = {
        "encoder": tiny_bundle.RECIPE.model.encoder,
        "objective": "supreme",
        "loss": recipe.training.loss,
        "labels": "rules, min_count 20",
        "licence": "CC BY 4.0",
        "vocabulary_digest": storage.sha256(files_read.contents["vocabulary.json"])[:16],
        "recipe": "pretrained-61",
    }
    assert {key: version.tags[key] for key in expected} == expected
    assert version.tags["data"].startswith("simulated (")
    pooled = stage.run(recipe, f"models:/{NAME}/1").datasets["pooled"].zero_shot.macro["headline"]
    text = version.description
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        *("## Use", "## Data", "## Limits", "## Results")
    ]
    assert f"| pooled | {pooled.auroc:.3f} [" in text
    assert "not a medical device" in text
    assert "## Results" not in versions.resolve(f"models:/{NAME}/3", store).description


def test_the_job_lists_and_filters(recipe: config.Recipe, store: str) -> None:
    everything = models.run(recipe, Options())["versions"]
    assert [row["version"] for row in everything] == [3, 2, 1]  # type: ignore[index]
    newest, _, first = everything  # type: ignore[misc]
    assert (newest["aliases"], newest["values"], first["recipe"]) == (["candidate"], {}, "pretrained-61")
    assert first["values"]["pooled"]["auroc"] == pytest.approx(
        stage.run(recipe, f"models:/{NAME}/1").macro("headline")["pooled"]
    )

    def listed(**where: str) -> list[int]:
        own = recipe.model_copy(update={"models": Models(where=where)})
        return [row["version"] for row in models.run(own, Options())["versions"]]  # type: ignore[index]

    assert listed(recipe="pretrained-6[12]") == [2, 1]
    assert listed(encoder="no such*") == []
    with pytest.raises(
        config.ConfigError, match=r"models\.where: no version of facts\.model has a tag 'enc'"
    ):
        listed(enc="x")
    nobody = recipe.model_copy(update={"tracking": Tracking(model="nobody")})
    with pytest.raises(config.ConfigError, match="no registered model nobody"):
        models.run(nobody, Options())


def test_an_upload_that_dies_leaves_nothing_registered_and_is_completed(
    recipe: config.Recipe, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_bundle.write(tmp_path / "bundle", 64)
    digest = bundle.verify(str(tmp_path / "bundle"))
    run = tracking.start_or_resume(store, "uploads", str(tmp_path / "stage"), "pretrain", {})
    client = mlflow.MlflowClient(store)

    def die(self: object, *arguments: object) -> None:
        raise KeyboardInterrupt

    def register() -> versions.ModelVersion:
        return versions.register(str(tmp_path / "bundle"), run.run_id, tracking_uri=store, model="dies")

    with monkeypatch.context() as patch:
        patch.setattr("supreme.registry.logged_models.upload", die)
        with pytest.raises(KeyboardInterrupt):
            register()
    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "finalize_logged_model", lambda *_: 1 / 0)
        with pytest.raises(tracking.TrackingError):
            register()
    assert versions.find("models:/dies/1", store) is None
    assert versions.find("models:/dies@candidate", store) is None
    assert not client.search_registered_models("name = 'dies.lock'")
    version = register()
    experiment = client.get_experiment_by_name("uploads").experiment_id
    [one] = client.search_logged_models([experiment])
    assert (one.model_id, one.tags["sha256"]) == (version.tags["model_id"], digest)
    assert one.status.name == "READY"
    versions.verify(version, store)


@given(st.dictionaries(st.text(min_size=1, max_size=300), st.floats(0, 1), max_size=40), st.booleans())
def test_a_description_is_never_longer_than_a_registry_takes(
    values: dict[str, float], has_interval: bool
) -> None:
    bounds = (0.0, 1.0) if has_interval else (None, None)
    results = {
        name: VersionValue(auroc=value, low=bounds[0], high=bounds[1], records=1, classes=1)
        for name, value in values.items()
    }
    first = facts.with_results("## Use\nx", results)
    assert len(first) <= facts.MAX_DESCRIPTION
    assert facts.with_results(first, results) == first, "results replace each other"
    assert facts.results_of({facts.RESULTS: facts.results_to_tag(results)}) == results
    assert facts.results_of({facts.RESULTS: "{broken"}) == {}
