"""Pages for people: the reference is fresh, links lead somewhere, every job is listed, README is short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from supreme import config
from supreme.runtime import reference

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page for folder in ("", "jobs", "supreme") for page in (ROOT / folder).glob("README.md")
) + sorted([*(ROOT / "supreme").glob("*/README.md"), *(ROOT / "cluster").rglob("*.md")])
MAX_README_LINES = 120


def test_the_configuration_reference_is_fresh() -> None:
    page = (ROOT / "jobs" / "README.md").read_text()
    assert reference.update(page) == page, "make reference"


def test_every_key_of_a_recipe_is_described() -> None:
    text = reference.reference()
    described = set(re.findall(r"^\| `([\w.]+)` \| .* \| .* \| .+ \|$", text, re.M))
    keys = set(_keys(config.Recipe, ""))
    assert keys - described == set()


def _keys(model: type[BaseModel], prefix: str) -> list[str]:
    keys: list[str] = []
    for name, field in model.model_fields.items():
        sections = reference._section_types(field.annotation)
        item = {"sources": "N.", "instances": "N.", "space": "KEY."}.get(name, "")
        below = f"{prefix}{name}.{item}"
        keys += [key for section in sections for key in _keys(section, below)]
        keys += [] if sections else [f"{prefix}{name}"]
    return keys


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert missing == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= MAX_README_LINES


def test_every_job_is_in_the_table_of_jobs() -> None:
    listed = set(re.findall(r"^\| `(\w+)\.py` \|", (ROOT / "jobs" / "README.md").read_text(), re.M))
    assert listed == {path.stem for path in (ROOT / "jobs").glob("*.py")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_section_stands_twice(page: Path) -> None:
    titles = re.findall(r"^#+ .*", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.M)
    assert sorted(titles) == sorted(set(titles))
