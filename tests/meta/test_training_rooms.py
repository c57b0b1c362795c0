"""Training has four rooms, and imports among them run one way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2] / "supreme" / "training"
#: Room -> the rooms that it imports; a room stands below those it imports.
IMPORTS: dict[str, set[str]] = {
    "data": set(),
    "learner": {"data"},
    "run": {"data", "learner"},
    "profiling": {"data", "run"},
}


def _rooms_imported(path: Path) -> set[str]:
    """Rooms of training that a file imports from, other than its own."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    parts = [name.split(".") for name in names if name.startswith("supreme.training.")]
    return {part[2] for part in parts} - {path.parent.name}


def test_the_rooms_are_those_of_the_plan() -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert folders == set(IMPORTS)
    assert [path.name for path in ROOT.glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("room", IMPORTS)
def test_a_room_imports_only_rooms_below_it(room: str) -> None:
    imported = set().union(*map(_rooms_imported, (ROOT / room).rglob("*.py")))
    assert imported == IMPORTS[room]
    order = list(IMPORTS)
    assert all(order.index(other) < order.index(room) for other in imported)
