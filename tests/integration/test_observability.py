"""Every expression of the dashboard and of the alerts returns a series while jobs run.

Asked of a real Prometheus where one is installed, else of what Ray's endpoint has shown.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import llm_server
import pipeline_runs
import pytest
import yaml
from wfdb_writer import write_csn

from supreme.runtime import observability

pytestmark = [pytest.mark.ray, pytest.mark.slow]

FOLDER = pipeline_runs.CHECKOUT / "cluster" / "observability"
#: Only where there are GPUs.
OF_GPUS = "ray_node_gpus_utilization"


def _expressions() -> list[str]:
    dashboard = json.loads((FOLDER / "grafana_dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]:
        # What is compared returns a series; the comparison only while something is wrong.
        expressions += [re.sub(r" (==|>) [\d.]+", "", rule["expr"]) for rule in group["rules"]]
    return [expression for expression in expressions if OF_GPUS not in expression]


def _names(expression: str) -> set[str]:
    return set(re.findall(r"ray_\w+", expression))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@dataclass
class Scraper:
    """Series that Ray's endpoint has shown."""

    port: int
    series: set[str] = field(default_factory=set)

    def scrape(self) -> None:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as response:
                lines = response.read().decode().splitlines()
        except (URLError, OSError):
            return
        self.series |= {line.rpartition(" ")[0] for line in lines if line.startswith("ray_")}


@contextmanager
def _repeated(scraper: Scraper) -> Iterator[None]:
    done = threading.Event()

    def work() -> None:
        while not done.wait(1):
            scraper.scrape()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def _head(folder: Path, metrics: int) -> Iterator[dict[str, str]]:
    """A Ray head whose metrics port is open; gives the environment of its jobs."""
    port = _free_port()
    mine = {
        "RAY_TMPDIR": str(folder),
        "RAY_AUTH_MODE": "disabled",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_enable_metrics_collection": "1",
        "RAY_metrics_report_interval_ms": "500",
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONPATH": os.pathsep.join([str(pipeline_runs.CHECKOUT), str(pipeline_runs.CHECKOUT / "tests")]),
    }
    options = {
        "node-ip-address": "127.0.0.1",
        "port": port,
        "include-dashboard": "false",
        "metrics-export-port": metrics,
        "ray-client-server-port": _free_port(),
        "dashboard-agent-listen-port": _free_port(),
        "num-cpus": 8,
    }
    command = [
        str(Path(sys.executable).with_name("ray")),
        "start",
        "--head",
        "--block",
        "--disable-usage-stats",
    ]
    head = subprocess.Popen(
        [*command, *(f"--{name}={value}" for name, value in options.items())],
        env=pipeline_runs.environment(**mine),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield mine | {"RAY_ADDRESS": f"127.0.0.1:{port}"}
    finally:
        head.terminate()
        head.wait(60)


@contextmanager
def _prometheus(folder: Path, metrics: int) -> Iterator[str]:
    """The address of a Prometheus that scrapes the endpoint; empty where none is installed."""
    program = shutil.which("prometheus")
    if program is None:
        yield ""
        return
    job = {"job_name": "ray", "static_configs": [{"targets": [f"127.0.0.1:{metrics}"]}]}
    rules = [str(FOLDER / "alerts.yaml")]
    settings = {"global": {"scrape_interval": "1s"}, "rule_files": rules, "scrape_configs": [job]}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    address = f"127.0.0.1:{_free_port()}"
    server = subprocess.Popen(
        [
            program,
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address={address}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://{address}"
    finally:
        server.terminate()
        server.wait(30)


def _has_series(address: str, expression: str, start_s: float) -> bool:
    """Whether the expression had a value at any second since."""
    query = {"query": expression, "start": start_s, "end": time.time(), "step": 1}
    with urlopen(f"{address}/api/v1/query_range?{urlencode(query)}", timeout=60) as response:
        return bool(json.load(response)["data"]["result"])


def test_every_expression_returns_a_series(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    metrics, start_s = _free_port(), time.time()
    scraper = Scraper(metrics)
    headers = write_csn(tmp_path / "real" / "csn", 24)
    headers[3].with_suffix(".dat").write_bytes(b"")  # refused
    options = pipeline_runs.arguments(tmp_path / "runs", tmp_path / "real", "training.epochs=6")
    short = Path(os.path.realpath(tmp_path_factory.mktemp("r")))
    with (
        _head(short, metrics) as environment,
        _prometheus(tmp_path, metrics) as prometheus,
        llm_server.running() as server,
        _repeated(scraper),
    ):
        server.plan(script={"statement 1": ["500"] * 100})
        logs = {"SUPREME_LOG_FORMAT": "json", "OPENAI_API_KEY": llm_server.KEY}
        done = pipeline_runs.finish("pipeline", *options, **environment, **logs)
        assert done.returncode == 0, done.stderr[-3000:]
        asking = [sys.executable, "tests/metrics_job.py", server.url]
        mine = pipeline_runs.environment(**environment, **logs)
        subprocess.run(asking, cwd=pipeline_runs.CHECKOUT, env=mine, check=True, timeout=300)
        time.sleep(2)
        missing = [one for one in _expressions() if prometheus and not _has_series(prometheus, one, start_s)]
    assert missing == []
    shown = {series.partition("{")[0] for series in scraper.series}
    assert {name for one in _expressions() for name in _names(one)} <= shown
    assert {f"ray_{name}" for name in observability.SERIES} <= shown
    ours = [series for series in scraper.series if series.startswith("ray_supreme_")]
    assert all('run="smoke"' in series and re.search(r'stage="\w+"', series) for series in ours)
    stages = {match for series in ours for match in re.findall(r'stage="(\w+)"', series)}
    assert {"shard", "label", "pretrain"} <= stages
    assert {match for series in ours for match in re.findall(r'rank="(\d)"', series)} == {"0", "1"}
    _check_logs(done.stderr)


def _check_logs(stderr: str) -> None:
    """JSON lines of the driver with run, stage and rank."""
    lines = [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]
    assert {line["stage"] for line in lines} >= {"shard", "label", "pretrain", "register", "report"}
    assert {(line["run"], line["rank"]) for line in lines if line["stage"] == "shard"} == {("smoke", 0)}
