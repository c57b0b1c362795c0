"""What schemas let through: names, labels, ports and references inside a pod."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from checks.manifests import Finding, Keys, Manifest, PodTemplate, of_kind, pods

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|[MGTPE]i?|Ki)?")
#: Where the operator adds what it names its objects by.
_MAX_NAME = {"RayCluster": 53, "RayJob": 47, "Service": 63}


def names(manifests: list[Manifest]) -> Iterator[Finding]:
    """Names and label values that the API server refuses, and objects that are there twice."""
    seen: set[tuple[str, str]] = set()
    for one in manifests:
        pattern = _DNS_1035 if one.kind in _MAX_NAME else _SUBDOMAIN
        if not pattern.fullmatch(one.name) or len(one.name) > _MAX_NAME.get(one.kind, 253):
            yield Finding(one, ("metadata", "name"), f"{one.name!r} is no name for a {one.kind}")
        if (one.kind, one.name) in seen:
            yield Finding(one, ("metadata", "name"), "is there twice")
        seen.add((one.kind, one.name))
        if one.kind != "Namespace" and not one.at("metadata", "namespace"):
            yield Finding(one, ("metadata", "namespace"), "no namespace: it would land in `default`")
        for key, value in one.at("metadata", "labels", default={}).items():
            if not _LABEL_VALUE.fullmatch(str(value)) or len(str(value)) > 63:
                yield Finding(one, ("metadata", "labels", key), f"{value!r} is no value of a label")
    for pod in pods(manifests):
        for keys, container in pod.containers:
            if not _LABEL.fullmatch(str(container.get("name"))):
                yield Finding(pod.manifest, (*keys, "name"), f"{container.get('name')!r} is no name")


def ports(manifests: list[Manifest]) -> Iterator[Finding]:
    """Port numbers outside 1-65535, anywhere."""
    for one in manifests:
        for keys, value in _leaves((), one.body):
            if keys[-1] in ("port", "containerPort", "targetPort", "nodePort", "endPort") and (
                isinstance(value, int) and not 1 <= value <= 65535
            ):
                yield Finding(one, keys, f"{value} is no port")


def quantities(manifests: list[Manifest]) -> Iterator[Finding]:
    """CPU and memory that are no quantities."""
    for pod in pods(manifests):
        for keys, container in pod.containers:
            for kind, values in container.get("resources", {}).items():
                for resource, value in values.items() if isinstance(values, dict) else ():
                    if not _QUANTITY.fullmatch(str(value)):
                        place = (*keys, "resources", kind, resource)
                        yield Finding(pod.manifest, place, f"{value!r} is no quantity")


def volumes(manifests: list[Manifest]) -> Iterator[Finding]:
    """Mounts without a volume."""
    for pod in pods(manifests):
        known = {volume["name"] for volume in pod.at("spec", "volumes", default=())}
        known |= _claims(pod)
        for keys, container in pod.containers:
            for number, mount in enumerate(container.get("volumeMounts", ())):
                if mount["name"] not in known:
                    place = (*keys, "volumeMounts", number, "name")
                    yield Finding(pod.manifest, place, f"the pod has no volume {mount['name']!r}")


def services(manifests: list[Manifest]) -> Iterator[Finding]:
    """Services that lead to no pod, or to a port that it does not have."""
    for service in of_kind(manifests, "Service"):
        selector = service.at("spec", "selector", default={})
        targets = [pod for pod in pods(manifests) if selector.items() <= pod.labels.items()]
        if not targets:
            yield Finding(service, ("spec", "selector"), "selects no pod")
            continue
        known = {
            port[key]
            for pod in targets
            for _, container in pod.containers
            for port in container.get("ports", ())
            for key in ("name", "containerPort")
            if key in port
        }
        for number, port in enumerate(service.at("spec", "ports", default=())):
            target = port.get("targetPort", port["port"])
            if target not in known:
                yield Finding(service, ("spec", "ports", number, "targetPort"), f"no pod has port {target}")


def _claims(pod: PodTemplate) -> set[str]:
    claims = pod.manifest.at("spec", "volumeClaimTemplates", default=())
    return {claim["metadata"]["name"] for claim in claims}


def _leaves(keys: Keys, value: Any) -> Iterator[tuple[Keys, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves((*keys, key), item)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _leaves((*keys, number), item)
    elif keys:
        yield keys, value
