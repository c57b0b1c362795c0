"""The base vocabulary is complete, unambiguous and discriminating."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from supreme.reports.vocabulary import (
    LANGUAGES,
    Entity,
    Vocabulary,
    load_base,
    query_texts,
    without_entity,
)

pytestmark = pytest.mark.unit

CONDITIONS = """
normal_ecg sinus_rhythm sinus_bradycardia sinus_tachycardia sinus_arrhythmia atrial_fibrillation
atrial_flutter supraventricular_tachycardia atrial_tachycardia junctional_rhythm ventricular_tachycardia
paced_rhythm atrial_premature_complex ventricular_premature_complex ventricular_bigeminy
first_degree_av_block second_degree_av_block third_degree_av_block left_bundle_branch_block
incomplete_left_bundle_branch_block right_bundle_branch_block incomplete_right_bundle_branch_block
left_anterior_fascicular_block left_posterior_fascicular_block intraventricular_conduction_delay
ventricular_preexcitation left_axis_deviation right_axis_deviation low_qrs_voltage high_qrs_voltage
left_ventricular_hypertrophy right_ventricular_hypertrophy left_atrial_enlargement right_atrial_enlargement
anterior_infarction anteroseptal_infarction inferior_infarction lateral_infarction posterior_infarction
myocardial_infarction abnormal_q_wave poor_r_wave_progression st_elevation inferior_st_elevation
anterior_st_elevation lateral_st_elevation st_depression inferior_st_depression anterior_st_depression
lateral_st_depression nonspecific_st_t_abnormality t_wave_inversion inferior_t_wave_inversion
anterior_t_wave_inversion lateral_t_wave_inversion low_t_wave tall_t_wave myocardial_ischemia
early_repolarization long_qt short_qt bundle_branch_block av_block wide_qrs absent_p_wave irregular_rhythm
tachycardia bradycardia left_ventricular_strain
""".split()  # noqa: SIM905


def entity(entity_id: str, parents: tuple[str, ...] = ()) -> Entity:
    return Entity(id=entity_id, name=entity_id, definition="d", group="g", parents=list(parents))


def test_every_condition_of_the_simulator_and_the_benchmarks_is_there() -> None:
    base = load_base()
    assert [name for name in CONDITIONS if name not in base] == []
    assert len(base) >= 250


def test_every_entity_has_wordings_in_every_language() -> None:
    for item in load_base():
        assert item.synonyms.keys() == set(LANGUAGES), item.id
        assert all(item.synonyms[language] for language in LANGUAGES), item.id


def test_codes_without_an_entity_name_known_ones_and_are_no_codes_of_an_entity() -> None:
    base = load_base()
    for system, codes in without_entity().items():
        assert not codes.keys() & base.by_code(system).keys()
        for code in codes.values():
            assert set(code.entities) <= set(base.ids)
            assert code.reason


@pytest.mark.real
@pytest.mark.parametrize(
    ("system", "file", "column", "count"),
    [
        ("scp", "ptb-xl/scp_statements.csv", "", 71),
        ("snomed_cinc", "cinc2021/dx_mapping_scored.csv", "SNOMEDCTCode", 30),
        ("snomed_cinc", "cinc2021/dx_mapping_unscored.csv", "SNOMEDCTCode", 103),
        ("snomed_csn", "ecg-arrhythmia/ConditionNames_SNOMED-CT.csv", "Snomed_CT", 55),
        ("cpsc2018", "cpsc2018/REFERENCE.csv", "First_label", 9),
    ],
)
def test_every_code_of_the_data_sets_has_its_entity_or_a_reason_why_not(
    realdata: Path, system: str, file: str, column: str, count: int
) -> None:
    with (realdata / file).open(encoding="utf-8-sig") as rows:
        codes = {row[column] for row in csv.DictReader(rows)}
    known = load_base().by_code(system).keys() | without_entity().get(system, {}).keys()
    assert codes - known == set()
    assert len(codes) >= count - 10
    assert all(len(entities) == 1 for entities in load_base().by_code(system).values())


def test_definitions_are_single_distinct_sentences() -> None:
    definitions = [entity.definition for entity in load_base()]
    assert len(set(definitions)) == len(definitions)
    for text in definitions:
        assert text.endswith(".")
        assert "\n" not in text
        assert 15 <= len(text) <= 200, text


def test_parents_have_no_cycle_and_incomplete_blocks_are_not_complete_ones() -> None:
    base = load_base()
    for item in base:
        assert item.id not in base.ancestors(item.id)
    assert base.ancestors("incomplete_right_bundle_branch_block") >= {"bundle_branch_block"}
    assert "right_bundle_branch_block" not in base.ancestors("incomplete_right_bundle_branch_block")
    assert base.ancestors("anterior_infarction") == {"myocardial_infarction"}
    assert base.ancestors("inferior_t_wave_inversion") >= {"t_wave_inversion"}


def test_opposites_are_never_ancestors_of_each_other() -> None:
    base = load_base()
    pairs = [
        ("left", "right"), ("anterior", "inferior"), ("lateral", "inferior"), ("low", "high"),
        ("short", "long"), ("first", "second"), ("second", "third"), ("bradycardia", "tachycardia"),
    ]  # fmt: skip
    for item in base:
        # A left posterior fascicular block turns the axis to the right.
        for ancestor in base.ancestors(item.id) - {"right_axis_deviation"}:
            for one, other in pairs:
                for a, b in ((one, other), (other, one)):
                    own, above = item.id.replace("rbbb", "right").split("_"), ancestor.split("_")
                    opposed = a in own and b in above and a not in above and b not in own
                    assert not opposed, (item.id, ancestor)


def test_codes_reach_the_expected_entities() -> None:
    base = load_base()
    assert base.by_code("scp")["CLBBB"] == ["left_bundle_branch_block"]
    assert base.by_code("snomed_cinc")["164889003"] == ["atrial_fibrillation"]
    assert base.by_code("snomed_csn")["164890007"] == ["atrial_flutter"]
    assert set(base.by_code("cpsc2018")) == set("123456789")
    assert all(len(ids) == 1 for system in ("scp", "cpsc2018") for ids in base.by_code(system).values())


def test_query_texts_start_with_the_name_and_end_with_the_definition() -> None:
    lbbb = load_base()["left_bundle_branch_block"]
    texts = query_texts(lbbb)
    assert texts[0] == lbbb.name
    assert texts[-1] == lbbb.definition
    assert "LBBB" in texts
    assert len(set(texts)) == len(texts)
    assert not set(lbbb.synonyms["de"]) & set(texts)


def test_json_round_trip_and_subset_keep_the_order() -> None:
    base = load_base()
    assert Vocabulary.from_json(base.to_json()).entities == base.entities
    part = base.subset(["tachycardia", "normal_ecg"])
    assert part.ids == ("normal_ecg", "tachycardia")
    assert part.find("NORMAL ecg") is part["normal_ecg"]
    assert part.find("sinus rhythm") is None
    with pytest.raises(ValueError, match="no such entity: nonsense"):
        base.subset(["nonsense"])


def test_propagation_follows_parents_of_parents_inside_the_vocabulary() -> None:
    family = Vocabulary([entity("a"), entity("b", ("a",)), entity("c", ("b", "elsewhere"))])
    assert family.propagate(["c"]) == {"a", "b", "c"}
    assert family.propagate([]) == set()
    with pytest.raises(ValueError, match="same id"):
        Vocabulary([entity("a"), entity("a")])
