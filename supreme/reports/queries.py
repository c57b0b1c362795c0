"""Queries in everyday words: the rules read a query first, so that "AF?" is asked as atrial fibrillation."""

from __future__ import annotations

from functools import cache

from supreme.reports import extract
from supreme.reports.tokens import canonical, load_table, tokenize
from supreme.reports.vocabulary import Vocabulary, load_base

#: A longer query is a description, whose words matter to the text encoder.
MAX_LENGTH = 120


def known_entity(query: str, vocabulary: Vocabulary) -> str:
    """The id of the one entity of ``vocabulary`` that a query asks for; "" if there is none.

    The query may be in any language of the rules, a question or a phrase. It names no entity if it denies or
    doubts what it names ("no LVH"), names several ("RBBB and LAFB"), or holds words that are neither the
    entity's nor those of a question ("LVH in athletes"): then its own words are to be encoded.
    """
    if not 0 < len(query) <= MAX_LENGTH:
        return ""
    text = query.strip().rstrip("?¿.! ")
    abbreviated = load_table("queries")["abbreviations"].get(text.casefold(), "")
    if abbreviated:
        return abbreviated if abbreviated in vocabulary else ""
    mentions = extract.read(text)
    base = load_base()
    entities = {mention.entity for mention in mentions}
    entities -= {parent for entity in entities for parent in base.ancestors(entity)}
    is_stated = all(mention.assertion == "present" or mention.grade == "suggests" for mention in mentions)
    if len(entities) != 1 or not is_stated:
        return ""
    entity = entities.pop()
    spans = [range(mention.start, mention.end) for mention in mentions]
    rest = {
        token.text
        for token in tokenize(query)
        if token.text.isalnum() and not any(token.start in span for span in spans)
    }
    return entity if entity in vocabulary and rest <= _words() | _own_words(entity) else ""


@cache
def _words() -> frozenset[str]:
    """The words of questions."""
    return frozenset(map(canonical, load_table("queries")["words"]))


@cache
def _own_words(entity_id: str) -> frozenset[str]:
    """The words of an entity's names, which may stand apart: "ST elevation in inferior leads"."""
    entity = load_base()[entity_id]
    names = [entity.name, *(name for names in entity.synonyms.values() for name in names)]
    return frozenset(token.text for name in names for token in tokenize(name))
