"""The shipped encoder, its cache, and whitening that tells opposites apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme import config, text
from supreme.reports.vocabulary import load_base

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def minilm() -> text.TextEncoder:
    return text.open_encoder(config.Text())


class Counting:
    """A deterministic encoder that remembers what it was asked."""

    id, digest, dim = "counting", "c" * 64, 4

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        return np.array([[len(t), t.count("e"), t.count("a"), 1] for t in texts], np.float32)


def test_minilm_is_what_it_is_known_to_be(minilm: text.TextEncoder) -> None:
    rows = minilm.encode(["left bundle branch block", "right bundle branch block", "atrial fibrillation"])
    assert rows.shape == (3, 384)
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert rows[0] @ rows[1] == pytest.approx(0.96, abs=0.02)
    assert rows[0] @ rows[2] < 0.6


def test_an_embedding_does_not_depend_on_its_batch(minilm: text.TextEncoder) -> None:
    texts = ["ST elevation", "a much longer text about the inferior leads II, III and aVF", "LVH"]
    together = minilm.encode(texts)
    alone = np.concatenate([minilm.encode([one]) for one in texts])
    assert np.allclose(together, alone, atol=1e-5)


def test_pooling_is_part_of_the_digest_and_of_the_result(minilm: text.TextEncoder) -> None:
    folder = str(text._minilm_folder())
    cls = text.open_encoder(config.Text(encoder=folder, pooling="cls"))
    mean = text.open_encoder(config.Text(encoder=folder, pooling="mean"))
    assert mean.digest == minilm.digest != cls.digest
    assert np.allclose(mean.encode(["LVH"]), minilm.encode(["LVH"]))
    assert not np.allclose(cls.encode(["LVH"]), minilm.encode(["LVH"]), atol=1e-2)


def test_changed_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "MINILM_SHA256", "0" * 64)
    with pytest.raises(config.ConfigError, match="reinstall the package"):
        text.open_encoder(config.Text())


def test_a_download_needs_a_revision() -> None:
    with pytest.raises(config.ConfigError, match=r"give its commit as text\.revision"):
        text.open_encoder(config.Text(encoder="ncbi/MedCPT-Query-Encoder"))


def test_the_cache_computes_only_what_is_new(tmp_path: Path) -> None:
    encoder = Counting()
    first = text.embed(["a", "bee", "a"], encoder, str(tmp_path))
    second = text.embed(["bee", "sea", "a"], encoder, str(tmp_path))
    assert sorted(encoder.asked) == ["a", "bee", "sea"]
    assert np.array_equal(first[[1, 0]], second[[0, 2]])
    assert np.array_equal(second, Counting().encode(["bee", "sea", "a"]))
    assert [file.suffix for file in tmp_path.iterdir()] == [".safetensors"]
    assert text.embed([], encoder, None).shape == (0, 4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 40), st.integers(2, 8))
def test_whitened_rows_have_length_root_dim(seed: int, rows: int, dim: int) -> None:
    values = np.random.default_rng(seed).normal(size=(rows, dim)) + 3
    white = text.Whitening.fit(values, 0.1).apply(values)
    assert white.dtype == np.float32
    assert np.allclose(np.linalg.norm(white, axis=1), np.sqrt(dim), rtol=1e-4)


def test_full_whitening_gives_unit_covariance() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4000, 5)) @ rng.normal(size=(5, 5)) + rng.normal(size=5)
    fit = text.Whitening.fit(values, 0.0)
    white = (values - fit.mean) @ fit.matrix
    assert np.allclose(np.cov(white.T, bias=True), np.eye(5), atol=1e-3)
    scaled = text.Whitening.fit(values, 1.0).matrix
    assert np.allclose(scaled, scaled[0, 0] * np.eye(5), atol=1e-5)


def test_whitening_parts_opposites(minilm: text.TextEncoder) -> None:
    base = load_base()
    raw = minilm.encode([entity.definition for entity in base])
    white = text.Whitening.fit(raw, 0.1).apply(raw) / np.sqrt(384)
    row = base.ids.index
    for one, other in [
        ("left_bundle_branch_block", "right_bundle_branch_block"),
        ("left_axis_deviation", "right_axis_deviation"),
        ("left_ventricular_hypertrophy", "right_ventricular_hypertrophy"),
    ]:
        assert raw[row(one)] @ raw[row(other)] > 0.75
        assert white[row(one)] @ white[row(other)] < 0.4


def test_one_embedding_cannot_be_whitened() -> None:
    with pytest.raises(ValueError, match="at least two different"):
        text.Whitening.fit(np.ones((1, 3)), 0.1)
    with pytest.raises(ValueError, match="at least two different"):
        text.Whitening.fit(np.ones((5, 3)), 0.1)
