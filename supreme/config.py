"""One typed recipe for every job: TOML file + ``key.sub=value`` overrides -> frozen models with a digest."""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError, model_validator

from supreme import nested
from supreme.nested import difference as difference
from supreme.nested import flatten as flatten
from supreme.settings.bench import Bench
from supreme.settings.data import Shards, Source
from supreme.settings.evaluation import Evaluation, Predict
from supreme.settings.labels import LLM, Labels
from supreme.settings.model import Model, Text
from supreme.settings.promote import Promote
from supreme.settings.section import Section
from supreme.settings.sweep import Sweep
from supreme.settings.tracking import Tracking
from supreme.settings.training import Training as Training

RECIPES = Path(__file__).resolve().parents[1] / "jobs" / "recipes"


class ConfigError(ValueError):
    """The configuration is wrong: the message names the key and, if there is one, the nearest valid key."""


class Recipe(Section):
    """Everything that any job needs; each stage's digest covers its own sections only."""

    name: str = "demo"
    seed: int = 0
    root: str = "runs"
    """Local folder or s3:// prefix under which every stage writes `<root>/<name>/<stage>`."""
    real: str = ""
    """A folder in which real data sets are looked for, to be evaluated on."""
    sources: tuple[Source, ...] = (Source(kind="simulated", records=2000),)
    """What to pre-train on."""
    shards: Shards = Shards()
    labels: Labels = Labels()
    llm: LLM = LLM()
    text: Text = Text()
    model: Model = Model()
    training: Training = Training()
    tracking: Tracking = Tracking()
    evaluation: Evaluation = Evaluation()
    promote: Promote = Promote()
    sweep: Sweep = Sweep()
    predict: Predict = Predict()
    bench: Bench = Bench()

    @model_validator(mode="after")
    def _augmentable(self) -> Recipe:
        self.training.augment.require(self.shards.rate_hz, self.shards.duration_s)
        return self

    def folder(self, stage: str) -> str:
        base, mark, query = self.root.partition("?")
        return f"{base.rstrip('/')}/{self.name}/{stage}{mark}{query}"

    def stage_of(self, folder: str) -> str:
        """The inverse of `folder`: a name that stays the same when the root is moved."""
        return folder.partition("?")[0].removeprefix(self.folder("").partition("?")[0])


def load(recipe: str, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe (a path, or the name of a file in ``jobs/recipes``), apply ``key.sub=value`` overrides.

    A recipe without a name is called as its file. Values are TOML (``seed=1``, ``labels.held_out=["a"]``);
    anything else is taken as a string. List items are addressed by number: ``sources.0.records=100``.

    Raises:
        ConfigError: unknown file, key or value.
    """
    path = Path(recipe) if recipe.endswith(".toml") else RECIPES / f"{recipe}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
        raise ConfigError(f"no recipe {recipe!r}: give a .toml file or one of {known}")
    try:
        values = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from error
    try:
        for override in overrides:
            nested.override(values, override)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return parse({"name": path.stem} | values)


def parse(values: dict[str, Any]) -> Recipe:
    """Validate a nested dictionary as a recipe.

    Raises:
        ConfigError: with the key and, for an unknown one, the nearest valid key.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(item) for item in error.errors())) from error


def digest(*sections: Any) -> str:
    """A sha256 over sections, models or plain values, independent of key order."""
    plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in sections]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()


def _explain(item: Any) -> str:
    location = [str(part) for part in item["loc"]]
    key = ".".join(location)
    if item["type"] != "extra_forbidden":
        given = item.get("input")
        got = "" if isinstance(given, dict) else f" (got {given!r})"
        if item["type"] == "tuple_type":
            got += f"; as a list: '{key}=[\"...\"]'"
        return (f"{key}: " if key else "") + item["msg"].removeprefix("Value error, ") + got
    valid = list(_valid_keys(Recipe))
    normal = ".".join(part for part in location if not part.isdecimal())
    nearest = difflib.get_close_matches(normal, valid, n=1, cutoff=0.0)
    same_leaf = [name for name in valid if name.rpartition(".")[2] == location[-1]]
    return f"unknown key {key!r}; nearest valid key: {(same_leaf or nearest)[0]!r}"


def _valid_keys(model: type[BaseModel], prefix: str = "") -> Iterable[str]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        arguments = getattr(inner, "__args__", ())
        if arguments and isinstance(arguments[0], type) and issubclass(arguments[0], BaseModel):
            inner = arguments[0]
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _valid_keys(inner, f"{prefix}{name}.")
        yield f"{prefix}{name}"
