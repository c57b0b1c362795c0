"""Kustomizations are valid without a cluster, and every planted fault is found with file and key."""

from __future__ import annotations

import importlib.util
import json
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from checks.everything import check, definitions
from checks.manifests import of_kind
from checks.render import render
from jsonschema import Draft7Validator

from supreme.runtime.environment import ENVIRONMENT

pytestmark = pytest.mark.unit

KUBERAY = Path(__file__).resolve().parents[2] / "cluster" / "kuberay"
OVERLAYS = sorted(folder.name for folder in (KUBERAY / "overlays").iterdir())


@dataclass(frozen=True)
class Fault:
    """One change to one file; `data/manifest_faults.toml` says what the fields mean."""

    name: str
    file: str
    old: str
    new: str
    message: str
    key: str = ""
    overlay: str = "one-gpu"
    reported: str = ""

    def plant(self, folder: Path) -> None:
        file = folder / self.file
        text = file.read_text()
        assert self.old in text, f"{file.name} has changed: plant the fault elsewhere"
        file.write_text(text.replace(self.old, self.new, 1))


_TABLE = tomllib.loads((Path(__file__).parent / "data" / "manifest_faults.toml").read_text())
FAULTS = [Fault(**values) for values in _TABLE["fault"]]


@pytest.fixture(scope="module", autouse=True)
def schemas() -> None:
    """Without KubeRay's definitions half of the rules would be silent."""
    if definitions() is None:
        pytest.skip("no definitions of KubeRay: set SUPREME_KUBERAY to a folder with ray.io_rayclusters.yaml")


def test_the_overlays_are_these() -> None:
    assert OVERLAYS == ["locked-down", "many-gpus", "on-premises", "one-gpu"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlay_is_valid(overlay: str) -> None:
    assert [str(finding) for finding in check([KUBERAY / "overlays" / overlay])] == []


def test_the_language_model_is_valid_beside_an_overlay_and_not_alone() -> None:
    vllm = KUBERAY.parent / "vllm"
    assert [str(finding) for finding in check([KUBERAY / "overlays" / "one-gpu", vllm])] == []
    alone = {f"{finding.manifest.name}: {finding.message}" for finding in check([vllm])}
    assert "vllm-clients: selects no pod" in alone


def test_virtual_machines_are_what_ray_up_takes() -> None:
    spec = importlib.util.find_spec("ray")
    assert spec
    assert spec.origin
    schema = json.loads((Path(spec.origin).parent / "autoscaler" / "ray-schema.json").read_text())
    text = (KUBERAY.parent / "vm" / "aws.yaml").read_text()
    cluster = yaml.safe_load(text)
    assert [error.message for error in Draft7Validator(schema).iter_errors(cluster)] == []
    assert cluster["provider"]["use_internal_ips"] is True
    nodes = cluster["available_node_types"]
    assert nodes["head"]["resources"] == {"CPU": 0}
    assert nodes["gpu"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    for node in nodes.values():
        assert node["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
        assert all(disk["Ebs"]["Encrypted"] for disk in node["node_config"]["BlockDeviceMappings"])
    commands = " ".join(cluster["setup_commands"])
    assert commands.count("--constraint constraints.txt") == commands.count("pip install")
    assert "RAY_AUTH_MODE=token" in commands
    assert "dashboard-host=127.0.0.1" in text
    assert "cluster/vm/token" in (KUBERAY.parents[1] / ".gitignore").read_text()


def test_every_stage_of_the_pipeline_has_a_job() -> None:
    jobs = {one.name for one in of_kind(render(KUBERAY / "overlays" / "one-gpu"), "RayJob")}
    assert jobs == {"shard", "label", "pretrain", "sweep", "register", "evaluate", "promote", "report"}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_planted_fault_is_found_with_file_and_key(tmp_path: Path, fault: Fault) -> None:
    copy = Path(shutil.copytree(KUBERAY, tmp_path / "kuberay"))
    fault.plant(copy)
    if not fault.key:
        with pytest.raises(ValueError, match=fault.message):
            check([copy / "overlays" / fault.overlay])
        return
    findings = check([copy / "overlays" / fault.overlay])
    matches = [one for one in findings if one.key.endswith(fault.key) and fault.message in one.message]
    assert matches, "\n".join(map(str, findings)) or "nothing was found"
    assert {one.file for one in matches} == {str(copy / (fault.reported or fault.file))}


def test_pods_and_virtual_machines_have_the_environment_of_every_job() -> None:
    manifests = render(KUBERAY / "base")
    [pods] = [one for one in of_kind(manifests, "ConfigMap") if one.name == "environment"]
    data = pods.at("data")
    # Who may reach the metrics port is a matter of the network policies.
    shared = (data.keys() & ENVIRONMENT.keys()) - {"RAY_enable_metrics_collection"}
    assert len(shared) >= 8
    assert {name: data[name] for name in shared} == {name: ENVIRONMENT[name] for name in shared}
    text = (KUBERAY.parent / "vm" / "aws.yaml").read_text()
    for name in ("RAY_DATA_USE_DATASOURCE_V2", "RAY_enable_metrics_collection", "OMP_WAIT_POLICY"):
        assert f"{name}={ENVIRONMENT[name]}" in text


def test_the_image_is_built_from_the_constraints_and_runs_as_a_user() -> None:
    lines = (KUBERAY.parent / "Containerfile").read_text().splitlines()
    installs = [line for line in lines if "pip install" in line]
    assert installs
    assert all("--constraint constraints.txt" in line for line in installs)
    base = next(line for line in lines if line.startswith("ARG BASE=")).partition("=")[2]
    assert base.partition(":")[2] not in ("", "latest")
    assert [line for line in lines if line.startswith("USER ")][-1:] == ["USER 1000:1000"]
    assert lines[-1].startswith("USER ")
