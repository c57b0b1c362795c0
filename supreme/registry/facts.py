"""What a version says of itself: tags to search by, and a description for people."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from supreme.inference.bundle.config import BundleConfig, read_config
from supreme.inference.bundle.files import BundleFiles
from supreme.inference.bundle.layout import CONFIG, VOCABULARY
from supreme.storage import sha256

#: Tag of a version with the results of its last evaluation, as JSON.
RESULTS = "results"
#: The registry refuses longer descriptions.
MAX_DESCRIPTION = 5000
_RESULTS_TITLE = "\n## Results\n"


class VersionValue(BaseModel):
    """Macro AUROC on one data set or benchmark, with its 95 % interval by patient."""

    model_config = ConfigDict(frozen=True)

    auroc: float
    low: float | None
    """None where there are too few patients for an interval that covers."""
    high: float | None
    records: int
    classes: int

    def text(self) -> str:
        """`0.812 [0.790, 0.834]`."""
        if self.low is None or self.high is None:
            return f"{self.auroc:.3f} [no interval]"
        return f"{self.auroc:.3f} [{self.low:.3f}, {self.high:.3f}]"


_VALUES = TypeAdapter(dict[str, VersionValue])


def tags_of(bundle: BundleFiles) -> dict[str, str]:
    """Encoder, objective, data and vocabulary of a bundle, as tags."""
    config = read_config(bundle.contents[CONFIG], bundle.where(CONFIG))
    return {
        "encoder": config.model.encoder,
        "objective": config.objective,
        "text_encoder": config.text.encoder,
        "data": _data(config),
        "vocabulary_digest": sha256(bundle.contents[VOCABULARY])[:16],
    }


def describe(bundle: BundleFiles, tags: Mapping[str, str]) -> str:
    """The description of a version that has no results yet: use, data, limits.

    Args:
        tags: of the version.
    """
    config = read_config(bundle.contents[CONFIG], bundle.where(CONFIG))
    entities = len(json.loads(bundle.contents[VOCABULARY]))
    seconds = config.input.samples / config.input.rate_hz
    lines = [
        "## Use",
        "Answers text queries about 12-lead ECGs with a score for each. For research; not a medical device.",
        f"Encoder {config.model.encoder}, objective {config.objective}, loss {tags.get('loss', 'unknown')}; "
        f"licence: {tags.get('licence', 'not stated')}.",
        "## Data",
        f"Pre-trained on {_data(config) or 'data that the bundle does not name'}; labels: "
        f"{tags.get('labels', 'unknown')}.",
        f"{tags.get('selection_metric', 'Selection')} {tags.get('selection_value', 'unknown')} "
        f"({tags.get('selection_rule', 'rule unknown')}).",
        "## Limits",
        f"Sees {seconds:g} s at {config.input.rate_hz:g} Hz at a time; longer records are scored in windows. "
        f"Learned {entities} entities: any other query is answered by the meaning of its words alone. Scores "
        "are not calibrated for any hospital.",
    ]
    return _cut("\n".join(lines))


def with_results(description: str, values: Mapping[str, VersionValue]) -> str:
    """The description with the results of the last evaluation in place of any earlier ones."""
    head = description.partition(_RESULTS_TITLE)[0]
    rows = [f"| {name} | {one.text()} | {one.classes} | {one.records:,} |" for name, one in values.items()]
    table = ["Macro AUROC, zero-shot, 95 % interval by patient.", "", "| on | AUROC | classes | records |"]
    text = f"{head}{_RESULTS_TITLE}" + "\n".join([*table, "|---|---|---|---|", *rows])
    return _cut(text)


def results_to_tag(values: Mapping[str, VersionValue]) -> str:
    """The tag :data:`RESULTS`."""
    return _VALUES.dump_json(dict(values)).decode()


def results_of(tags: Mapping[str, str]) -> dict[str, VersionValue]:
    """The results of a version's last evaluation; empty where it has none that can be read."""
    try:
        return _VALUES.validate_json(tags.get(RESULTS, "{}"))
    except ValidationError:
        return {}


def _data(config: BundleConfig) -> str:
    return ", ".join(f"{one.dataset} ({one.records:,} records)" for one in config.trained_on or ())


def _cut(text: str) -> str:
    return text if len(text) <= MAX_DESCRIPTION else text[: MAX_DESCRIPTION - 4].rpartition("\n")[0] + "\n..."
