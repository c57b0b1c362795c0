"""A planted wave is found and passes deletion and insertion; a random map, or one of no use, fails."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter1d

from supreme.ecg import LEADS
from supreme.evaluation.explanation import erase, occlusion, query_scorer
from supreme.evaluation.explanation_stage import QueriedEcg, explain
from supreme.evaluation.faithfulness import advantages, faithfulness
from supreme.inference.attention_map import attention
from supreme.inference.convention import InputConvention
from supreme.inference.query_model import EcgQueryModel
from supreme.models.supreme import SupremeModel
from supreme.records.simulated import SimulatedSource
from supreme.reporting.explained_plates import shaded
from supreme.settings.model import Model

pytestmark = pytest.mark.unit

RATE_HZ = 100
V1 = LEADS.index("V1")


def _premature_beats(count: int) -> list[tuple[np.ndarray, int]]:
    """Simulated sinus rhythms with one wide beat added, upright in V1, and the sample of its peak."""
    source = SimulatedSource("simulated", 400, 0, rate_hz=RATE_HZ)
    rng = np.random.default_rng(0)
    ecgs = []
    for entry in source.index():
        record = source.read(entry)
        if "normal_ecg" in record.entry.codes and len(ecgs) < count:
            peak = int(rng.integers(100, 900))
            wave = np.exp(-0.5 * ((np.arange(1000) - peak) / 7) ** 2)
            ecgs.append(
                (record.signal_mv + (1.5 * wave * rng.uniform(0.5, 1, (12, 1))).astype(np.float32), peak)
            )
    return ecgs


def _widest_wave(ecg_mv: np.ndarray, rate_hz: float) -> np.ndarray:
    """A toy model of a premature beat: the largest upright wave in V1 that lasts 0.15 s."""
    return uniform_filter1d(ecg_mv[:, V1], round(0.15 * rate_hz), axis=-1).max(axis=-1)


def test_a_planted_beat_is_found_and_is_an_explanation() -> None:
    ecgs = _premature_beats(8)
    patients = [f"p{n}" for n in range(8)]
    by_occlusion, by_chance = [], []
    for number, (ecg_mv, peak) in enumerate(ecgs):
        importance = occlusion(_widest_wave, ecg_mv, RATE_HZ)
        assert abs(int(importance.argmax()) - peak) <= 20
        rng = np.random.default_rng(number)
        by_occlusion.append(advantages(_widest_wave, ecg_mv, RATE_HZ, importance, rng))
        by_chance.append(advantages(_widest_wave, ecg_mv, RATE_HZ, rng.random(1000), rng))
    planted = faithfulness("occlusion", by_occlusion, patients)
    chance = faithfulness("random", by_chance, patients)
    assert planted.is_explanation
    assert planted.deletion.low > 0.2
    assert "what the score depends on" in planted.caption
    assert not chance.is_explanation
    assert "random windows change the score as much" in chance.caption
    few = faithfulness("occlusion", by_occlusion[:3], patients[:3])
    assert not few.is_explanation
    assert "too few" in few.caption


def test_random_constant_and_turned_maps_seldom_pass() -> None:
    ecgs = _premature_beats(6)
    passed = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        maps = [rng.random(1000) if seed % 2 else np.ones(1000) for _ in ecgs]
        values = [
            advantages(_widest_wave, ecg, RATE_HZ, m, rng) for (ecg, _), m in zip(ecgs, maps, strict=True)
        ]
        passed += faithfulness("random", values, list("abcdef")).is_explanation
    assert passed <= 1
    turned = [
        advantages(
            _widest_wave, ecg, RATE_HZ, -occlusion(_widest_wave, ecg, RATE_HZ), np.random.default_rng(0)
        )
        for ecg, _ in ecgs
    ]
    result = faithfulness("turned", turned, list("abcdef"))
    assert result.deletion.high < 0
    with pytest.raises(ValueError, match="not finite"):
        advantages(_widest_wave, ecgs[0][0], RATE_HZ, np.full(1000, np.nan), np.random.default_rng(0))


@settings(max_examples=50, deadline=None)
@given(samples=st.integers(1, 60), seed=st.integers(0, 1000), share=st.floats(0, 1))
def test_erased_samples_are_a_line_between_the_others(samples: int, seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    ecg_mv = rng.normal(size=(12, samples)).astype(np.float32)
    mask = rng.random(samples) < share
    erased = erase(ecg_mv, mask)
    np.testing.assert_array_equal(erased[:, ~mask], ecg_mv[:, ~mask])
    line = np.outer(np.arange(12), np.arange(samples, dtype=np.float32)) + 1
    inner = mask.copy()
    if (~mask).any():
        inner[: np.flatnonzero(~mask)[0]] = inner[np.flatnonzero(~mask)[-1] :] = False
        np.testing.assert_allclose(erase(line, mask)[:, inner], line[:, inner], rtol=1e-5)
    else:
        assert np.ptp(erased, axis=1).max() == 0


def test_occlusion_of_a_linear_score_is_its_weight() -> None:
    """The score is the mean of V1 in one window; erasing another changes nothing."""
    ecg_mv = np.zeros((12, 400), np.float32)
    ecg_mv[V1, 200:220] = 1

    def score(batch: np.ndarray, rate_hz: float) -> np.ndarray:
        return batch[:, V1, 200:220].mean(axis=-1)

    importance = occlusion(score, ecg_mv, RATE_HZ)
    assert importance[200:220].min() > 0.4
    assert np.abs(importance[:180]).max() == 0
    assert np.abs(importance[240:]).max() == 0


def test_bands_of_a_plate_follow_the_map() -> None:
    importance = np.zeros(1000)
    importance[500:505] = 1
    figure = shaded(_premature_beats(1)[0][0], RATE_HZ, importance)
    bare = shaded(_premature_beats(1)[0][0], RATE_HZ, -importance)
    (band,) = figure.axes[0].patches
    assert band.get_x() == pytest.approx(10 + 5 * 25)  # 10 mm margin, 25 mm/s
    assert not bare.axes[0].patches


class _Queries:
    """Stands for `QueryEmbeddings`: two phrasings of whatever is asked."""

    def embed(self, queries: list[str]) -> tuple[np.ndarray, np.ndarray]:
        return np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32), np.zeros(2, int)


def _query_model(config: Model, head: str = "fusion") -> EcgQueryModel:
    with torch.random.fork_rng(devices=[]):
        model = SupremeModel(config, 6, 400, head)
    return EcgQueryModel(model, _Queries(), InputConvention(rate_hz=100, samples=400), "supreme")


@pytest.mark.parametrize("tokens", ["joint", "leadwise"])
def test_attention_lies_where_its_token_lies(tokens: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight tokens of half a second; the model looks at the third alone, in the ECG at 500 Hz."""
    model = _query_model(Model(encoder="vit1d", patch=50, tokens=tokens, fusion_width=8, fusion_heads=2))
    ecg_mv = np.random.default_rng(1).normal(0, 0.2, (12, 3000)).astype(np.float32)
    weights = attention(model, ecg_mv, 500, "anything")
    assert weights.shape == (3000,)
    assert weights[:2000].reshape(8, 250)[:, 0].sum() == pytest.approx(1, abs=1e-5)
    assert not weights[2000:].any()

    def look_at_third(token_BND: torch.Tensor, query_QE: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = torch.zeros(1, 2, 2, len(query_QE), token_BND.shape[1])
        maps[..., 2::8] = 1
        return torch.zeros(1, len(query_QE)), maps

    monkeypatch.setattr(model.model.fusion, "with_attention", look_at_third)
    third = attention(model, ecg_mv, 500, "anything")
    assert np.flatnonzero(third).tolist() == list(range(500, 750))


def test_models_without_a_map_are_refused() -> None:
    model = _query_model(Model(width=4, depth=1), "common_space")
    with pytest.raises(ValueError, match="no fusion network"):
        attention(model, np.zeros((12, 400), np.float32), 100, "x")
    with pytest.raises(ValueError, match="quality_checked=True"):
        query_scorer(model, "x")


def test_stage_explains_and_tests_every_method() -> None:
    config = Model(encoder="vit1d", patch=50, fusion_width=8, fusion_heads=2)
    with torch.random.fork_rng(devices=[]):
        model = SupremeModel(config, 6, 400, "fusion")
    convention = InputConvention(rate_hz=100, samples=400)
    queries = EcgQueryModel(model, _Queries(), convention, "supreme", quality_checked=True)
    ecgs = [QueriedEcg(f"p{n}", "x", e[:, :400], 100) for n, (e, _) in enumerate(_premature_beats(5))]
    result = explain(queries, ecgs, 0)
    assert list(result.maps) == list(result.tests) == ["attention", "occlusion"]
    assert all(part.shape == (400,) for parts in result.maps.values() for part in parts)
    assert result.tests["occlusion"].patients == 5
    # What occlusion erases first is by construction what the score depends on.
    assert result.tests["occlusion"].deletion.mean > result.tests["attention"].deletion.mean
    again = explain(queries, ecgs, 0)
    assert again.tests == result.tests
