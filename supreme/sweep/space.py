"""The search space of a sweep: which keys it may hold, and the recipe with some of them changed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from pydantic import JsonValue

from supreme import config
from supreme.config import ConfigError, Recipe
from supreme.objectives.make import OBJECTIVES
from supreme.settings.sweep import Dimension
from supreme.training.run.stage import MAY_CHANGE

#: Dotted key -> value: what a trial changes in the recipe.
Changes = Mapping[str, JsonValue]

#: Sections that decide how a model is trained on the same shards and labels.
SECTIONS = ("model", "training", "text", "seed")
#: Keys that the sweep sets itself, with the reason.
_OWN = {
    "training.epochs": "sweep.epochs is the length of every trial",
    "training.checkpoint_every": "a trial reports at the points at which it may be stopped",
}


def check(recipe: Recipe) -> None:
    """Refuse a space that cannot be searched.

    Raises:
        ConfigError: it is empty, a key is unknown or may not be varied, or a `when` never holds.
    """
    sweep = recipe.sweep
    if not sweep.space:
        raise ConfigError(
            "sweep.space is empty: name keys and values, as in "
            "'sweep.space.training.learning_rate=[0.001, 0.01]'"
        )
    if sweep.seeds > 1 and "seed" in sweep.space:
        raise ConfigError("sweep.space holds seed, and sweep.seeds varies it too: give one of them")
    for key, dimension in sweep.space.items():
        for name in (key, *dimension.when):
            if not config.is_key(name):
                nearest = config.nearest_key(name.split("."))
                raise ConfigError(f"sweep.space: unknown key {name!r}; nearest valid key: {nearest!r}")
        section, _, field = key.partition(".")
        if section not in SECTIONS:
            raise ConfigError(
                f"sweep.space: {key} is no setting of training: all trials share shards and labels, so only "
                f"keys of {', '.join(SECTIONS)} can be varied"
            )
        if section == "training" and field in MAY_CHANGE:
            raise ConfigError(f"sweep.space: {key} changes the speed of training, not its result")
        if key in _OWN:
            raise ConfigError(f"sweep.space: {key} cannot be varied: {_OWN[key]}")
        _check_values(recipe, key, dimension)
        for other, pattern in dimension.when.items():
            if not any(fnmatchcase(_text(value), pattern) for value in _possible(recipe, other)):
                raise ConfigError(
                    f"sweep.space.{key}: `when` never holds, as {other} is never like {pattern!r}"
                )


def _check_values(recipe: Recipe, key: str, dimension: Dimension) -> None:
    """Refuse what a key never takes; values that exclude each other are refused by the trial."""
    for value in dimension.values or (dimension.low, dimension.high):
        try:
            changed(recipe, {key: value})
        except ConfigError as error:
            if str(error).startswith(key):
                raise ConfigError(f"sweep.space: {error}") from None
        if key == "training.objective" and not OBJECTIVES[str(value)].answers_queries:
            raise ConfigError(f"sweep.space: {key}: {value} answers no queries, so nothing ranks its trials")


def grid(recipe: Recipe) -> list[Changes]:
    """All combinations, each once; a key whose `when` does not hold is left out of a combination."""
    space = recipe.sweep.space
    points = [[(key, value) for value in dimension.points()] for key, dimension in space.items()]
    combinations = [
        {key: value for key, value in values if holds(recipe, space[key], dict(values))}
        for values in itertools.product(*points)
    ]
    return list({repr(sorted(changes.items())): changes for changes in combinations}.values())


def holds(recipe: Recipe, dimension: Dimension, changes: Changes) -> bool:
    """Whether a key is varied beside these changes."""
    return all(
        fnmatchcase(_text(changes.get(key, value_of(recipe, key))), pattern)
        for key, pattern in dimension.when.items()
    )


def value_of(recipe: Recipe, key: str) -> JsonValue:
    """The recipe's own value of a dotted key; None where it has none."""
    section = key.partition(".")[0]
    value: JsonValue = recipe.model_dump(mode="json", include={section})
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def changed(recipe: Recipe, changes: Changes) -> Recipe:
    """The recipe with some keys changed.

    Raises:
        ConfigError: a value has the wrong type, or does not go together with the others.
    """
    values: dict[str, JsonValue] = recipe.model_dump(mode="json")
    for key, value in changes.items():
        *parents, last = key.split(".")
        table = values
        for parent in parents:
            below = table.get(parent)
            if not isinstance(below, dict):
                below = table[parent] = {}
            table = below
        table[last] = value
    return config.parse(values)


def describe(changes: Changes) -> str:
    """``learning_rate=0.01 loss=focal``: for a line of a log."""
    values = zip(short_keys(changes), changes.values(), strict=True)
    return " ".join(f"{key}={shown(value)}" for key, value in values)


def short_keys(keys: Sequence[str] | Changes) -> list[str]:
    """The keys without their sections, where that is unambiguous."""
    leaves = [key.rpartition(".")[2] for key in keys]
    return [leaf if leaves.count(leaf) == 1 else key for leaf, key in zip(leaves, keys, strict=True)]


def shown(value: JsonValue) -> str:
    """A value for people: numbers with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else _text(value)


def _possible(recipe: Recipe, key: str) -> Iterator[JsonValue]:
    """Values that a key can have in a trial; the ends of a range stand for it."""
    dimension = recipe.sweep.space.get(key)
    yield value_of(recipe, key)
    if dimension:
        yield from dimension.points() or (dimension.low, dimension.high)


def _text(value: JsonValue) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
