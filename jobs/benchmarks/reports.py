"""Rules compared: one regular expression of all wordings, and ours, every statement anew or once."""

from __future__ import annotations

import csv
import re
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks import Measurements, labels, table
from benchmarks.timing import interleaved
from supreme import config, log
from supreme.reports import extract, lexicon, statements

#: Reports of one measurement.
REPORTS = 10_000
#: Simulated ECGs whose reports they are mixed from.
POOL = 2000
#: One regular expression of thousands of wordings is slow.
_SHARE_OF_PEER = 100
#: What statements without end are made of, each hard for another rule.
LONG = (
    "no lvh, rbbb or lbbb, ",
    "AF: no, ",
    "LVH/LAE/",
    "T waves in V4, V5 flat and inverted in I ",
    "foo bar ",
)

logger = log.get("bench")

Session = Callable[[], AbstractContextManager[None]]


def compare_rules(recipe: config.Recipe, session: Session) -> Measurements:
    """Reports a second of processor time: simulated machine reports and, where `recipe.real` is, PTB-XL's.

    Each way starts with no statement kept. ``session`` starts Ray and is not used.

    Returns:
        Load -> reports, unique statements in each, and the median reports a second of every way; and what a
        character costs in a statement of 20,000, to that in one of 200.
    """
    by_load: dict[str, Measurements] = {}
    for name, reports in loads(recipe.real, recipe.seed).items():
        parts = [part for report in reports for part in statements.split(report)]
        rates = interleaved(_ways(reports), recipe.bench.repetitions)
        by_load[name] = {
            "reports": len(reports),
            "statements": len(parts),
            "unique": len(set(parts)),
            **{way: round(float(np.median(measured))) for way, measured in rates.items()},
        }
    for line in table(by_load):
        logger.info(line)
    long_to_short = {shape: round(_long_to_short(shape, recipe.bench.repetitions), 2) for shape in LONG}
    logger.info("a character in a statement of 20,000, to one of 200: %s", long_to_short)
    return {"suite": "rules", "loads": by_load, "long_to_short": long_to_short}


def _long_to_short(shape: str, repetitions: int) -> float:
    """Processor time a character of a long statement, to that of short ones; the best of some tries each."""

    def seconds(length: int, times: int) -> float:
        text = (shape * (length // len(shape) + 1))[:length]
        start = time.process_time()
        for number in range(times):
            extract.read(f"{text} {number}")
        return (time.process_time() - start) / (times * length)

    long, short = (min(seconds(*size) for _ in range(3 * repetitions)) for size in ((20_000, 1), (200, 100)))
    return long / short


def loads(real: str, seed: int) -> dict[str, list[str]]:
    """Name -> reports: as a machine prints them, and PTB-XL's as they come and each once."""
    rng = np.random.default_rng(seed)
    pool = [labels.draw(rng).split("\n") for _ in range(POOL)]
    reports = {"simulated machine reports": list(labels.mix(pool, REPORTS, rng))}
    tables = sorted(Path(real).glob("**/ptbxl_database*.csv"), key=lambda file: -file.stat().st_size)
    if real and tables:
        with tables[0].open(encoding="utf-8") as file:
            rows = [row["report"] for row in csv.DictReader(file)]
        reports |= {"PTB-XL": rows, "PTB-XL, each report once": list(dict.fromkeys(rows))}
    return reports


def _ways(reports: Sequence[str]) -> dict[str, Callable[[], float]]:
    few = reports[: max(len(reports) // _SHARE_OF_PEER, 1)]
    return {
        "one regular expression": lambda: _rate(few, _peer()),
        "rules, every statement anew": lambda: _rate(reports, extract.read),
        "rules": lambda: _rate(reports, cache(extract.read)),
    }


def _rate(reports: Sequence[str], read: Callable[[str], object]) -> float:
    read("sinus rhythm")
    statements.sentences.cache_clear()
    start = time.process_time()
    for report in reports:
        for statement in statements.split(report):
            read(statement)
    return len(reports) / (time.process_time() - start)


def _peer() -> Callable[[str], object]:
    """Finds wordings only, as written: no walls, no negation."""
    wordings = sorted({text for text, _ in lexicon.wordings()}, key=len, reverse=True)
    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, wordings))})\b", re.IGNORECASE)
    return pattern.findall
