"""Sizes, words and dangers of the source: small files, docstrings, nothing that runs data as code."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

from supreme import config
from supreme.records.simulated import SimulatedSource
from supreme.records.simulator import findings
from supreme.reports.vocabulary import load_base

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES, MAX_JOB_LINES, MIN_DOCSTRINGS = 400, 64, 0.9
RECIPES = sorted((ROOT / "jobs" / "recipes").glob("*.toml"))


def _files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _calls(path: Path) -> list[tuple[str, ast.Call]]:
    """Dotted name and call of every call in a file."""
    tree = ast.parse(path.read_text())
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def _keyword(call: ast.Call, name: str) -> object:
    values = [keyword.value for keyword in call.keywords if keyword.arg == name]
    return values[0].value if values and isinstance(values[0], ast.Constant) else None


def test_files_are_small() -> None:
    lines = {_name(path): _lines(path) for path in _files("supreme", "jobs", "tests")}
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}
    assert {n: count for n, count in lines.items() if _is_job(n) and count > MAX_JOB_LINES} == {}


def _is_job(name: str) -> bool:
    return Path(name).parent == Path("jobs")


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())


@pytest.mark.parametrize("path", _files("supreme", "jobs"), ids=_name)
def test_nothing_runs_data_as_code(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        banned = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
        assert not banned & {name.partition(".")[0] for name in names}, f"line {node.lineno}"  # type: ignore
    for called, call in _calls(path):
        where = f"{called} in line {call.lineno}"
        assert called not in ("eval", "exec", "os.system", "os.popen", "pd.read_pickle"), where
        assert not called.startswith(("yaml.load", "mlflow.pytorch.", "mlflow.sklearn.")), where
        assert _keyword(call, "shell") is not True, where
        assert _keyword(call, "allow_pickle") is not True, where
        assert not any(k.arg == "trust_remote_code" for k in call.keywords) or (
            _keyword(call, "trust_remote_code") is False
        ), where
        if called == "torch.load":
            assert _keyword(call, "weights_only") is True, where
        if called in ("np.load", "numpy.load"):
            assert _keyword(call, "allow_pickle") is False, where
        if called == "torch.save":
            assert path.name == "checkpoint.py", where


@pytest.mark.parametrize("path", _files("supreme", "jobs"), ids=_name)
def test_randomness_is_passed_in(path: Path) -> None:
    """Only training, which owns its process, seeds the global generators."""
    for called, call in _calls(path):
        where = f"{called} in line {call.lineno}"
        if _name(path).startswith("supreme/training/"):
            continue
        assert called not in ("np.random.seed", "random.seed", "torch.manual_seed"), where
        if called.endswith("default_rng"):
            assert call.args or call.keywords, where
        if called.startswith("np.random."):
            assert called.rpartition(".")[2] in ("default_rng", "Generator", "PCG64", "SeedSequence"), where


@pytest.mark.parametrize("path", _files("supreme", "jobs"), ids=_name)
def test_errors_are_not_swallowed(path: Path) -> None:
    """A handler of everything does something with what it caught: raises it again or writes it down."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"bare except in line {node.lineno}"
            empty = all(isinstance(step, ast.Pass | ast.Continue) for step in node.body)
            everything = ast.unparse(node.type) in ("Exception", "BaseException")
            assert not (empty and everything), f"line {node.lineno}"


def test_only_jobs_speak_on_stdout() -> None:
    sources = _files("supreme", "jobs")
    speakers = {_name(path) for path in sources for called, _ in _calls(path) if called == "print"}
    assert speakers <= {"supreme/runtime/cli.py", "supreme/runtime/submit.py", "supreme/log.py"}


def test_no_path_of_a_machine() -> None:
    machine = re.compile(r"[\"'= ]/(?:work|home|Users|root|mnt|data)/")
    files = [*_files("supreme", "jobs"), *RECIPES, *(ROOT / "cluster").rglob("*.*"), ROOT / "Makefile"]
    found = [_name(path) for path in files if path != Path(__file__) and machine.search(path.read_text())]
    assert found == []


def test_nothing_is_left_for_later() -> None:
    later = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b|NotImplementedError")
    files = [path for path in _files("supreme", "jobs", "tests") if path != Path(__file__)]
    assert [_name(path) for path in files if later.search(path.read_text())] == []


@pytest.mark.parametrize("path", _files("supreme", "jobs"), ids=_name)
def test_a_module_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    future = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    assert future or len(tree.body) <= 2


def _public(node: ast.Module | ast.ClassDef) -> list[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Public classes, and public functions of more than one step; its class tells of a `forward`."""
    found: list[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef] = []
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            found += [child, *_public(child)]
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
            found += [child] if len(child.body) > 1 and child.name != "forward" else []
    return found


def test_what_is_public_is_described() -> None:
    bare, count = [], 0
    for path in _files("supreme", "jobs"):
        for item in _public(ast.parse(path.read_text())):
            count += 1
            bare += [] if ast.get_docstring(item) else [f"{_name(path)}:{item.lineno} {item.name}"]
    assert len(bare) / count <= 1 - MIN_DOCSTRINGS, "\n".join(bare)


# ---- data files


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe_is_valid_and_says_how_to_run_it(recipe: Path) -> None:
    loaded = config.load(recipe.stem)
    assert loaded.name
    head = [line for line in recipe.read_text().splitlines()[:8] if line.startswith("#")]
    assert recipe.read_text().startswith("# ")
    assert any(f"--config {recipe.stem}" in line for line in head)
    assert set(loaded.labels.held_out) <= set(load_base().ids)


def _toml(path: str) -> dict[str, dict]:
    return tomllib.loads((ROOT / "supreme" / path).read_text())


def test_conditions_of_the_evaluation_are_in_the_vocabulary() -> None:
    table, known = _toml("evaluation/data/conditions.toml"), set(load_base().ids)
    assert len(table["conditions"]) >= 30
    assert set(table["conditions"]) <= known
    for name, described in table["sets"].items():
        assert set(described["annotates"]) <= set(table["conditions"]), name


def test_conditions_of_the_simulator_are_in_the_vocabulary() -> None:
    words, known = _toml("records/data/simulated_reports.toml"), set(load_base().ids)
    said = {name for language in ("english", "german") for name in words[language]}
    said -= {"closing_abnormal", "irrelevant", "negated"}
    assert said <= known
    assert set(words["doubted"]) <= said
    for language in ("english", "german"):
        assert {name for entry in words[language]["negated"] for name in entry["of"]} <= known
    assert set(findings.RHYTHMS) | findings.WIDE | set(findings.INFARCTIONS) <= known
    source = SimulatedSource("simulated", 150, 0, rate_hz=25)
    assert {code for entry in source.index() for code in source.read(entry).entry.codes} <= known


# ---- dependencies

#: Distribution -> package, where the names differ.
PACKAGES = {
    "torch": "torch",
    "ecg-augmentations": "ecg_augmentations",
    "pyyaml": "yaml",
    "pyahocorasick": "ahocorasick",
    "boto3": "botocore",
    "scikit-learn": "sklearn",
}


def test_what_is_required_is_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = {re.split(r"[\[<>=]", line)[0] for line in project["dependencies"]}
    imported = {
        name.partition(".")[0]
        for path in _files("supreme", "jobs")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert {name for name in required if PACKAGES.get(name, name) not in imported} == set()
