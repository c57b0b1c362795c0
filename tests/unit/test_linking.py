"""Names of a language model: exact synonyms, guarded neighbours, new entities."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme import config, text
from supreme.reports import linking
from supreme.reports.linking import Links, qualifiers
from supreme.reports.vocabulary import load_base

pytestmark = pytest.mark.unit

#: Least cosine that a recipe may ask for.
LEAST = 0.8
NameLink = Callable[..., Links]


@pytest.fixture(scope="module")
def embed(tmp_path_factory: pytest.TempPathFactory) -> linking.Embed:
    encoder, cache = text.open_encoder(config.Text()), str(tmp_path_factory.mktemp("embeddings"))
    return lambda texts: text.embed(texts, encoder, cache)


@pytest.fixture(scope="module")
def link(embed: linking.Embed) -> NameLink:
    def run(names: dict[str, int], **more: object) -> Links:
        given = {"threshold": 0.85, "min_count": 5} | more
        return linking.link(names, load_base(), embed, **given)  # type: ignore[arg-type]

    return run


def test_the_guard_parts_every_pair_of_entities_that_minilm_puts_near(embed: linking.Embed) -> None:
    phrases = [(p, e.id) for e in load_base() for p in dict.fromkeys([e.name, *e.synonyms.get("en", [])])]
    rows = embed([phrase for phrase, _ in phrases])
    near = np.argwhere(np.triu(rows @ rows.T, 1) >= LEAST)
    pairs = [(phrases[i], phrases[j]) for i, j in near if phrases[i][1] != phrases[j][1]]
    assert len(pairs) > 400, "there is something to guard against"
    assert [pair for pair in pairs if linking.alike(pair[0][0], pair[1][0])] == []


OPPOSITES = [
    ("left", "right"),
    ("anterior", "inferior", "lateral", "septal", "posterior"),
    ("first degree", "second degree", "third degree"),
    ("complete", "incomplete"),
    ("normal", "abnormal"),
    ("elevation", "depression"),
    ("bradycardia", "tachycardia"),
    ("atrial", "ventricular", "junctional", "sinus"),
    ("fibrillation", "flutter"),
    ("short", "prolonged"),
    ("low", "tall"),
    ("acute", "old"),
    ("hyperkalemia", "hypokalemia"),
    ("Mobitz I", "Mobitz II"),
    ("2:1", "3:1", "4:1"),
]
PAIRS = [pair for values in OPPOSITES for pair in combinations(values, 2)]
WORDS = ("block", "of", "the", "heart", "with", "wave", "infarct", "pattern", "QRS", "in", "V2", "type")
FILLER = st.lists(st.sampled_from(WORDS), max_size=4)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(PAIRS), FILLER, FILLER)
def test_opposites_are_never_the_same(pair: tuple[str, str], before: list[str], after: list[str]) -> None:
    one, other = (" ".join([*before, word, *after]) for word in pair)
    assert not linking.alike(one, other)
    assert qualifiers(one) == qualifiers(one.upper()) == qualifiers(one.replace(" ", "-"))


def test_exact_synonyms_neighbours_and_new_entities(link: NameLink) -> None:
    found = link(
        {
            "Left-bundle branch block": 3,
            "Linksschenkelblock": 1,
            "vorhofflimmern": 9,
            "block of the left bundle branch": 2,
            "block of the right bundle branch": 2,
            "myotonic dystrophy pattern": 7,
            "pattern of myotonic dystrophy": 2,
            "hairline widget": 1,
            "!!": 4,
        }
    )
    by_name = {name: (one.entity, one.how) for name, one in found.by_name.items()}
    assert by_name["Left-bundle branch block"] == ("left_bundle_branch_block", "synonym")
    assert by_name["Linksschenkelblock"] == ("left_bundle_branch_block", "synonym")
    assert by_name["vorhofflimmern"] == ("atrial_fibrillation", "synonym")
    assert by_name["block of the left bundle branch"] == ("left_bundle_branch_block", "neighbour")
    assert by_name["block of the right bundle branch"] == ("right_bundle_branch_block", "neighbour")
    assert by_name["myotonic dystrophy pattern"] == ("myotonic_dystrophy_pattern", "new")
    assert by_name["pattern of myotonic dystrophy"] == ("myotonic_dystrophy_pattern", "new")
    assert by_name["hairline widget"] == ("", "rare")
    assert found.entity("hairline widget") is found.entity("!!") is found.entity("never seen") is None
    entity = found.vocabulary["myotonic_dystrophy_pattern"]
    assert (entity.name, entity.group) == ("myotonic dystrophy pattern", linking.NEW_GROUP)
    assert entity.synonyms == {"en": ["pattern of myotonic dystrophy"]}
    assert found.vocabulary.ids == (*load_base().ids, "myotonic_dystrophy_pattern")


def test_a_new_name_of_the_other_side_is_an_entity_of_its_own(link: NameLink) -> None:
    found = link({"left funny bundle sign": 9, "right funny bundle sign": 8, "Funny bundle sign, left": 5})
    assert found.entity("left funny bundle sign") == found.entity("Funny bundle sign, left")
    assert found.entity("right funny bundle sign") == "right_funny_bundle_sign"


def test_new_entities_do_not_take_the_id_of_another(link: NameLink) -> None:
    names = {"U wave": 9, "u wave!": 3, "Wobbly U wave": 9}
    found = link(names, synonyms={"u_wave": ["wobbly u wave"]})
    assert set(found.vocabulary.ids) == set(load_base().ids)
    assert {found.entity(name) for name in names} == {"u_wave"}
    assert linking._identifier("U wave", {"u_wave", "u_wave_2"}) == "u_wave_3"


def test_links_do_not_depend_on_the_order_of_names(link: NameLink) -> None:
    names = {
        f"{kind} zebra {place}": 6 for kind in ("striped", "plain") for place in ("apex", "septum", "base")
    }
    forward, backward = link(names), link(dict(reversed(names.items())))
    assert forward.by_name == backward.by_name
    assert forward.vocabulary.ids == backward.vocabulary.ids


def test_a_synonym_of_two_entities_leads_nowhere(link: NameLink) -> None:
    found = link({"strange word": 1}, synonyms={"u_wave": ["strange word"], "short_qt": ["Strange word"]})
    assert found.entity("strange word") is None
