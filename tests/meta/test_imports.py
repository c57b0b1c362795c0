"""The house has one direction: who may import whom, what, and that an import does nothing."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
#: A room imports only from rooms before it.
ORDER = (
    *("ecg", "nested", "redaction", "settings", "config"),
    *("log", "read_ahead", "retry", "storage", "owner", "manifest", "runtime"),
    *("records", "signal", "quality", "preparation", "shards"),
    *("text", "reports"),
    *("models", "losses", "augment", "objectives", "metrics"),
    *("training", "inference", "tracking", "registry"),
    *("starting", "pretraining", "sweep"),
    *("evaluation", "prediction", "promotion", "planning", "reporting"),
)
#: Package -> files and folders of `supreme` that may import it.
ALONE = {
    "wfdb": ("records",),
    "ecg_augmentations": ("augment.py",),
    "mlflow": ("tracking", "registry"),
    "ray": (
        *(
            "runtime/session.py",
            "runtime/observability.py",
            "runtime/submit.py",
            "shards/build.py",
            "reports/spread.py",
            "reports/llm/cluster.py",
        ),
        *("training/data/ray_stream.py", "training/run/driver.py", "training/run/ray_trainer.py"),
        *(
            "training/run/worker.py",
            "training/run/worker_setup.py",
            "training/run/preemption.py",
            "training/profiling/profiler.py",
        ),
        *("sweep/tuner.py", "sweep/gate.py", "inference/engine_on_ray.py", "training/run/failures.py"),
    ),
    "aiohttp": ("reports/llm/endpoint.py",),
    "botocore": ("storage",),
    "transformers": ("text.py",),
    "matplotlib": ("reporting",),
}
HEAVY = ("ray", "mlflow", "torch", "transformers", "matplotlib")


def _files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


#: Modules that drive whole stages, and so import some of these.
STAGES_ON_RAY = ("pretraining.py", "sweep/stage.py")
WITH_RAY = {_module(ROOT / "supreme" / file) for file in (*ALONE["ray"], *STAGES_ON_RAY)}


def _imported(tree: ast.AST) -> Iterator[str]:
    """Full names of everything imported anywhere in the file, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole module"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


@pytest.mark.parametrize("path", _files("supreme"), ids=_module)
def test_imports_run_one_way(path: Path) -> None:
    room = _room(_module(path))
    assert room == "" or room in ORDER, f"{room} has no place in the order of the house"
    for name in _imported(ast.parse(path.read_text())):
        package, _, rest = name.partition(".")
        assert package not in ("jobs", "tests"), name
        other = rest.partition(".")[0]
        if package != "supreme" or other in (room, "__version__"):
            continue
        assert other in ORDER, name
        assert room, "supreme/__init__.py imports nothing"
        assert ORDER.index(other) < ORDER.index(room), f"{room} imports {name}, which comes after it"


@pytest.mark.parametrize("package", ALONE)
def test_a_library_has_one_door(package: str) -> None:
    users = [
        path.relative_to(ROOT / "supreme").as_posix()
        for path in _files("supreme")
        if any(name.partition(".")[0] == package for name in _imported(ast.parse(path.read_text())))
    ]
    assert users
    doors = ALONE[package]
    assert [user for user in users if user not in doors and user.partition("/")[0] not in doors] == []


def test_nothing_is_run_at_import() -> None:
    """A module's top level holds imports, definitions and constants; a job also its `main` line."""
    passive = (
        ast.Import,
        ast.ImportFrom,
        ast.FunctionDef,
        ast.AsyncFunctionDef,
        ast.ClassDef,
        ast.Assign,
        ast.AnnAssign,
    )
    for path in _files("supreme", "jobs"):
        for node in ast.parse(path.read_text()).body:
            text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            guarded = isinstance(node, ast.If) and ast.unparse(node.test) in (
                "TYPE_CHECKING",
                "__name__ == '__main__'",
            )
            assert isinstance(node, passive) or text or guarded, f"{path}:{node.lineno}"


def _import_alone(modules: list[str], forbidden: tuple[str, ...]) -> str:
    """Import modules where ``forbidden`` packages cannot be; what was wrong, or nothing."""
    script = f"""
import importlib, os, random, sys
from pathlib import Path
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {forbidden!r}:
            raise ModuleNotFoundError("not here: " + name)
sys.meta_path.insert(0, Refuse())
opened = []
def watch(event, details):
    path = str(details[0]) if event == "open" else ""
    if path.startswith({str(ROOT / "supreme") + "/"!r}) and not path.endswith((".py", ".pyc")):
        opened.append(path)
sys.addaudithook(watch)
before, state = sorted(Path(".").iterdir()), random.getstate()
for name in {modules!r}:
    environment = dict(os.environ)
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        print(name, error)
    changed = {{key for key in os.environ if os.environ[key] != environment.get(key)}}
    ours = {{key for key in changed if not key.startswith("KMP_")}}  # OpenMP's own
    if {"mlflow" in forbidden!r} and ours:
        print(name, "changes the environment:", *sorted(ours))
if opened or random.getstate() != state or sorted(Path(".").iterdir()) != before:
    print("an import reads data, draws a random number or writes a file", *opened)
"""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'jobs'}", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("empty_folder")
def test_models_losses_metrics_need_neither_ray_nor_mlflow() -> None:
    before = ORDER[: ORDER.index("tracking")]
    free = {module for module in map(_module, _files("supreme")) if _room(module) in before} - WITH_RAY
    free |= {"supreme"}
    assert _import_alone(sorted(free), ("ray", "mlflow")) == ""


@pytest.mark.usefixtures("empty_folder")
def test_only_the_named_modules_need_ray() -> None:
    assert _import_alone(sorted(set(map(_module, _files("supreme"))) - WITH_RAY), ("ray",)) == ""


@pytest.mark.usefixtures("empty_folder")
def test_help_of_a_job_loads_no_heavy_library() -> None:
    assert _import_alone([path.stem for path in sorted((ROOT / "jobs").glob("*.py"))], HEAVY) == ""
