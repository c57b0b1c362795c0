"""A bundle of a tiny untrained model over three entities and the real text encoder, for tests."""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
import torch

from supreme import config, storage, text
from supreme.ecg import to_microvolts, to_millivolts
from supreme.inference import bundle
from supreme.inference.provenance import Provenance, SeenDataset
from supreme.models.supreme import SupremeModel
from supreme.reports.vocabulary import Vocabulary, load_base, query_texts
from supreme.settings.data import Shards
from supreme.settings.model import Model

RECIPE = config.Recipe(
    model=Model(width=8, depth=1, fusion_width=32, fusion_depth=1, fusion_heads=2, dropout=0.0),
    shards=Shards(rate_hz=100, duration_s=4),
)
ENTITIES = ("atrial_fibrillation", "sinus_bradycardia", "left_bundle_branch_block")


@cache
def encoder() -> text.TextEncoder:
    return text.open_encoder(RECIPE.text)


@cache
def queries() -> tuple[Vocabulary, dict[str, list[str]], np.ndarray]:
    """Vocabulary, phrasings of each entity, and their raw embeddings."""
    vocabulary = load_base().subset(ENTITIES)
    texts = {entity.id: query_texts(entity) for entity in vocabulary}
    return vocabulary, texts, encoder().encode([phrase for group in texts.values() for phrase in group])


def network(seed: int = 0) -> SupremeModel:
    """An untrained network with weights so large that its logits react to ECG and query."""
    torch.manual_seed(seed)
    model = SupremeModel(RECIPE.model, encoder().dim, RECIPE.shards.samples).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3 if weight.ndim > 1 else 1)
    return model


def write(
    folder: object,
    seed: int = 0,
    objective: Literal["supreme", "ked"] = "supreme",
    trained_on: Provenance | None = None,
) -> str:
    """Write the bundle of the network of a seed; its digest."""
    training = RECIPE.training.model_copy(update={"objective": objective})
    recipe = RECIPE.model_copy(update={"training": training})
    vocabulary, texts, embeddings = queries()
    whitening = text.Whitening.fit(embeddings, shrinkage=0.5)
    card = {"selection": {"metric": "validation_macro_auroc", "value": 0.5}}
    parts = (vocabulary, texts, embeddings, whitening, encoder(), card)
    return bundle.write_bundle(str(folder), network(seed), recipe, *parts, trained_on)


def provenance() -> Provenance:
    """Of three recordings of one data set."""
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 256, (3, 6), np.uint8)
    seen = SeenDataset(
        dataset="planted",
        kind="ptbxl",
        shards_digest="0" * 64,
        splits=("train", "validation"),
        records=3,
        recordings_digest=storage.sha256(keys.tobytes()),
    )
    return Provenance((seen,), (keys,), (rng.integers(0, 256, (3, 12), np.uint8),))


def ecgs(count: int, samples: int = 400, seed: int = 0) -> np.ndarray:
    """Random smooth signals ``(count, 12, samples)`` in whole microvolts, given in mV."""
    noise = np.random.default_rng(seed).normal(size=(count, 12, samples + 20))
    kernel = np.ones(21) / 21
    smooth = np.apply_along_axis(lambda row: np.convolve(row, kernel, "valid"), 2, noise)
    return to_millivolts(to_microvolts(2 * smooth))
