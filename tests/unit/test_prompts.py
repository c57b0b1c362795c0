"""Prompt sets: built-in ones cover every class, broken files are refused by name, the spread is over sets."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supreme.config import ConfigError
from supreme.evaluation import prompts
from supreme.evaluation.class_names import ClassName, class_names
from supreme.evaluation.prompts import PromptSet
from supreme.records.label_sets import LabelSet, label_set, published
from supreme.reports.vocabulary import load_base

pytestmark = pytest.mark.unit


def test_every_published_class_has_words_and_all_but_three_an_entity() -> None:
    without = {}
    for labels in published():
        names = class_names(labels.name, labels.columns)
        assert list(names) == list(labels.columns)
        without |= {(labels.name, c): one.name for c, one in names.items() if not one.entity}
    assert without == {
        ("ptbxl-superclass", "CD"): "conduction disturbance",
        ("ptbxl-subclass", "LAFB/LPFB"): "left anterior or left posterior fascicular block",
        ("code15-chagas", "chagas"): "Chagas disease",
    }


def test_the_same_acronym_means_what_its_benchmark_means() -> None:
    entities = {
        name: class_names(name, [column])[column].entity
        for name, column in [("csn", "AF"), ("csn-legacy", "AF"), ("cinc2021", "AF"), ("code15", "ST")]
    }
    assert entities == {
        **{"csn": "atrial_flutter", "csn-legacy": "atrial_flutter", "cinc2021": "atrial_fibrillation"},
        "code15": "sinus_tachycardia",
    }
    assert class_names("csn", ["VB"])["VB"].entity == class_names("csn-legacy", ["VB"])["VB"].entity
    own = LabelSet("mine", "", {"rhythm": frozenset({"1"}), "A_F": frozenset({"2"})}, names={"A_F": "AFib"})
    mine = class_names("mine", ["rhythm", "A_F"], [own])
    assert (mine["A_F"].entity, mine["rhythm"]) == ("atrial_fibrillation", ClassName("rhythm"))
    assert class_names("conditions", ["long_qt"])["long_qt"].entity == "long_qt"
    assert class_names("labels", ["RBBB"])["RBBB"].entity == "right_bundle_branch_block"


def test_built_in_sets_have_texts_for_every_class() -> None:
    classes = class_names("ptbxl-superclass", label_set("ptbxl-superclass").columns)
    name, definition, phrasings = (
        one.queries("ptbxl-superclass", classes) for one in prompts.prompt_sets(prompts.BUILT_IN)
    )
    infarction = load_base()["myocardial_infarction"]
    assert list(name) == list(definition) == list(phrasings) == list(classes)
    assert (name["MI"], definition["MI"]) == ((infarction.name,), (infarction.definition,))
    assert set(phrasings["MI"]) >= {infarction.name, infarction.definition, *infarction.synonyms["en"]}
    assert phrasings["CD"][0] == "conduction disturbance"
    assert len(phrasings["CD"]) == 12
    assert definition["CD"][0].startswith("conduction disturbance: ")
    alone = {"chagas": ClassName("Chagas disease")}
    assert PromptSet("definition").queries("code15-chagas", alone) == {"chagas": ("Chagas disease",)}


def _write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_file_of_prompts_may_have_tables_for_a_benchmark(tmp_path: Path) -> None:
    text = '\ufeff{"AF": "atrial fibrillation", "MI": ["infarction", "Q waves"], "csn": {"AF": "flutter"}}'
    (own,) = prompts.prompt_sets([_write(tmp_path, "own.json", text)])
    names = dict.fromkeys(["AF", "MI", "LVH"], ClassName(""))
    assert own.queries("csn", names) == {"AF": ("flutter",), "MI": ("infarction", "Q waves")}
    assert own.queries("other", names)["AF"] == ("atrial fibrillation",)
    (same,) = prompts.prompt_sets(
        [
            _write(
                tmp_path, "o.toml", 'AF="atrial fibrillation"\nMI=["infarction", "Q waves"]\ncsn.AF="flutter"'
            )
        ]
    )
    assert (same.texts, same.of_benchmark) == (own.texts, own.of_benchmark)
    with pytest.raises(ConfigError, match=r"own has a text for no class of form \(STD, \.\.\.\)"):
        own.queries("form", {"STD": ClassName("ST depression")})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.json", '{"AF": "x", "AF": "y"}', r"p\.json: .*'AF' is there twice"),
        ("p.json", '{"AF": ""}', r"p\.json: AF has an empty text"),
        ("p.json", '{"AF": []}', r"p\.json: AF has an empty text or none"),
        ("p.json", '{"csn": {"AF": [" ?"]}}', r"p\.json: csn\.AF has an empty text"),
        ("p.json", '{"AF": 3}', r"p\.json: AF is neither a text nor a list"),
        ("p.json", '["AF"]', r"p\.json: it is neither"),
        ("p.json", "{", r"p\.json: no JSON"),
        ("p.toml", "AF = ", r"p\.toml: no TOML"),
        ("p.csv", "AF,x", r"'.*p\.csv' is none of name, definition, phrasings and no \.json"),
        ("name.json", '{"AF": "x"}', r"a built-in set is called 'name' as well"),
    ],
)
def test_a_broken_file_is_refused_by_name(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prompts.prompt_sets([_write(tmp_path, name, text)])


def test_no_set_or_two_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"evaluation\.prompts is empty"):
        prompts.prompt_sets([])
    (tmp_path / "b").mkdir()
    both = [_write(tmp_path / place, "p.json", '{"AF": "x"}') for place in ("", "b")]
    with pytest.raises(ConfigError, match="two sets are called 'p'"):
        prompts.prompt_sets(both)
    with pytest.raises(ConfigError, match=r"evaluation.prompts: .*absent\.json"):
        prompts.read(str(tmp_path / "absent.json"))


AUROC = st.one_of(st.none(), st.just(math.nan), st.floats(0, 1))
VALUES = st.dictionaries(st.sampled_from("xyz"), st.dictionaries(st.sampled_from("ABCD"), AUROC), max_size=3)


@given(VALUES)
def test_the_spread_is_over_the_classes_that_every_set_has(
    values: dict[str, dict[str, float | None]],
) -> None:
    result = prompts.spread(values, "ABCD")
    table = np.array(
        [[np.nan if of.get(c) is None else of[c] for c in "ABCD"] for of in values.values()], float
    ).reshape(-1, 4)
    common = np.isfinite(table).all(axis=0) & (len(values) > 0)
    assert result.classes_in_common == common.sum()
    for row, name in zip(table, values, strict=True):
        expected = pytest.approx(row[common].mean(), abs=1e-12) if common.any() else None
        assert result.macro[name] == expected
        assert result.missing[name] == tuple(c for c in "ABCD" if c not in values[name])
    for c, name in enumerate("ABCD"):
        numbers = table[np.isfinite(table[:, c]), c]
        assert result.classes[name].lowest == (numbers.min() if len(numbers) else None)
        assert result.classes[name].highest == (numbers.max() if len(numbers) else None)
    json.dumps(result.model_dump(mode="json"), allow_nan=False)
    if common.any() and len(values) > 1:
        assert result.standard_deviation == pytest.approx(table[:, common].mean(axis=1).std(ddof=1), abs=1e-9)


@pytest.mark.real
def test_ckepe_has_a_text_for_each_of_the_106_and_127_columns(realdata: Path) -> None:
    (ckepe,) = prompts.prompt_sets([str(realdata / "benchmark_splits_merl" / "CKEPE_prompt.json")])
    assert len(ckepe.texts) == 131
    sizes = {}
    for name in ("superclass", "subclass", "diagnostic", "form", "rhythm"):
        labels = label_set(f"ptbxl-{name}")
        sizes[name] = len(ckepe.queries(labels.name, class_names(labels.name, labels.columns)))
    for name in ("cpsc2018", "csn-legacy", "csn-corrected"):
        sizes[name] = len(ckepe.queries(name, class_names(name, label_set(name).columns)))
    assert sizes == {
        **{"superclass": 5, "subclass": 23, "diagnostic": 44, "form": 19, "rhythm": 12},
        **{"cpsc2018": 9, "csn-legacy": 38, "csn-corrected": 38},
    }
    assert all(len(texts) == 1 for texts in ckepe.texts.values())
