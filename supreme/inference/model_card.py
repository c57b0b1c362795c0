"""The model card of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from supreme import config, ecg, log
from supreme.reports.vocabulary import Vocabulary

#: What answers the queries, by ``training.objective``.
_HEADS = {
    "supreme": "a Cardiac Fusion Network",
    "ked": "a query network with self-attention, in which a score depends on what else is asked",
    "merl": "a projection into the space of its reports, whose scores are ranks rather than probabilities",
    "linear": "one output for each entity below; any other text is taken for the nearest of them",
}


def model_card(recipe: config.Recipe, vocabulary: Vocabulary, card: Mapping[str, Any]) -> str:
    """The README.md of a bundle: how to load it, the facts of its training, and the entities it knows.

    Args:
        card: more facts, nested or not, such as the rule and value of the selection.
    """
    facts = config.flatten(dict(card))
    name = recipe.tracking.model
    lines = [
        f"# {name}",
        "",
        f"A 12-lead ECG encoder with {_HEADS[recipe.training.objective]}: it gives the probability that what",
        "a text query names is present. For research; not a medical device.",
        "",
        "```python",
        "from supreme import registry",
        f'model = registry.load("models:/{name}@champion")',
        'model.score(ecg_mv, rate_hz=500, queries=["atrial fibrillation?"])  # (B, 12, T) mV -> (B, Q)',
        "```",
        "",
        "| fact | value |",
        "|---|---|",
        f"| encoder | {recipe.model.encoder} |",
        f"| input | 12 leads ({', '.join(ecg.LEADS)}), millivolts, {recipe.shards.rate_hz} Hz, "
        f"{recipe.shards.duration_s:g} s |",
        f"| text encoder | {recipe.text.encoder} |",
        f"| pre-training data | {', '.join(source.dataset for source in recipe.sources)} |",
        f"| objective | {recipe.training.objective} |",
        f"| loss | {recipe.training.loss}, uncertain: {recipe.training.uncertain} |",
        *(f"| {key} | {value} |" for key, value in facts.items()),
        "",
        f"## {len(vocabulary)} entities seen in pre-training",
        "",
        *(f"- {entity.name} (`{entity.id}`)" for entity in vocabulary),
        "",
    ]
    return log.redact("\n".join(lines))
