"""All rules on the objects of some kustomizations."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from checks import containers, network, operator_rules, ours, references, schemas, syntax
from checks.manifests import Finding, Manifest, Rule
from checks.render import Sources, render

README = Path(__file__).resolve().parents[1] / "kuberay" / "README.md"
RULES: tuple[Rule, ...] = (
    *(syntax.names, syntax.ports, syntax.quantities, syntax.volumes, syntax.services),
    *(containers.privileges, containers.resources, containers.probes, containers.images),
    *(network.exposure, network.policies, network.admitted, network.disruption),
    *(operator_rules.authentication, operator_rules.gates, operator_rules.autoscaling, operator_rules.jobs),
    *(references.plain_secrets, partial(references.existence, readme=README)),
    *(ours.versions, ours.commands, ours.pools),
    schemas.core_objects,
)


def definitions() -> Path | None:
    """The folder of KubeRay's custom resource definitions: SUPREME_KUBERAY, or one beside the checkout."""
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "kuberay"
    folder = Path(os.environ.get("SUPREME_KUBERAY", beside))
    return folder if (folder / "ray.io_rayclusters.yaml").is_file() else None


def check(folders: Iterable[Path]) -> list[Finding]:
    """What is wrong with the objects of these kustomizations together.

    Raises:
        ValueError: kustomize refuses one of them.
    """
    sources: list[tuple[list[Manifest], Sources]] = [(render(one), Sources(one)) for one in folders]
    manifests = [manifest for rendered, _ in sources for manifest in rendered]
    rules = list(RULES)
    if folder := definitions():
        rules.append(partial(schemas.ray_objects, definitions=folder))
    results = [finding for rule in rules for finding in rule(manifests)]
    return [_located(finding, sources) for finding in results]


def _located(finding: Finding, sources: list[tuple[list[Manifest], Sources]]) -> Finding:
    for rendered, files in sources:
        if any(one is finding.manifest for one in rendered):
            return replace(finding, file=files.locate(finding.manifest, finding.keys))
    raise AssertionError("a finding of no object")
