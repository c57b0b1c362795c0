"""The language model as an extractor: asks about what is new, and turns checked replies into mentions.

Tests with a scripted server and a small local model show that the path works. How well a model labels is
another question: compare its mentions with the rules' and with a gold set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from supreme import config, log, storage
from supreme.reports import statements
from supreme.reports.extract import Mention
from supreme.reports.llm import cluster
from supreme.reports.llm.cache import Cache, identity
from supreme.reports.llm.endpoint import Endpoint
from supreme.reports.llm.question import pending
from supreme.reports.llm.replies import NamedFinding, Reading, read

Status = Literal["present", "absent", "uncertain"]

ID = "llm"
#: To be raised when a change makes other mentions of the same replies.
CODE_VERSION = 1

_log = log.get("reports.llm")


class TooManyFailures(RuntimeError):
    """More statements without a usable reply than `llm.max_failed_fraction` allows."""


def cache_folder(recipe: config.Recipe) -> str:
    """Where replies are kept: beside all stages, so that no ``--new`` throws away what was paid for."""
    return recipe.llm.cache or storage.join(recipe.root, "llm")


def read_all(texts: Iterable[str], llm: config.LLM, folder: str) -> dict[str, Reading]:
    """Statement id -> reading, for every statement; the model is asked only what ``folder`` does not hold.

    After a refused reply it is asked again, with the reason, until `llm.asks` are used up over all runs. A
    statement that got no answer is asked about by the next run.

    Raises:
        ConfigError: the endpoint refuses the key, the address or the model; vLLM is not installed.
        EndpointError: the endpoint answers no more.
        StorageError: replies cannot be read or kept.
        TooManyFailures: too many statements have no usable reply.
    """
    known = {statements.digest(text): text for text in texts}
    cache = Cache(folder, llm)
    engine: Endpoint | cluster.Engine | None = None
    failed: dict[str, str] = {}
    for _ in range(llm.asks):
        questions = [q for q in pending(known, cache.replies, llm.asks) if q.statement_id not in failed]
        if not questions:
            break
        engine = engine or (cluster.Engine(llm) if llm.engine == "vllm" else Endpoint(llm))
        failed |= engine.ask_all(questions, cache.add, cache.flush)
    readings = {key: read(cache.replies.get(key, []), text) for key, text in known.items()}
    counts = count(readings)
    _log.info(f"{llm.model}: {counts}; requests of this run: {dict(engine.counts) if engine else 'none'}")
    if len(known) - counts["usable"] > llm.max_failed_fraction * len(known):
        raise TooManyFailures(
            f"{len(known) - counts['usable']:,} of {len(known):,} statements have no usable reply from "
            f"{llm.model!r} ({counts['errors']}). The same command asks the unanswered again; for refused "
            "replies raise llm.asks or take another model; llm.max_failed_fraction says how many may fail"
        )
    return readings


def version(llm: config.LLM) -> str:
    """Identity of what `read_all` and `mentions` make of a statement; the linking's own belongs beside it."""
    return f"{CODE_VERSION}-{config.digest(identity(llm))[:12]}"


def count(readings: Mapping[str, Reading]) -> dict[str, Any]:
    """Statements, usable ones, errors by reason, entities, and entities refused as not in their statement."""
    return {
        "statements": len(readings),
        "usable": sum(not reading.error for reading in readings.values()),
        "errors": dict(Counter(reading.error for reading in readings.values() if reading.error)),
        "entities": sum(len(reading.findings) for reading in readings.values()),
        "invented": sum(reading.invented for reading in readings.values()),
    }


def mentions(reading: Reading, entity_of: Callable[[str], str | None]) -> list[Mention]:
    """The mentions of a reading, in order of their place; names that lead to no entity are left out."""
    linked = ((finding, entity_of(finding.name)) for finding in reading.findings)
    return [to_mention(finding, entity) for finding, entity in linked if entity]


def to_mention(finding: NamedFinding, entity: str) -> Mention:
    """The mention of a found name that was linked to an entity.

    The tag says what is normal, the mention what is there: an abnormal finding that is "Normal" is absent
    ("no ST elevation"), a normal one is present ("sinus rhythm"); "Abnormal" is the other way round.
    """
    there = (finding.tag == "Normal") == is_normal(entity)
    status: Status = "uncertain" if finding.tag == "Uncertain" else "present" if there else "absent"
    return Mention(entity, status, "", "", finding.start, finding.end)


def is_normal(entity: str) -> bool:
    """Whether an entity is normal when it is there: sinus rhythm, and all whose id says so."""
    return entity == "sinus_rhythm" or entity.startswith("normal_")
