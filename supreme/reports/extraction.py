"""What is found in unique statements: by rules in parallel, or by a language model whose names are linked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from supreme import log
from supreme.reports import statements
from supreme.reports.extract import Extractor, Mention
from supreme.reports.linking import Links, NameLink
from supreme.reports.llm import extractor as llm_extractor
from supreme.reports.llm.replies import Reading
from supreme.reports.spread import Spread
from supreme.reports.statement_table import Statement
from supreme.reports.vocabulary import Vocabulary

#: Statements that one task extracts.
CHUNK = 512


Read = Callable[[Iterable[str]], Mapping[str, Reading]]
"""A language model: statements to readings by statement id."""


class Extraction(NamedTuple):
    """Statements with their mentions, by folded text, and the vocabulary that the mentions are of."""

    statements: dict[str, Statement]
    vocabulary: Vocabulary
    links: Mapping[str, NameLink]


def by_rules(unique: Mapping[str, Statement], extractor: Extractor, spread: Spread) -> dict[str, Statement]:
    """Each statement extracted once, in chunks over all cores."""
    keys = list(unique)
    chunks = [[unique[key].text for key in keys[at : at + CHUNK]] for at in range(0, len(keys), CHUNK)]
    progress = log.Progress(log.get("labels"), "statements extracted", len(keys))
    mentions: list[list[Mention]] = []
    for done in spread(_extract, chunks, extractor):
        mentions += done
        progress.update(len(mentions))
    return {
        key: unique[key]._replace(mentions=own, extractor=extractor.id, extractor_version=extractor.version)
        for key, own in zip(keys, mentions, strict=True)
    }


def by_model(
    unique: Mapping[str, Statement],
    read: Read,
    version: str,
    link: Callable[[Mapping[str, int]], Links],
    rules: Extractor,
    spread: Spread,
) -> Extraction:
    """Each statement read by the model, names linked; where it gave nothing usable, the rules stand in."""
    readings = read(row.text for row in unique.values())
    by_key = {key: readings[statements.digest(row.text)] for key, row in unique.items()}
    names: Counter[str] = Counter()
    for key, reading in by_key.items():
        for name in {finding.name for finding in reading.findings}:
            names[name] += unique[key].records
    links = link(names)
    refused = {key: row for key, row in unique.items() if by_key[key].error}
    extracted = {
        key: row._replace(refusal=by_key[key].error)
        for key, row in (by_rules(refused, rules, spread) if refused else {}).items()
    }
    for key in unique.keys() - refused.keys():
        linked = llm_extractor.mentions(by_key[key], links.entity)
        extracted[key] = unique[key]._replace(
            mentions=linked, extractor=llm_extractor.ID, extractor_version=version
        )
    return Extraction({key: extracted[key] for key in unique}, links.vocabulary, links.by_name)


def _extract(chunk: list[str], extractor: Extractor) -> list[list[Mention]]:
    return [extractor.extract(statement) for statement in chunk]
