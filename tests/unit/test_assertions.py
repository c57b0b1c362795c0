"""Cues reach the findings in their scope and no further."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from supreme.reports import statements
from supreme.reports.extract import RuleExtractor

pytestmark = pytest.mark.unit

RULES = RuleExtractor()


def said(text: str) -> dict[str, str]:
    """Entity -> status, or the grade of the hedge."""
    return {m.entity: m.grade or m.assertion for m in RULES.extract(text)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no lvh", {"left_ventricular_hypertrophy": "absent"}),
        (
            "no lvh but rbbb",
            {"left_ventricular_hypertrophy": "absent", "right_bundle_branch_block": "present"},
        ),
        ("no lvh; rbbb", {"left_ventricular_hypertrophy": "absent", "right_bundle_branch_block": "present"}),
        ("no lvh, rbbb", {"left_ventricular_hypertrophy": "absent", "right_bundle_branch_block": "present"}),
        (
            "no lvh, rbbb or lbbb",
            {
                "left_ventricular_hypertrophy": "absent",
                "right_bundle_branch_block": "absent",
                "left_bundle_branch_block": "absent",
            },
        ),
        ("lbbb without st elevation", {"left_bundle_branch_block": "present", "st_elevation": "absent"}),
        ("lvh cannot be ruled out", {"left_ventricular_hypertrophy": "cannot_rule_out"}),
        ("cannot rule out lvh", {"left_ventricular_hypertrophy": "cannot_rule_out"}),
        ("lvh has been ruled out", {"left_ventricular_hypertrophy": "absent"}),
        ("probable lvh", {"left_ventricular_hypertrophy": "probable"}),
        ("consider lvh", {"left_ventricular_hypertrophy": "consider"}),
        ("suggests lvh", {"left_ventricular_hypertrophy": "suggests"}),
        ("borderline lvh", {"left_ventricular_hypertrophy": "borderline"}),
        (
            "possible lvh with rbbb",
            {"left_ventricular_hypertrophy": "possible", "right_bundle_branch_block": "present"},
        ),
        (
            "rbbb, possible lvh",
            {"right_bundle_branch_block": "present", "left_ventricular_hypertrophy": "possible"},
        ),
        ("possible P mitrale, left atrial enlargement", {"left_atrial_enlargement": "possible"}),
        ("no change in lbbb", {"left_bundle_branch_block": "present"}),
        ("keine linkshypertrophie", {"left_ventricular_hypertrophy": "absent"}),
        ("linkshypertrophie nicht auszuschliessen", {"left_ventricular_hypertrophy": "cannot_rule_out"}),
        (
            "linksschenkelblock linkshypertrophie möglich",
            {"left_bundle_branch_block": "present", "left_ventricular_hypertrophy": "possible"},
        ),
        (
            "verdacht auf linkshypertrophie linksschenkelblock",
            {"left_ventricular_hypertrophy": "probable", "left_bundle_branch_block": "present"},
        ),
        ("lbbb but not seen before", {"left_bundle_branch_block": "present"}),
        ("lvh, technical fault possible", {"left_ventricular_hypertrophy": "present"}),
        (
            "(lvh?) rbbb",
            {"left_ventricular_hypertrophy": "possible", "right_bundle_branch_block": "present"},
        ),
        ("ingen vänsterkammarhypertrofi", {"left_ventricular_hypertrophy": "absent"}),
        ("vänsterkammarhypertrofi kan ej uteslutas", {"left_ventricular_hypertrophy": "cannot_rule_out"}),
    ],
)
def test_scope(text: str, expected: dict[str, str]) -> None:
    assert said(text) == expected


FRAMES = tomllib.loads((Path(__file__).parent / "data" / "frames.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("status", FRAMES["one"])
@pytest.mark.parametrize(
    ("name", "entity"), [("LVH", "left_ventricular_hypertrophy"), ("Perikarditis", "pericarditis")]
)
def test_frames_of_one_finding(status: str, name: str, entity: str) -> None:
    for frame in FRAMES["one"][status]:
        text = frame.format(name)
        mentions = [m for part in statements.split(text) for m in RULES.extract(part) if m.entity == entity]
        assert {m.assertion for m in mentions} == {status}, text


@pytest.mark.parametrize("statuses", FRAMES["two"])
@pytest.mark.parametrize(("one", "other"), [("RBBB", "LVH"), ("Vorhofflimmern", "pericarditis")])
def test_frames_of_two_findings(statuses: str, one: str, other: str) -> None:
    entities = [RULES.extract(name)[0].entity for name in (one, other)]
    for frame in FRAMES["two"][statuses]:
        text = re.sub(r"\bA\b|\bB\b", lambda match: one if match[0] == "A" else other, frame)
        mentions = [m for part in statements.split(text) for m in RULES.extract(part)]
        for entity, status in zip(entities, statuses.split("_"), strict=True):
            assert {m.assertion for m in mentions if m.entity == entity} == {status}, text


def test_the_cue_is_kept_for_readers() -> None:
    (mention,) = RULES.extract("No evidence of LVH")
    assert (mention.assertion, mention.cue) == ("absent", "no evidence of")


def test_a_cue_inside_a_name_is_part_of_the_name() -> None:
    assert said("absent P waves") == {"absent_p_wave": "present"}
    assert said("no absent P waves") == {"absent_p_wave": "absent"}


def test_a_negation_far_away_does_not_reach() -> None:
    assert said("no one at the clinic has yet read this tracing LBBB") == {
        "left_bundle_branch_block": "present"
    }
