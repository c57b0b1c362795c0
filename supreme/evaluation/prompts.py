"""Prompt sets for zero-shot: the texts by which each class is queried, and the spread of results over sets.

`name`, `definition` and `phrasings` come from the vocabulary. Others are files, JSON or TOML, of class ->
text or texts; a table with the name of a benchmark holds texts for the classes of that one:

    {"AFIB": "atrial fibrillation", "LVH": ["left ventricular hypertrophy", "LVH"], "csn": {"AF": "flutter"}}
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean, stdev

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

from supreme import storage
from supreme.config import ConfigError
from supreme.evaluation.class_names import ClassName
from supreme.reports.vocabulary import load_base, query_texts

BUILT_IN = ("name", "definition", "phrasings")
_MAX_BYTES = 1 << 24

Texts = tuple[str, ...]


class PromptFile(RootModel[dict[str, str | list[str] | dict[str, str | list[str]]]]):
    """A file of prompts as it is written."""


@dataclass(frozen=True)
class PromptSet:
    """Texts by which classes are queried."""

    name: str
    texts: Mapping[str, Texts] = field(default_factory=dict)
    """Class -> texts, whose logits are averaged; empty for the built-in sets."""
    of_benchmark: Mapping[str, Mapping[str, Texts]] = field(default_factory=dict)
    """Benchmark -> class -> texts that go before ``texts``."""

    def has_texts(self, benchmark: str, classes: Mapping[str, ClassName]) -> bool:
        """Whether there is a text for some class of a benchmark."""
        return any(self._texts_of(benchmark, column, named) for column, named in classes.items())

    def queries(self, benchmark: str, classes: Mapping[str, ClassName]) -> dict[str, Texts]:
        """The texts of each class of a benchmark that the set has, in the order of ``classes``.

        Raises:
            ConfigError: it has none of them.
        """
        every = {column: self._texts_of(benchmark, column, named) for column, named in classes.items()}
        queries = {column: texts for column, texts in every.items() if texts}
        if classes and not queries:
            raise ConfigError(
                f"evaluation.prompts: {self.name} has a text for no class of {benchmark} "
                f"({', '.join(list(classes)[:5])}, ...): name the classes as the benchmark does"
            )
        return queries

    def _texts_of(self, benchmark: str, column: str, named: ClassName) -> Texts:
        if self.name in BUILT_IN:
            return _built_in(self.name, named)
        return self.of_benchmark.get(benchmark, {}).get(column) or self.texts.get(column, ())


class ClassSpread(BaseModel):
    """One class over prompt sets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    values: dict[str, float | None]
    """Prompt set -> AUROC; None where the set has no text for the class or the AUROC is undefined."""
    lowest: float | None
    highest: float | None


class PromptSpread(BaseModel):
    """How much the results of a benchmark depend on the words of the queries."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    macro: dict[str, float | None]
    """Prompt set -> mean AUROC over the classes that have one under every set."""
    classes_in_common: int
    lowest: float | None
    highest: float | None
    mean: float | None
    standard_deviation: float | None
    """Over prompt sets; None with fewer than two."""
    classes: dict[str, ClassSpread]
    missing: dict[str, Texts]
    """Prompt set -> classes for which it has no text."""


def spread(values: Mapping[str, Mapping[str, float | None]], classes: Iterable[str]) -> PromptSpread:
    """The spread of the classes of a benchmark over prompt sets.

    Args:
        values: prompt set -> class -> AUROC; without a text it is absent, an undefined one is None or NaN.
    """
    names = list(classes)
    by_class = {c: {one: _number(of.get(c)) for one, of in values.items()} for c in names}
    common = [c for c in names if values and None not in by_class[c].values()]
    macro = {one: _mean([by_class[c][one] for c in common]) for one in values}
    macros = [value for value in macro.values() if value is not None]
    return PromptSpread(
        macro=macro,
        classes_in_common=len(common),
        lowest=min(macros, default=None),
        highest=max(macros, default=None),
        mean=_mean(macros),
        standard_deviation=stdev(macros) if len(macros) > 1 else None,
        classes={c: _class_spread(by_class[c]) for c in names},
        missing={one: tuple(c for c in names if c not in of) for one, of in values.items()},
    )


def prompt_sets(names: Iterable[str]) -> list[PromptSet]:
    """The prompt sets that `evaluation.prompts` names.

    Raises:
        ConfigError: none, two of one name, or a file that cannot be read.
    """
    result = [PromptSet(name) if name in BUILT_IN else read(name) for name in dict.fromkeys(names)]
    if not result:
        raise ConfigError(f"evaluation.prompts is empty: give {', '.join(BUILT_IN)} or a JSON or TOML file")
    known: set[str] = set()
    for one in result:
        if one.name in known:
            raise ConfigError(
                f"evaluation.prompts: two sets are called {one.name!r}: rename one of the files"
            )
        known.add(one.name)
    return result


def read(uri: str) -> PromptSet:
    """A prompt set from a JSON or TOML file; its name is the file's.

    Raises:
        ConfigError: no such file, neither JSON nor TOML, a class twice, or an empty or missing text.
    """
    name, _, suffix = storage.filesystem(uri)[1].rpartition("/")[2].rpartition(".")
    if suffix not in ("json", "toml"):
        raise ConfigError(
            f"evaluation.prompts: {uri!r} is none of {', '.join(BUILT_IN)} and no .json or .toml file"
        )
    if name in BUILT_IN:
        raise ConfigError(f"evaluation.prompts: a built-in set is called {name!r} as well: rename {uri}")
    try:
        text = storage.read_bytes(uri, _MAX_BYTES).decode("utf-8-sig")
        values = tomllib.loads(text) if suffix == "toml" else json.loads(text, object_pairs_hook=_unique)
        prompts = PromptFile.model_validate(values).root
    except storage.StorageError as error:
        raise ConfigError(f"evaluation.prompts: {error}") from error
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"][:1]))
        raise ConfigError(f"{uri}: {key or 'it'} is neither a text nor a list of texts: repair it") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{uri}: no {suffix.upper()} of class -> texts ({error}): repair it") from error
    tables = {key: value for key, value in prompts.items() if isinstance(value, dict)}
    return PromptSet(
        name,
        {key: _texts(uri, key, value) for key, value in prompts.items() if not isinstance(value, dict)},
        {key: {c: _texts(uri, f"{key}.{c}", of) for c, of in table.items()} for key, table in tables.items()},
    )


def _built_in(name: str, named: ClassName) -> Texts:
    base = load_base()
    members = [base[entity].name for entity in named.members]
    if name == "name":
        return (named.name,)
    if named.entity:
        entity = base[named.entity]
        return (entity.definition,) if name == "definition" else tuple(query_texts(entity))
    if name == "definition":
        return (f"{named.name}: {', '.join(members)}" if members else named.name,)
    return tuple(dict.fromkeys([named.name, *members]))


def _texts(uri: str, key: str, value: str | list[str]) -> Texts:
    texts = (value,) if isinstance(value, str) else tuple(value)
    if not texts or not all(any(map(str.isalnum, text)) for text in texts):
        raise ConfigError(f"{uri}: {key} has an empty text or none: write one, or remove the class")
    return texts


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return values


def _class_spread(values: dict[str, float | None]) -> ClassSpread:
    numbers = [value for value in values.values() if value is not None]
    return ClassSpread(values=values, lowest=min(numbers, default=None), highest=max(numbers, default=None))


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _mean(values: Iterable[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return fmean(numbers) if numbers else None
