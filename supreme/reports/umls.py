"""UMLS plug-in: synonyms and CUIs for entities from the user's own MRCONSO.RRF; nothing of it is shipped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from supreme import config, storage
from supreme.config import ConfigError
from supreme.reports.linking import normal_form, qualifiers
from supreme.reports.vocabulary import Vocabulary

#: Language of MRCONSO -> ours.
LANGUAGES = {"ENG": "en", "GER": "de", "SWE": "sv"}
#: Columns of MRCONSO.RRF (UMLS reference manual, 3.3.4); every line ends in "|", which makes one more.
_COLUMNS = (
    *("CUI", "LAT", "TS", "LUI", "STT", "SUI", "ISPREF", "AUI", "SAUI", "SCUI", "SDUI", "SAB", "TTY"),
    *("CODE", "STR", "SRL", "SUPPRESS", "CVF", "end"),
)
_USED = ("CUI", "LAT", "STR", "SUPPRESS")
#: Shorter names and abbreviations mean too many things in UMLS ("PAC", "AF").
_MIN_NAME = 8
_MAX_STRING = 200
_HEAD_BYTES = 1 << 20


class Terms(NamedTuple):
    """What UMLS knows of one entity: its concepts, and their strings in all our languages, sorted."""

    cuis: tuple[str, ...]
    strings: tuple[str, ...]


def read(uri: str, vocabulary: Vocabulary) -> dict[str, Terms]:
    """Entity -> the UMLS concepts that have one of its names, and their strings in English, German, Swedish.

    :func:`fingerprint` sees that the file is there. A concept that has names of two entities, and a string
    that says another side, wall or degree than the entity, are left out. The file is read twice, in blocks:
    it may be of any size.

    Raises:
        ConfigError: no file, or not the format of MRCONSO.RRF.
    """
    owners = _owners(vocabulary)
    concepts: dict[str, set[str]] = defaultdict(set)
    for cui, _, text in _rows(uri):
        owner = owners.get(normal_form(text))
        if owner:
            concepts[cui].add(owner)
    owner_of = {cui: next(iter(ids)) for cui, ids in concepts.items() if len(ids) == 1}
    cuis: dict[str, set[str]] = defaultdict(set)
    strings: dict[str, set[str]] = defaultdict(set)
    for cui, language, text in _rows(uri):
        entity = owner_of.get(cui)
        if entity is None:
            continue
        cuis[entity].add(cui)
        known = owners.get(normal_form(text), entity) == entity
        if known and (language != "en" or qualifiers(text) == qualifiers(vocabulary[entity].name)):
            strings[entity].add(text)
    return {
        entity: Terms(tuple(sorted(cuis[entity])), tuple(sorted(strings[entity])))
        for entity in vocabulary.ids
        if entity in cuis
    }


def fingerprint(uri: str) -> str:
    """Which release a file is, by its size and beginning, as all of it takes a minute; empty without one.

    Raises:
        ConfigError: no such file.
    """
    if not uri:
        return ""
    system, path = storage.filesystem(uri)
    try:
        with system.open_input_stream(path) as stream:
            head = stream.read(_HEAD_BYTES)
    except FileNotFoundError as error:
        raise ConfigError(f"labels.umls: {uri} does not exist; give the path of your MRCONSO.RRF") from error
    return config.digest(system.get_file_info(path).size, storage.sha256(head))[:12]


def add_codes(vocabulary: Vocabulary, terms: dict[str, Terms]) -> Vocabulary:
    """The vocabulary with the CUIs as codes of the system "umls"; the strings stay out of what is written."""
    return Vocabulary(
        entity.model_copy(update={"codes": entity.codes | {"umls": list(terms[entity.id].cuis)}})
        if entity.id in terms
        else entity
        for entity in vocabulary
    )


def _owners(vocabulary: Vocabulary) -> dict[str, str]:
    """Normal form of a long enough name -> the one entity that has it."""
    owners: dict[str, set[str]] = defaultdict(set)
    for entity in vocabulary:
        for name in (entity.name, *(name for names in entity.synonyms.values() for name in names)):
            form = normal_form(name)
            if len(form) >= _MIN_NAME or " " in form:
                owners[form].add(entity.id)
    return {form: next(iter(ids)) for form, ids in owners.items() if len(ids) == 1}


def _rows(uri: str) -> Iterator[tuple[str, str, str]]:
    """CUI, language and string of every row in our languages that is not suppressed."""
    system, path = storage.filesystem(uri)
    with system.open_input_stream(path) as stream:
        try:
            reader = csv.open_csv(
                stream,
                csv.ReadOptions(column_names=list(_COLUMNS), block_size=16 << 20),
                csv.ParseOptions(delimiter="|", quote_char=False),
                csv.ConvertOptions(
                    include_columns=list(_USED),
                    column_types=dict.fromkeys(_USED, pa.string()),
                    strings_can_be_null=False,
                ),
            )
            for batch in reader:
                ours = pc.is_in(batch["LAT"], pa.array(list(LANGUAGES)))
                current = batch.filter(pc.and_(ours, pc.equal(batch["SUPPRESS"], "N")))
                columns = (current[name].to_pylist() for name in ("CUI", "LAT", "STR"))
                for cui, language, text in zip(*columns, strict=True):
                    if len(text) <= _MAX_STRING:
                        yield cui, LANGUAGES[language], text
        except pa.ArrowInvalid as error:
            raise ConfigError(f"labels.umls: {uri} is no MRCONSO.RRF: {error}") from error
