"""The report that a cardiograph would print: synonyms, hedges, negations and lines that say nothing."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path
from typing import Any

import numpy as np

from supreme.records.simulator.findings import Findings

_WORDS = Path(__file__).resolve().parents[1] / "data" / "simulated_reports.toml"
#: They follow from the name of another finding, and so seldom have words of their own.
_SELDOM = {
    "bundle_branch_block": 0.0,
    "av_block": 0.0,
    "myocardial_infarction": 0.15,
    "tachycardia": 0.5,
    "bradycardia": 0.5,
    "wide_qrs": 0.6,
    "absent_p_wave": 0.6,
    "irregular_rhythm": 0.6,
    "abnormal_q_wave": 0.8,
    "t_wave_inversion": 0.4,
    "st_depression": 0.4,
    "st_elevation": 0.4,
    "myocardial_ischemia": 0.9,
}


@functools.cache
def words() -> dict[str, Any]:
    return tomllib.loads(_WORDS.read_text())


def write(findings: Findings, true: tuple[str, ...], rng: np.random.Generator) -> str:
    """Statements, one a line, as they would be read from an ECG with the conditions ``true``."""
    german = rng.random() < 0.08
    phrases = words()["german" if german else "english"]
    spoken = [name for name in _order(true) if name in phrases and rng.random() < _SELDOM.get(name, 0.97)]
    lines = []
    for name in spoken:
        line = str(rng.choice(phrases[name]))
        weak = findings.of(name) and findings.of(name) < 0.35
        if weak and name not in ("sinus_rhythm", "normal_ecg") and rng.random() < 0.35:
            line = _hedge(line, german, rng)
        lines.append(line)
    lines += _negations(true, phrases, rng)
    if "normal_ecg" not in true:
        if rng.random() < 0.04:
            doubtful = [name for name in words()["doubted"] if name not in true and name in phrases]
            lines.append(_hedge(str(rng.choice(phrases[str(rng.choice(doubtful))])), german, rng))
        lines += [str(rng.choice(phrases["closing_abnormal"]))] * (rng.random() < 0.7)
    if not lines:
        lines.append(str(rng.choice(phrases["closing_abnormal"])))
    if rng.random() < 0.3:
        lines.insert(int(rng.integers(len(lines) + 1)), str(rng.choice(phrases["irrelevant"])))
    return "\n".join(lines)


def _order(true: tuple[str, ...]) -> list[str]:
    """As a reader goes: rhythm first, then the order of the phrase file."""
    order = {name: place for place, name in enumerate(words()["english"])}
    return sorted(true, key=lambda name: order.get(name, len(order)))


def _hedge(line: str, german: bool, rng: np.random.Generator) -> str:
    templates = words()["hedges"]["german" if german else "english"]
    lowered = line if line[:2].isupper() else line[0].lower() + line[1:]
    return str(rng.choice(templates)).format(lowered)


def _negations(true: tuple[str, ...], phrases: dict[str, Any], rng: np.random.Generator) -> list[str]:
    """Up to two statements that something absent is absent."""
    possible = [entry for entry in phrases["negated"] if not set(entry["of"]) & set(true)]
    count = int(rng.choice([0, 1, 2], p=[0.6, 0.3, 0.1]))
    if not possible:
        return []
    numbers = rng.choice(len(possible), size=min(count, len(possible)), replace=False)
    return [possible[int(i)]["text"] for i in sorted(numbers)]
