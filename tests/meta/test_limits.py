"""Limits of size, types, names and docstrings, counted in the syntax tree; each names what is beyond it."""

from __future__ import annotations

import ast
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path for folder in ("supreme", "jobs") for path in (ROOT / folder).rglob("*.py"))
MAX_FILE_LINES, MAX_MEDIAN_LINES, MAX_FUNCTION_LINES = 300, 110, 60
MAX_UNTYPED_LINES = 50
#: Participles say what happened, not what a variable holds.
PARTICIPLES = frozenset(
    ("found", "made", "asked", "told", "said", "held", "given", "taken", "wanted", "kept", "chosen")
)
MAX_PARTICIPLES = 30
TRAINING_ROOMS = {"data", "learner", "run", "profiling"}
MAX_TRAINING_IMPORTS = 5

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(_tree(path))


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_no_file_is_long_and_half_of_them_are_short() -> None:
    lines = {_name(path): _lines(path) for path in FILES}
    assert {name: count for name, count in lines.items() if count > MAX_FILE_LINES} == {}
    # A package's line that says what it is would pull the median down.
    assert statistics.median(count for count in lines.values() if count > 3) <= MAX_MEDIAN_LINES


def test_no_function_is_long() -> None:
    long = [
        f"{_name(path)}:{node.lineno} {node.name}: {length}"
        for path in FILES
        for node in _nodes(path)
        if isinstance(node, Function)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION_LINES
    ]
    assert long == []


def test_facts_are_typed() -> None:
    untyped = [
        f"{_name(path)}:{number}"
        for path in FILES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "dict[str, Any]" in line
    ]
    assert len(untyped) <= MAX_UNTYPED_LINES, _by_file(untyped)


def test_names_say_what_they_hold() -> None:
    named = [
        f"{_name(path)}:{line} {name}"
        for path in FILES
        for line, name in _assigned(_tree(path))
        if name in PARTICIPLES
    ]
    assert len(named) <= MAX_PARTICIPLES, _by_file(named)


def _assigned(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every variable that is assigned, and every parameter."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg


def _by_file(places: list[str]) -> str:
    files = Counter(place.partition(":")[0] for place in places)
    return f"{len(places)}:\n" + "\n".join(f"{count:4} {name}" for name, count in files.most_common())


def test_no_two_classes_have_one_name() -> None:
    places = defaultdict(list)
    for path in FILES:
        for node in _nodes(path):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(_name(path))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_training_has_four_rooms_with_few_doors() -> None:
    training = ROOT / "supreme" / "training"
    assert {path.name for path in training.iterdir() if (path / "__init__.py").exists()} == TRAINING_ROOMS
    doors = {
        (room, other)
        for path in training.rglob("*.py")
        for node in _nodes(path)
        if isinstance(node, ast.ImportFrom)
        and (room := path.relative_to(training).parts[0]) in TRAINING_ROOMS
        and (other := _training_room(node)) not in ("", room)
    }
    assert len(doors) <= MAX_TRAINING_IMPORTS, sorted(doors)
    assert not {(other, room) for room, other in doors} & doors, "two rooms import each other"


def _training_room(node: ast.ImportFrom) -> str:
    names = [f"{node.module}.{alias.name}" for alias in node.names]
    parts = next((name.split(".") for name in names if name.startswith("supreme.training.")), [])
    return parts[2] if len(parts) > 2 and parts[2] in TRAINING_ROOMS else ""


def test_what_is_public_is_described() -> None:
    bare = [place for path in FILES for place in _undescribed(_tree(path), _name(path))]
    assert bare == [], _by_file(bare)


def _undescribed(node: ast.Module | ast.ClassDef, name: str) -> Iterator[str]:
    """Public classes and functions without a docstring; one expression is its own description."""
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            if not ast.get_docstring(child):
                yield f"{name}:{child.lineno} {child.name}"
            yield from _undescribed(child, name)
        elif isinstance(child, Function) and not child.name.startswith("_"):
            overridden = child.name in ("forward", "format", "run") and isinstance(node, ast.ClassDef)
            if not ast.get_docstring(child) and len(child.body) > 1 and not overridden:
                yield f"{name}:{child.lineno} {child.name}"
