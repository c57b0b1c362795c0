"""Every job through `ray job submit` on a loopback head with token authentication, as a user types it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pipeline_runs import TINY, processes_with

from supreme.records.simulated import write_mimic_folder

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
CHECKOUT = Path(__file__).resolve().parents[2]
#: Process id, name and address of all sockets that listened while jobs ran.
LISTENING: set[tuple[str, str, str]] = set()
SUBMIT = str(CHECKOUT / "cluster" / "submit.sh")
#: Jobs that are submitted with it.
OURS = ("label", "pretrain", "report")
RAY = str(Path(sys.executable).with_name("ray"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def neighbour(cluster: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Somebody else's Ray, started later and in Ray's usual folder, where jobs look for "the" cluster."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "1" * 64, "RAY_USAGE_STATS_ENABLED": "0"}
    command = [RAY, "start", "--head", "--block", "--num-cpus=1", "--include-dashboard=false"]
    command += [f"--port={_free_port()}", f"--ray-client-server-port={_free_port()}"]
    command += [f"--dashboard-agent-listen-port={_free_port()}"]
    log = tmp_path_factory.mktemp("neighbour") / "log"
    with log.open("wb") as stream:
        head = subprocess.Popen(
            command, env=environment, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 180
        while "Ray runtime started" not in log.read_text():
            assert head.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield
    finally:
        os.killpg(head.pid, signal.SIGKILL)
        head.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("cluster")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
        "SUPREME_CLUSTER": str(folder),
        "SUPREME_PORT": str(_free_port()),
        "SUPREME_DASHBOARD_PORT": str(_free_port()),
        # Each is a process that imports everything.
        "SUPREME_CPUS": "4",
    }
    environment.pop("RAY_ADDRESS", None)
    script = str(CHECKOUT / "cluster" / "local.sh")
    try:
        subprocess.run([script, "start"], env=environment, check=True, timeout=300, cwd=CHECKOUT)
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token")}
        address = {"RAY_ADDRESS": f"http://127.0.0.1:{environment['SUPREME_DASHBOARD_PORT']}"}
        yield environment | token | address
    finally:
        subprocess.run([script, "stop"], env=environment, timeout=60, cwd=CHECKOUT)
        assert not processes_with(f"SUPREME_CLUSTER={folder}"), "something is left running"


def _listening(session: str) -> set[tuple[str, str, str]]:
    """Process id, name and address of every TCP socket that listens, of a session and what it started."""
    rows = subprocess.run(["ps", "-eo", "pid=,sid=,ppid=,comm="], capture_output=True, text=True, check=True)
    processes = [line.split(None, 3) for line in rows.stdout.splitlines()]
    names = {pid: name for pid, sid, _, name in processes if sid == session}
    while more := {pid: name for pid, _, parent, name in processes if parent in names and pid not in names}:
        names |= more
    listening: set[tuple[str, str, str]] = set()
    addresses: dict[str, str] = {}
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                addresses[f"socket:[{fields[9]}]"] = fields[1].partition(":")[0]
    for pid, name in names.items():
        with contextlib.suppress(OSError):  # it has ended
            links = [os.readlink(entry) for entry in Path("/proc", pid, "fd").iterdir()]
            listening |= {(pid, name, addresses[link]) for link in links if link in addresses}
    return listening


def _is_loopback(address: str) -> bool:
    """Of an address as in /proc/net: hexadecimal, each group of four bytes turned round."""
    return address == "0100007F" or address.endswith("FFFF00000100007F") or address == f"{'0' * 24}01000000"


def _submit(cluster: dict[str, str], folder: Path, job: str, *arguments: str) -> dict[str, Any]:
    """The result of a job, as soon as it is there: the command tails the log for seconds after the end."""
    ray_submit = [RAY, "job", "submit", "--address", cluster["RAY_ADDRESS"], "--working-dir", ".", "--"]
    # Both ways that are documented.
    command = [SUBMIT, job] if job in OURS else [*ray_submit, "python", f"jobs/{job}.py"]
    result_file, log = folder / f"{job}.json", folder / f"{job}.log"
    command += [*TINY, "--result-file", str(result_file), *arguments]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, env=cluster, cwd=CHECKOUT, stdout=stream, stderr=stream)
    deadline = time.monotonic() + 420
    try:
        while not result_file.exists():
            assert process.poll() in (None, 0), f"{job}:\n{log.read_text()[-6000:]}"
            assert time.monotonic() < deadline, f"{job}:\n{log.read_text()[-6000:]}"
            LISTENING.update(_listening(Path(cluster["SUPREME_CLUSTER"], "pid").read_text().strip()))
            time.sleep(0.2)
        if job in ("shard", *OURS):
            assert process.wait(180) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    result: dict[str, Any] = json.loads(result_file.read_text())
    return result


def test_what_listens_is_seen_with_its_address() -> None:
    code = """if True:
        import socket, time
        for address in ("127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0", "::"):
            server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            if ":" in address:
                server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            server.bind((address, 0))
            server.listen()
            globals()[address] = server
        print("up", flush=True)
        time.sleep(60)"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout
        process.stdout.readline()
        addresses = sorted(_is_loopback(address) for _, _, address in _listening(str(process.pid)))
        process.kill()
    assert addresses == [False, False, True, True]


@pytest.mark.usefixtures("neighbour")
def test_the_whole_way_job_by_job(cluster: dict[str, str], tmp_path: Path) -> None:
    root = f"root={tmp_path / 'runs'}"
    jobs = ("shard", "label", "pretrain", "register", "evaluate", "promote", "report")
    # What was just trained is evaluated before the gate makes it the champion.
    candidate = {"evaluate": ["evaluation.model_uri=models:/supreme-ecg-smoke@candidate"]}
    results = {job: _submit(cluster, tmp_path, job, root, *candidate.get(job, [])) for job in jobs}
    # The result is the job's last line, before Ray's own words about the end of the job.
    log = (tmp_path / "shard.log").read_text().splitlines()
    assert any(line.strip() == json.dumps(results["shard"]) for line in log)
    # Its watchers found their own cluster, not the neighbour.
    watched = re.findall(
        r"Connecting to latest cluster at \S+:(\d+)\.", (tmp_path / "pretrain.log").read_text()
    )
    assert set(watched) <= {cluster["SUPREME_PORT"]}
    assert results["promote"]["promoted"]
    assert "atrial fibrillation" in Path(results["evaluate"]["results"]).read_text().replace("_", " ")
    page = next((tmp_path / "runs" / "smoke" / "report").glob("*.html")).read_text()
    assert page.startswith("<!")
    assert "AUROC" in page

    write_mimic_folder(str(tmp_path / "mimic"), records=3, seed=5)
    scores = tmp_path / "scores.parquet"
    # As cluster/README.md says: all on loopback, but for PyTorch's rendezvous in a training worker.
    open_to_all = {pid for pid, _, address in LISTENING if not _is_loopback(address)}
    assert len(open_to_all) <= 1
    names = {name for pid, name, _ in LISTENING if pid in open_to_all}
    assert not names or "ray::RayTrainWo" in names
    assert {"gcs_server", "raylet", "ray::RayTrainWo"} <= {name for _, name, _ in LISTENING}

    asked = ["atrial fibrillation?", "old inferior infarct?"]
    wanted = [
        f"predict.uri={tmp_path / 'mimic'}",
        f"predict.queries={json.dumps(asked)}",
        f"predict.output={scores}",
    ]
    _submit(cluster, tmp_path, "predict", root, *wanted)
    rows = pq.read_table(scores).to_pylist()
    assert len(rows) == 6
    assert all(0 <= row["score"] <= 1 for row in rows)


def test_the_token_is_private_and_no_argument(cluster: dict[str, str]) -> None:
    token = Path(cluster["SUPREME_CLUSTER"], "token")
    assert token.stat().st_mode & 0o777 == 0o600
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [command for command in commands if token.read_bytes() in command]
    script = (CHECKOUT / "cluster" / "local.sh").read_text()
    assert not [line for line in script.splitlines() if "curl" in line and "token" in line]


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"SUPREME_PORT": "10500"}, "Ray's workers listen on 10002 to 19999"),
        ({"SUPREME_DASHBOARD_PORT": "19999"}, "Ray's workers listen on 10002 to 19999"),
        ({"SUPREME_PORT": "70000"}, "is not a port"),
        ({"SUPREME_PORT": "6379; true"}, "is not a port"),
        ({"SUPREME_PORT": "8265", "SUPREME_DASHBOARD_PORT": "8265"}, "choose two"),
    ],
)
def test_ports_that_cannot_be_are_refused(tmp_path: Path, variables: dict[str, str], reason: str) -> None:
    environment = os.environ | {"SUPREME_CLUSTER": str(tmp_path / "cluster")} | variables
    command = [str(CHECKOUT / "cluster" / "local.sh"), "start"]
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert reason in refused.stderr
    assert not (tmp_path / "cluster").exists()


@pytest.mark.parametrize(
    ("changes", "arguments", "code", "reason"),
    [
        # Only the cluster can know, and its exit code comes back.
        ({}, ["pretrain", *TINY], 2, "is not finished: run jobs/shard.py first"),
        ({}, ["pretrain", *TINY, "training.epoch=1"], 2, "training.epoch"),
        ({"RAY_AUTH_TOKEN": "0" * 64}, ["shard", *TINY], 2, "refuses the token"),
        ({"RAY_AUTH_MODE": "disabled"}, ["shard", *TINY], 2, "no token for http"),
        ({"RAY_ADDRESS": "http://127.0.0.1:9"}, ["shard", *TINY], 2, "does not answer"),
    ],
)
def test_a_submission_ends_with_the_code_of_its_job_or_is_refused(
    cluster: dict[str, str],
    tmp_path: Path,
    changes: dict[str, str],
    arguments: list[str],
    code: int,
    reason: str,
) -> None:
    command = [SUBMIT, *arguments, f"root={tmp_path}"]
    done = subprocess.run(command, env=cluster | changes, capture_output=True, text=True, timeout=240)
    assert done.returncode == code, done.stdout + done.stderr
    assert reason in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_wrong_token_is_turned_away(cluster: dict[str, str], tmp_path: Path) -> None:
    stranger = tmp_path / "token"
    stranger.write_text("0" * 64)
    command = [RAY, "job", "list", "--address", cluster["RAY_ADDRESS"]]
    turned_away = subprocess.run(
        command,
        env=cluster | {"RAY_AUTH_TOKEN_PATH": str(stranger)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert turned_away.returncode != 0
    assert "authentication" in (turned_away.stdout + turned_away.stderr).lower()
