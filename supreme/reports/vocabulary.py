"""The vocabulary: ECG entities with the texts that serve as cardiac queries, parents, synonyms and codes."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import BaseModel, ConfigDict

LANGUAGES = ("en", "de", "sv")
FOLDER = "data/vocabulary"
#: Kind of source -> the system that its codes belong to.
CODE_SYSTEMS = {
    "ptbxl": "scp",
    "csn": "snomed_csn",
    "cinc2021": "snomed_cinc",
    "cpsc2018": "cpsc2018",
    "simulated": "simulated",
}


class Entity(BaseModel):
    """One thing that a report can say about an ECG."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    definition: str
    """One sentence on what is seen on the ECG: waves, leads, durations, rates."""
    group: str
    synonyms: dict[str, list[str]] = {}
    """Language ("en", "de", "sv") to phrases, each naming this entity and no other."""
    parents: list[str] = []
    """Entities that are implied when this one is present."""
    codes: dict[str, list[str]] = {}
    """Code system ("scp", "snomed_cinc", "snomed_csn", "cpsc2018") to codes of exactly this entity."""


class Vocabulary:
    """An ordered set of entities; the order is the order of the model's queries."""

    def __init__(self, entities: Iterable[Entity]) -> None:
        self.entities = tuple(entities)
        self._by_id = {entity.id: entity for entity in self.entities}
        self._by_name = {phrase.casefold(): e.id for e in self.entities for phrase in (e.id, e.name)}
        self._ancestors: dict[str, frozenset[str]] = {}
        if len(self._by_id) != len(self.entities):
            raise ValueError("two entities of the vocabulary have the same id")

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids in the order of the entities."""
        return tuple(self._by_id)

    def __len__(self) -> int:
        return len(self.entities)

    def __iter__(self) -> Iterator[Entity]:
        return iter(self.entities)

    def __contains__(self, entity_id: object) -> bool:
        return entity_id in self._by_id

    def __getitem__(self, entity_id: str) -> Entity:
        return self._by_id[entity_id]

    def find(self, query: str) -> Entity | None:
        """The entity with this id or name (upper or lower case), or None."""
        entity_id = self._by_name.get(query.strip().casefold())
        return self._by_id[entity_id] if entity_id else None

    def nearest(self, entity_id: str) -> str:
        """The id that is spelled most like an unknown one, for messages."""
        return difflib.get_close_matches(entity_id, self.ids, n=1, cutoff=0)[0]

    def subset(self, ids: Iterable[str]) -> Vocabulary:
        """The named entities in this vocabulary's order.

        Raises:
            ValueError: an id is unknown.
        """
        requested = set(ids)
        unknown = requested - self._by_id.keys()
        if unknown:
            raise ValueError(f"no such entity: {', '.join(sorted(unknown))}")
        return Vocabulary(entity for entity in self.entities if entity.id in requested)

    def ancestors(self, entity_id: str) -> frozenset[str]:
        """Parents, their parents and so on; parents outside this vocabulary are left out."""
        known = self._ancestors.get(entity_id)
        if known is not None:
            return known
        implied: set[str] = set()
        waiting = list(self._by_id[entity_id].parents)
        while waiting:
            parent = waiting.pop()
            if parent in self._by_id and parent not in implied:
                implied.add(parent)
                waiting += self._by_id[parent].parents
        return self._ancestors.setdefault(entity_id, frozenset(implied))

    def propagate(self, ids: Iterable[str]) -> set[str]:
        """The ids with everything that they imply."""
        implied = set(ids)
        return implied.union(*(self.ancestors(entity_id) for entity_id in implied))

    def by_code(self, system: str) -> dict[str, list[str]]:
        """Code -> entity ids of one code system."""
        table: dict[str, list[str]] = {}
        for entity in self.entities:
            for code in entity.codes.get(system, []):
                table.setdefault(code, []).append(entity.id)
        return table

    def to_json(self) -> list[dict[str, Any]]:
        """One object an entity, as `vocabulary.json` holds them."""
        return [entity.model_dump(mode="json") for entity in self.entities]

    @classmethod
    def from_json(cls, values: list[dict[str, Any]]) -> Vocabulary:
        """The vocabulary that `to_json` wrote."""
        return cls(Entity.model_validate(value) for value in values)


class WithoutEntity(BaseModel):
    """A code that stands for no single entity."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    entities: list[str]
    """The nearest."""
    reason: str


@cache
def without_entity() -> dict[str, dict[str, WithoutEntity]]:
    """Code system -> code -> why no single entity has it."""
    text = files("supreme.reports").joinpath("data/codes_without_entity.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    return {
        system: {code: WithoutEntity(**value) for code, value in codes.items()}
        for system, codes in table.items()
    }


def query_texts(entity: Entity) -> list[str]:
    """The phrasings of an entity's query: its name, the English synonyms, and last the definition."""
    return list(dict.fromkeys([entity.name, *entity.synonyms.get("en", []), entity.definition]))


@cache
def load_base() -> Vocabulary:
    """The vocabulary that ships with the package, in the order of its files.

    Raises:
        ValueError: an entity names a parent that does not exist.
    """
    folder = files("supreme.reports").joinpath(FOLDER)
    entities = []
    for file in sorted(folder.iterdir(), key=lambda item: item.name):
        if file.name.endswith(".toml"):
            group = file.name.removesuffix(".toml").partition("_")[2]
            table = tomllib.loads(file.read_text(encoding="utf-8"))
            entities += [Entity(id=key, group=group, **value) for key, value in table.items()]
    vocabulary = Vocabulary(entities)
    for entity in entities:
        orphans = [parent for parent in entity.parents if parent not in vocabulary]
        if orphans:
            raise ValueError(f"entity {entity.id}: unknown parent {', '.join(orphans)}")
    return vocabulary
