"""The UMLS plug-in with a few lines in the format of MRCONSO.RRF; no string of UMLS itself is here."""

from __future__ import annotations

from pathlib import Path

import pytest
import report_shards

from supreme import config
from supreme.config import ConfigError
from supreme.reports import label_table, stage, umls
from supreme.reports.vocabulary import load_base

pytestmark = pytest.mark.unit


def line(cui: str, language: str, text: str, suppress: str = "N") -> str:
    cells = [cui, language, "P", "L1", "PF", "S1", "Y", "A1", "", "", "", "SRC", "PT", "1", text, "0"]
    return "|".join([*cells, suppress, "256"]) + "|\n"


LINES = [
    line("C9000001", "ENG", "Left Bundle-Branch Block"),
    line("C9000001", "GER", "Linksschenkelblock des Herzens"),
    line("C9000001", "FRE", "Bloc de branche gauche"),
    line("C9000001", "ENG", 'Bundle branch block, so called "left"'),
    line("C9000001", "ENG", "Blocked bundle on the right side"),
    line("C9000001", "ENG", "Former words for left bundle branch block", "O"),
    line("C9000002", "ENG", "PAC"),
    line("C9000002", "ENG", "Catheter of the pulmonary artery"),
    line("C9000003", "ENG", "Atrial flutter"),
    line("C9000003", "ENG", "Atrial fibrillation"),
    line("C9000004", "ENG", "U wave"),
    line("C9000005", "ENG", "Hair colour"),
]


@pytest.fixture
def rrf(tmp_path: Path) -> str:
    file = tmp_path / "MRCONSO.RRF"
    file.write_text("".join(LINES), encoding="utf-8")
    return str(file)


def test_concepts_are_found_by_exact_names_and_bring_their_strings(rrf: str) -> None:
    found = umls.read(rrf, load_base())
    assert found["left_bundle_branch_block"] == umls.Terms(
        ("C9000001",),
        (
            'Bundle branch block, so called "left"',
            "Left Bundle-Branch Block",
            "Linksschenkelblock des Herzens",
        ),
    )
    assert found["u_wave"].cuis == ("C9000004",), "two words are no abbreviation"
    ambiguous = {"atrial_premature_complex", "atrial_flutter", "atrial_fibrillation"}
    assert not ambiguous & found.keys(), "an abbreviation, and a concept with the names of two entities"
    assert all("Hair" not in string for terms in found.values() for string in terms.strings)


def test_codes_are_written_and_strings_are_not(tmp_path: Path, rrf: str) -> None:
    shards = report_shards.write(tmp_path / "shards", [("train", "LBBB\nU wave")])
    recipe = config.parse({"labels": {"min_count": 1, "umls": rrf}})
    stage.build(recipe, [shards], str(tmp_path / "labels"))
    written = label_table.read_vocabulary(str(tmp_path / "labels"))
    assert written["left_bundle_branch_block"].codes["umls"] == ["C9000001"]
    assert written["left_bundle_branch_block"].synonyms == load_base()["left_bundle_branch_block"].synonyms
    assert all(b"Herzens" not in file.read_bytes() for file in (tmp_path / "labels").iterdir())


def test_another_release_is_another_configuration(tmp_path: Path, rrf: str) -> None:
    shards, out = report_shards.write(tmp_path / "shards", [("train", "LBBB")]), str(tmp_path / "labels")
    recipe = config.parse({"labels": {"min_count": 1, "umls": rrf}})
    stage.build(recipe, [shards], out)
    with Path(rrf).open("a", encoding="utf-8") as file:
        file.write(line("C9000006", "SWE", "Vänstersidigt skänkelblock"))
    with pytest.raises(ConfigError, match="umls: "):
        stage.build(recipe, [shards], out)


def test_what_is_no_such_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none does not exist; give the path of your MRCONSO\.RRF"):
        umls.fingerprint(str(tmp_path / "none"))
    file = tmp_path / "other.csv"
    file.write_text("statement,entity\na,b\n")
    with pytest.raises(ConfigError, match=r"is no MRCONSO\.RRF"):
        umls.read(str(file), load_base())
