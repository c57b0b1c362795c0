"""Several processes register and promote at once, on a real tracking server over a sqlite file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow_server
import pytest
import tiny_bundle

from supreme import tracking
from supreme.registry import history, lock, versions

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

#: Arguments: store, model, run, start file, bundle. What a promotion does: register, look, compare, replace.
CONTENDER = """
import json, sys, time
from pathlib import Path
from supreme.registry import champion, history, versions
store, model, run_id, start, bundle = sys.argv[1:]
Path(f"{start}.{Path(bundle).name}.{time.time_ns()}.ready").touch()
while not Path(start).exists():
    time.sleep(0.005)
current = versions.find(f"models:/{model}@champion", store)
version = versions.register(bundle, run_id, tracking_uri=store, model=model)
note = history.DecisionNote(f"for {bundle}")
entry = champion.replace_champion(version, current, tracking_uri=store, note=note)
print(json.dumps({"version": int(version.version), "promoted": entry is not None}))
"""

#: Arguments: store, model, file that says that the lock is held.
HOLDER = """
import sys, time
from pathlib import Path
from supreme.registry import lock
with lock.exclusive(sys.argv[2], sys.argv[1]):
    Path(sys.argv[3]).touch()
    time.sleep(600)
"""


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(true: object, seconds: float = 500) -> None:
    deadline = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folders = [str(tmp_path_factory.mktemp("bundles") / f"bundle-{seed}") for seed in range(3)]
    for seed, folder in enumerate(folders):
        tiny_bundle.write(folder, seed)
    return folders


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with mlflow_server.running(folder, f"sqlite:///{folder}/server.db", f"{folder}/files", 2) as address:
        yield address


@pytest.mark.parametrize("chosen", [(0, 0, 0, 0), (0, 1, 2, 0)], ids=["one bundle", "three bundles"])
def test_at_once_there_is_one_version_a_bundle_and_one_champion(
    store: str, bundles: list[str], tmp_path: Path, chosen: tuple[int, ...]
) -> None:
    model = f"race-{len(set(chosen))}"
    run = tracking.start_or_resume(store, "tests", str(tmp_path / "stage"), "pretrain", {})
    start = tmp_path / "start"
    started = [python(CONTENDER, store, model, run.run_id, str(start), bundles[number]) for number in chosen]
    wait_until(lambda: len(list(tmp_path.glob("start.*.ready"))) == len(chosen))
    start.touch()
    results = []
    for process in started:
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert "IntegrityError" not in errors
        results.append(json.loads(output.splitlines()[-1]))
    of_bundle = {number: result["version"] for number, result in zip(chosen, results, strict=True)}
    assert [of_bundle[number] for number in chosen] == [result["version"] for result in results]
    assert sorted(of_bundle.values()) == list(range(1, len(set(chosen)) + 1))
    every = run.client.search_model_versions(f"name = '{model}'")
    assert sorted(int(version.version) for version in every) == sorted(of_bundle.values())
    winners = {result["version"] for result in results if result["promoted"]}
    champion = versions.resolve(f"models:/{model}@champion", store)
    assert winners == {int(champion.version)}
    assert sum(result["promoted"] for result in results) == 1
    assert versions.find(f"models:/{model}@previous", store) is None
    [entry] = history.read(model, store)
    assert (entry.number, entry.version, entry.moved) == (1, int(champion.version), True)
    assert not run.client.search_registered_models(f"name LIKE '{model}.lock%'")
    assert versions.load(f"models:/{model}@champion", store).vocabulary


def test_the_lock_of_a_killed_process_is_taken_over(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "STALE_S", 2.0)
    held = tmp_path / "held"
    process = python(HOLDER, store, "orphan", str(held))
    try:
        wait_until(held.exists)
        monkeypatch.setattr(lock, "WAIT_S", 0.5)
        with (
            pytest.raises(tracking.TrackingError, match=r"delete the registered model orphan\.lock"),
            lock.exclusive("orphan", store),
        ):
            pass
        monkeypatch.setattr(lock, "WAIT_S", 60.0)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with lock.exclusive("orphan", store) as still_mine:
        still_mine()


def test_a_lock_that_was_lost_is_noticed_before_the_change(store: str) -> None:
    client = tracking.connect(store)
    with lock.exclusive("lost", store) as still_mine:
        still_mine()
        client.delete_registered_model("lost.lock")
        client.create_registered_model("lost.lock", tags={"supreme.lock_owner": "somebody else"})
        with pytest.raises(tracking.TrackingError, match="has taken over the lock of lost"):
            still_mine()
    assert client.get_registered_model("lost.lock").tags["supreme.lock_owner"] == "somebody else"
