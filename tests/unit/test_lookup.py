"""One model, loaded and asked in every way, gives the same numbers, at another rate and lead order too."""

from __future__ import annotations

from pathlib import Path

import evaluation_data
import mlflow
import numpy as np
import promoted_bundle
import pytest
import tiny_bundle
import torch
from wfdb_writer import ecg_mv, write_record

from supreme import config, ecg, prediction, registry
from supreme.evaluation.bundle_scorer import Answers, QueryGroup
from supreme.evaluation.bundle_scorer import Query as EngineQuery
from supreme.inference.query_model import EcgQueryModel
from supreme.inference.windows import windows_uv
from supreme.registry import versions
from supreme.settings.evaluation import Predict
from supreme.shards.read import ShardDataset
from supreme.storage.parquet import read_table

pytestmark = pytest.mark.unit

QUERIES = ["atrial fibrillation?", "old inferior infarct?", "sinus bradycardia"]
RATE_HZ = 360
#: The Cabrera order, in spellings of several makers.
CHANNELS = ("aVL", "I", "-aVR", "II", "lead_aVF", "III", "V6", "V5", "V4", "V3", "V2", "V1")


def shuffled(signal: np.ndarray) -> np.ndarray:
    """The channels of an ECG ``(12, T)`` as CHANNELS name them."""
    leads = [ecg.canonical_lead(name) for name in CHANNELS]
    return np.stack([lead.sign * signal[ecg.LEADS.index(lead.name)] for lead in leads])  # type: ignore


@pytest.fixture(scope="module")
def signals() -> np.ndarray:
    """Three ECGs in whole microvolts, longer than the model's window."""
    return np.stack([ecg.to_millivolts(ecg.to_microvolts(ecg_mv(7, RATE_HZ, seed))) for seed in range(3)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, signals: np.ndarray) -> Path:
    folder = tmp_path_factory.mktemp("records")
    for number, signal in enumerate(signals):
        write_record(folder, f"r{number}", shuffled(signal), RATE_HZ, CHANNELS)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A registry with a champion, and its bundle beside it."""
    return promoted_bundle.write(str(tmp_path_factory.mktemp("root")), "lookup")


@pytest.fixture(scope="module")
def bundle(store: str) -> str:
    return store.removeprefix("sqlite:///").replace("mlflow.db", "bundle")


@pytest.fixture(scope="module")
def model(bundle: str) -> EcgQueryModel:
    return registry.load(bundle)


@pytest.fixture(scope="module")
def expected(model: EcgQueryModel, signals: np.ndarray) -> np.ndarray:
    scores = model.score(signals, RATE_HZ, QUERIES)
    assert np.ptp(scores, axis=0).min() > 1e-3, "records must differ for this to mean anything"
    return scores


def close(scores: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("uri", ["models:/lookup@champion", "models:/lookup/1"])
def test_registered_models_answer_like_their_bundle(
    store: str, signals: np.ndarray, expected: np.ndarray, uri: str
) -> None:
    close(registry.load(uri, store).score(signals, RATE_HZ, QUERIES), expected)
    named = registry.load(uri, store, device="cpu")
    one_by_one = [named.score(signal[None], RATE_HZ, [query]) for signal in signals for query in QUERIES]
    close(np.reshape(one_by_one, expected.shape), expected)


def test_arrays_in_another_lead_order_and_files_of_them_score_alike(
    model: EcgQueryModel, signals: np.ndarray, folder: Path, expected: np.ndarray
) -> None:
    ordered = np.stack([shuffled(signal) for signal in signals])
    close(model.score(ordered, RATE_HZ, QUERIES, leads=CHANNELS), expected)
    assert np.abs(model.score(ordered, RATE_HZ, QUERIES) - expected).max() > 1e-3, "order matters here"
    result = registry.score_records(model, str(folder), QUERIES)
    assert result.record_ids == ("r0", "r1", "r2")
    close(result.scores, expected)
    close(model.score_files([str(folder / f"r{number}.hea") for number in range(3)], QUERIES), expected)
    for uri in (folder / "r1", folder / "r1.hea"):
        one = registry.score_records(model, str(uri), QUERIES)
        assert (one.record_ids, one.refused) == (("r1",), ("",))
        close(one.scores, expected[1:2])


def test_the_predict_job_and_mlflow_score_alike(
    store: str,
    folder: Path,
    tmp_path: Path,
    expected: np.ndarray,
    signals: np.ndarray,
    model: EcgQueryModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = Predict(uri=str(folder), queries=tuple(QUERIES), output=str(tmp_path / "out.parquet"))
    prediction.predict(settings, "models:/lookup@champion", store)
    scores = read_table(settings.output).column("score").to_numpy().reshape(expected.shape)
    close(scores, expected)
    group = QueryGroup.of(model, tuple(EngineQuery((query,)) for query in QUERIES))
    windows = [windows_uv(ecg.to_microvolts(one), RATE_HZ, model.convention) for one in signals]
    of_engine = np.stack([Answers(model, (group,))(one).mean(0) for one in windows])
    close(of_engine[:, len(QUERIES) :], model.embed(signals, RATE_HZ))
    # MLflow's own interface takes the model's rate, length and order.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    ours = np.asarray(tiny_bundle.ecgs(2), np.float32)
    version = versions.resolve("models:/lookup/1", store)
    for uri in ("models:/lookup@champion", "models:/lookup/1", f"models:/{version.tags['model_id']}"):
        loaded = mlflow.pyfunc.load_model(uri)
        close(loaded.predict(ours, params={"queries": QUERIES}), model.score(ours, 100, QUERIES))


def test_shards_are_scored_record_by_record(tmp_path: Path, model: EcgQueryModel) -> None:
    names = [f"r{number}" for number in range(40)]
    place = str(tmp_path / "shards")
    evaluation_data.write_shards(place, "simulated", evaluation_data.CONDITIONS, {"test": names})
    result = registry.score_records(model, place, QUERIES)
    assert sorted(result.record_ids) == sorted(f"simulated/{name}" for name in names)
    assert np.isfinite(result.scores).all()
    shards = ShardDataset.open(place)
    table = shards.read_row_group(shards.row_groups()[0])
    ecgs = np.stack([ecg.to_millivolts(values) for values, _ in shards.records_uv(table)])
    close(result.scores[: len(ecgs)], model.score(ecgs, evaluation_data.RATE_HZ, QUERIES))


def test_attention_covers_the_first_window_and_follows_the_lead_names(
    model: EcgQueryModel, signals: np.ndarray
) -> None:
    maps = model.attention(signals, RATE_HZ, QUERIES[0])
    assert maps.shape == (3, signals.shape[2])
    inside = round(model.convention.duration_s * RATE_HZ)
    assert (maps[:, : inside - 8] > 0).all()
    assert not maps[:, inside + 8 :].any()
    ordered = np.stack([shuffled(signal) for signal in signals])
    close(model.attention(ordered, RATE_HZ, QUERIES[0], leads=CHANNELS), maps)


def test_what_cannot_be_looked_up_is_said(
    model: EcgQueryModel, signals: np.ndarray, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="names of the 12 channels"):
        model.score(signals, RATE_HZ, QUERIES, leads=CHANNELS[:8])
    with pytest.raises(ValueError, match="'V1' and 'V1' are both lead V1: keep one"):
        model.score(signals, RATE_HZ, QUERIES, leads=["V1", *CHANNELS[1:]])
    for place in (str(tmp_path / "nothing"), ""):
        with pytest.raises(config.ConfigError, match="no ECG file, no folder of them"):
            registry.score_records(model, place, QUERIES)
    (tmp_path / "short.hea").write_text((folder / "r0.hea").read_text().replace("r0", "short"))
    (tmp_path / "short.dat").write_bytes((folder / "r0.dat").read_bytes()[: 24 * 300])
    result = registry.score_records(model, str(tmp_path), QUERIES)
    assert result.refused[0]
    assert np.isnan(result.scores).all()
    for device in ("cuda:99", "abacus"):
        with pytest.raises(ValueError, match=f"device='{device}' cannot be used here .*give 'cpu'"):
            model.to(device)
    assert model.device == torch.device("cpu")
