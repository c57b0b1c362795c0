"""One typed recipe for every job: TOML file + ``key.sub=value`` overrides -> frozen models with a digest."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from supreme import nested
from supreme.nested import difference as difference
from supreme.nested import flatten as flatten
from supreme.redaction import redact
from supreme.settings import recipe_file
from supreme.settings.bench import Bench
from supreme.settings.compare import Compare
from supreme.settings.data import Shards, Source
from supreme.settings.evaluation import Evaluation, Export, Predict
from supreme.settings.examine import Examine
from supreme.settings.labels import LLM, Labels
from supreme.settings.model import ALLOWED_ENCODERS, Model, Text, is_allowed
from supreme.settings.models import Models
from supreme.settings.names import Name, check_name, same_name
from supreme.settings.planning import Planning
from supreme.settings.promote import Promote
from supreme.settings.section import Section, at_most
from supreme.settings.sweep import Sweep
from supreme.settings.tracking import Tracking
from supreme.settings.training import Training as Training
from supreme.settings.uris import RootUri, Uri

RECIPES = Path(__file__).resolve().parents[1] / "jobs" / "recipes"
MAX_PLANNED_BYTES = 1e14
"""A hundred terabytes of signals: a recipe that plans more has a number wrong."""
_MAX_ERRORS = 10

#: A key, as its parts -> where it stands ("FILE:LINE"), or nothing.
Locate = Callable[[tuple[str | int, ...]], str]


class ConfigError(ValueError):
    """The configuration is wrong: the message names the key and, if there is one, the nearest valid key."""


class Recipe(Section):
    """Everything that any job needs; each stage's digest covers its own sections only."""

    name: Name = "demo"
    """Name of the folder below `root`; the recipe file's name when not set."""
    seed: Annotated[int, at_most(2**32 - 1, "NumPy takes 32 bits")] = Field(default=0, ge=0)
    """Seed of every random draw."""
    root: RootUri = "runs"
    """Local folder or `s3://` prefix below which every stage writes `<root>/<name>/<stage>`."""
    real: Uri = ""
    """A folder that is searched for real data sets to evaluate on."""
    sources: Annotated[tuple[Source, ...], Field(strict=False, max_length=1000)] = (
        Source(kind="simulated", records=2000),
    )
    """Data sets to pre-train on."""
    shards: Shards = Shards()
    labels: Labels = Labels()
    llm: LLM = LLM()
    text: Text = Text()
    model: Model = Model()
    training: Training = Training()
    tracking: Tracking = Tracking()
    evaluation: Evaluation = Evaluation()
    compare: Compare = Compare()
    examine: Examine = Examine()
    promote: Promote = Promote()
    models: Models = Models()
    sweep: Sweep = Sweep()
    predict: Predict = Predict()
    export: Export = Export()
    bench: Bench = Bench()
    plan: Planning = Planning()

    @model_validator(mode="after")
    def _augmentable(self) -> Recipe:
        self.training.augment.require(self.shards.rate_hz, self.shards.duration_s)
        return self

    @model_validator(mode="after")
    def _sources_can_be_told_apart(self) -> Recipe:
        names: dict[str, str] = {}
        for source in self.sources:
            key = same_name(source.dataset)
            if key in names:
                both = " and ".join(map(repr, dict.fromkeys([names[key], source.dataset])))
                raise ValueError(
                    f"sources: two are called {both}, which is one folder on some file systems: "
                    "give one another name"
                )
            names[key] = source.dataset
        return self

    @model_validator(mode="after")
    def _fits_onto_a_disk(self) -> Recipe:
        planned = sum(source.records or 0 for source in self.sources) * self.shards.record_bytes
        if planned > MAX_PLANNED_BYTES:
            raise ValueError(
                f"the shards would take up to {planned:.2g} bytes, more than any disk holds: lower "
                "sources.N.records, shards.rate_hz or shards.duration_s"
            )
        return self

    def evaluating(self, model_uri: str) -> Recipe:
        """The same recipe, but that another model is evaluated."""
        evaluation = self.evaluation.model_copy(update={"model_uri": model_uri})
        return self.model_copy(update={"evaluation": evaluation})

    def folder(self, stage: str) -> str:
        """The folder of a stage: ``<root>/<name>/<stage>``, with the options of an S3 URI at the end."""
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
        ConfigError: unknown file, key or value; the message names file, line, key and remedy.
    """
    path = Path(recipe) if recipe.endswith(".toml") else RECIPES / f"{recipe}.toml"
    try:
        if not path.exists():
            known = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
            raise ConfigError(f"no recipe {nested.clip(recipe)!r}: give a .toml file or one of {known}")
        file = recipe_file.read(path)
        values = file.values
        changed = [nested.override(values, text) for text in overrides]
        if "name" not in values:
            values["name"] = _name_of(path)
    except OSError as error:  # too long a name, a folder that may not be entered
        raise ConfigError(f"{nested.clip(recipe)}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(str(error)) from error

    def locate(location: tuple[str | int, ...]) -> str:
        key = ".".join(map(str, location))
        if any(f"{key}.".startswith(f"{one}.") for one in changed):
            return ""
        line = file.line_of(location)
        return f"{path}:{line}: " if line else f"{path}: "

    result = parse(values, locate)
    for key, encoder in [("model.encoder", result.model.encoder), *_swept(result)]:
        if not is_allowed(encoder):
            raise ConfigError(
                f"{locate(tuple(key.split('.')))}{key}: {encoder!r} is code outside this package, which is "
                f"not imported: if you trust it, name it in the environment variable {ALLOWED_ENCODERS}, "
                "on every node"
            )
    return result


def _swept(recipe: Recipe) -> Iterator[tuple[str, str]]:
    dimension = recipe.sweep.space.get("model.encoder")
    for value in dimension.values if dimension else ():
        if ":" in str(value):  # the sweep itself refuses a name that is no encoder's
            yield "sweep.space.model.encoder", str(value)


def _name_of(path: Path) -> str:
    try:
        return check_name(path.stem)
    except ValueError as error:
        raise ValueError(f"{path}: has no `name`, and its own is none ({error}): add name = ...") from error


def parse(values: Mapping[str, Any], locate: Locate = lambda location: "") -> Recipe:
    """Validate a nested mapping as a recipe.

    Raises:
        ConfigError: with the key and, for an unknown one, the nearest valid key.
    """
    try:
        nested.check(values)
        return Recipe.model_validate(values)
    except nested.KeyedError as error:
        raise ConfigError(f"{locate(error.location)}{error}") from error
    except ValidationError as error:
        details = error.errors()
        lines = list(dict.fromkeys(_explain(item, locate) for item in details[:_MAX_ERRORS]))
        more = len(details) - _MAX_ERRORS
        raise ConfigError("; ".join([*lines, f"and {more} more"] if more > 0 else lines)) from error


def digest(*sections: object) -> str:
    """A sha256 over sections, models or plain values, independent of key order."""
    plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in sections]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()


def _explain(item: ErrorDetails, locate: Locate) -> str:
    location = _location(item)
    key, where = nested.dotted(location), locate(location)
    if item["type"] == "extra_forbidden":
        return f"{where}unknown key {key!r}; nearest valid key: {nearest_key(location)!r}"
    value = item["input"]
    shown = (
        ""
        if isinstance(value, dict | BaseModel)
        else f" (got {nested.clip(redact(nested.clip(repr(value), 2000)))})"
    )
    if item["type"] == "tuple_type":
        shown += f"; as a list: '{key}=[\"...\"]'"
    if item["type"] == "string_type" and isinstance(value, int | float):
        shown += f"; in quotation marks: '{key}=\"{value}\"'"
    return where + (f"{key}: " if key else "") + item["msg"].removeprefix("Value error, ") + shown


def _location(item: ErrorDetails) -> tuple[str | int, ...]:
    """Where in the recipe: what pydantic adds for the members of a union is no key."""
    location = item["loc"]
    return location[:2] if location[:2] == ("training", "micro_batch") else location


def is_key(key: str) -> bool:
    """Whether a recipe has this dotted key."""
    return key in _valid_keys(Recipe)


def nearest_key(location: Sequence[str | int]) -> str:
    """The valid key that an unknown one, as its parts, most likely stands for."""
    valid = list(_valid_keys(Recipe))
    leaf = str(location[-1])
    same_leaf = [name for name in valid if name.rpartition(".")[2] == leaf]
    normal = ".".join(part for part in location if isinstance(part, str))
    return (same_leaf or difflib.get_close_matches(normal[:100], valid, n=1, cutoff=0.0))[0]


def _valid_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        arguments = getattr(inner, "__args__", ())
        if arguments and isinstance(arguments[0], type) and issubclass(arguments[0], BaseModel):
            inner = arguments[0]
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _valid_keys(inner, f"{prefix}{name}.")
        yield f"{prefix}{name}"
