"""Names that a language model gives to findings, linked to entities of the vocabulary.

A name is linked by an exact synonym, else by its nearest neighbour among all English synonyms, else it founds
a new entity. Neighbours are guarded: embeddings put medical opposites next to each other, so two names that
differ in any side, wall, degree, wave ... of ``data/linking/qualifiers.toml``, or of which one only adds
words to the other, are never linked by them.
"""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np

from supreme import config
from supreme.reports import statements
from supreme.reports.vocabulary import Entity, Vocabulary

SYNONYM, NEIGHBOUR, NEW, RARE = "synonym", "neighbour", "new", "rare"
#: Group of the entities that a language model found.
NEW_GROUP = "found"

Embed = Callable[[Sequence[str]], np.ndarray]
"""Texts to ``(len(texts), dim)`` float32 rows of length one."""

_APART = re.compile(r"[^a-z0-9]+")
#: Numbers, Roman numerals, leads, "s1q3t3".
_CODE = re.compile(r"\w*\d\w*|i{1,3}|iv|v|av[rlf]")
_EMPTY = {"a", "an", "the", "of", "in", "on", "at", "to", "by", "for", "and", "with", "is", "are", "ecg"}
_SPELLINGS = (
    (re.compile(r"\ba v\b"), "av"),
    (re.compile(r"\bs a\b"), "sa"),
    (re.compile(r"\b(isch|kal|calc)aem"), r"\1em"),
    (re.compile(r"\b(hyper|hypo)(kal|calc)aem"), r"\1\2em"),
    (re.compile(r"\bartefact"), "artifact"),
    (re.compile(r"\brepolaris"), "repolariz"),
    (re.compile(r"\bfirst degree\b"), "1st degree"),
    (re.compile(r"\bsecond degree\b"), "2nd degree"),
    (re.compile(r"\bthird degree\b"), "3rd degree"),
)


class NameLink(NamedTuple):
    """Where a name leads: ``how`` is one of synonym, neighbour, new and rare (``entity`` is then empty)."""

    name: str
    entity: str
    how: str
    similarity: float
    records: int


class Links(NamedTuple):
    """Links by name, and the vocabulary with the new entities at its end."""

    by_name: dict[str, NameLink]
    vocabulary: Vocabulary

    def entity(self, name: str) -> str | None:
        """The entity that a name leads to."""
        link = self.by_name.get(name)
        return (link.entity or None) if link else None


@lru_cache(maxsize=1 << 16)
def normal_form(name: str) -> str:
    """What decides that two names are the same: case, umlauts, hyphens and some spellings do not count."""
    form = " ".join(_APART.sub(" ", statements.fold(name)).split())
    for spelling, ours in _SPELLINGS:
        form = spelling.sub(ours, form)
    return form


@lru_cache(maxsize=1 << 16)
def qualifiers(name: str) -> frozenset[str]:
    """The ``axis.value`` pairs that a name holds ("side.left", "degree.first"), its numbers and its leads."""
    form = normal_form(name)
    values = [value for value, pattern in _patterns() if pattern.search(form)]
    return frozenset(values + [word for word in form.split() if _CODE.fullmatch(word)])


def alike(one: str, other: str) -> bool:
    """Whether two names may mean the same, as far as one can tell without knowing what they mean."""
    mine, yours = _words(one), _words(other)
    return qualifiers(one) == qualifiers(other) and (mine == yours or not (mine < yours or yours < mine))


def link(
    names: Mapping[str, int],
    vocabulary: Vocabulary,
    embed: Embed,
    *,
    threshold: float,
    min_count: int,
    synonyms: Mapping[str, Iterable[str]] | None = None,
) -> Links:
    """NameLink names to entities, the most frequent first, so that it gives a new entity its id.

    Args:
        names: name -> records that hold it.
        threshold: least cosine of a neighbour.
        min_count: a new entity that fewer records hold is none: its names are "rare".
        synonyms: entity -> further synonyms (of UMLS) for exact links.
    """
    exact = _exact(vocabulary, synonyms or {})
    order = sorted(names, key=lambda name: (-names[name], name))
    links_by_name = {name: NameLink(name, exact[form], SYNONYM, 1.0, names[name]) for name in order
             if (form := normal_form(name)) in exact}  # fmt: skip
    open_names = [name for name in order if name not in links_by_name and normal_form(name)]
    phrases = [(p, entity.id) for entity in vocabulary for p in (entity.name, *entity.synonyms.get("en", []))]
    known = _Neighbours(embed, [phrase for phrase, _ in phrases])
    unknown = _Neighbours(embed, open_names)
    founders: list[int] = []
    groups: dict[int, list[NameLink]] = {}
    for number, name in enumerate(open_names):
        near = known.best(unknown.rows[number], name, threshold)
        if near:
            links_by_name[name] = NameLink(name, phrases[near[0]][1], NEIGHBOUR, near[1], names[name])
            continue
        founder, cosine = unknown.best(unknown.rows[number], name, threshold, founders) or (number, 1.0)
        if founder == number:
            founders.append(number)
        groups.setdefault(founder, []).append(NameLink(name, "", RARE, cosine, names[name]))
    entities = list(vocabulary)
    used = set(vocabulary.ids)
    for links in groups.values():
        if sum(one.records for one in links) >= min_count:
            entity = _entity(_identifier(links[0].name, used), [one.name for one in links])
            entities.append(entity)
            used.add(entity.id)
            links[:] = [one._replace(entity=entity.id, how=NEW) for one in links]
        links_by_name |= {one.name: one for one in links}
    return Links(links_by_name, Vocabulary(entities))


class _Neighbours:
    """Names and their embeddings."""

    def __init__(self, embed: Embed, names: Sequence[str]) -> None:
        self.names = list(names)
        self.rows = embed(self.names) if self.names else np.zeros((0, 1), np.float32)

    def best(
        self, row: np.ndarray, name: str, threshold: float, among: Sequence[int] | None = None
    ) -> tuple[int, float] | None:
        """Number and cosine of the nearest name that may mean the same; ``among`` these numbers, or all."""
        numbers = np.arange(len(self.names)) if among is None else np.array(among, int)
        cosines = self.rows[numbers] @ row if len(numbers) else np.zeros(0)
        near = np.flatnonzero(cosines >= threshold)
        for place in near[np.argsort(-cosines[near], kind="stable")]:
            if alike(self.names[numbers[place]], name):
                return int(numbers[place]), float(cosines[place])
        return None


@lru_cache(maxsize=1 << 16)
def _words(name: str) -> frozenset[str]:
    """The words that say something, singular."""
    words = [word for word in normal_form(name).split() if word not in _EMPTY]
    return frozenset(word.removesuffix("s") for word in words) - {"wave"}


def _exact(vocabulary: Vocabulary, more: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Normal form of a synonym in any language -> its entity; a name of two entities leads nowhere."""
    owners: dict[str, dict[str, None]] = defaultdict(dict)
    for entity in vocabulary:
        own = (entity.id, entity.name, *(name for values in entity.synonyms.values() for name in values))
        for name in own:
            owners[normal_form(name)][entity.id] = None
    certain = {form: next(iter(ids)) for form, ids in owners.items() if len(ids) == 1}
    further: dict[str, dict[str, None]] = defaultdict(dict)
    for entity_id, names in more.items():
        for name in names:
            further[normal_form(name)][entity_id] = None
    ours = {form: next(iter(ids)) for form, ids in further.items() if len(ids) == 1 and form not in owners}
    return {form: entity_id for form, entity_id in (certain | ours).items() if form}


def _entity(entity_id: str, names: list[str]) -> Entity:
    name, *others = names
    return Entity(id=entity_id, name=name, definition=name, group=NEW_GROUP, synonyms={"en": others})


def _identifier(name: str, used: set[str]) -> str:
    base = normal_form(name).replace(" ", "_")[:80]
    number = 1
    while (entity_id := base if number == 1 else f"{base}_{number}") in used:
        number += 1
    return entity_id


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    path = files("supreme.reports").joinpath("data/linking/qualifiers.toml")
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return tuple(
        (f"{axis}.{value}", re.compile(pattern))
        for axis, values in table.items()
        for value, pattern in values.items()
    )


def version() -> str:
    """Identity of the guard."""
    return config.digest([(value, pattern.pattern) for value, pattern in _patterns()])[:12]
