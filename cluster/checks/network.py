"""Who reaches whom: services, policies and the ports behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from checks.manifests import Finding, Keys, Manifest, PodTemplate, of_kind, pods, ray_clusters

_DIRECTIONS = (("ingress", "from"), ("egress", "to"))
#: Ports that KubeRay's readiness probes and `ray start` use, beside those that a container lists.
_START_PARAMETERS = ("dashboard-agent-listen-port", "metrics-export-port")


def exposure(manifests: list[Manifest]) -> Iterator[Finding]:
    """Doors to the outside: services other than ClusterIP, ingresses, host ports."""
    for one in manifests:
        if one.kind == "Service" and one.at("spec", "type", default="ClusterIP") != "ClusterIP":
            yield Finding(one, ("spec", "type"), "must be ClusterIP: use `kubectl port-forward`")
        if one.kind in ("Ingress", "Gateway", "HTTPRoute"):
            yield Finding(one, ("kind",), "opens a door to the outside")
    for one, keys in ray_clusters(manifests):
        head = (*keys, "headGroupSpec")
        for place in ((*head, "serviceType"), (*head, "headService", "spec", "type")):
            if one.at(*place, default="ClusterIP") != "ClusterIP":
                yield Finding(one, place, "must be ClusterIP: use `kubectl port-forward`")
        if one.at(*head, "enableIngress"):
            yield Finding(one, (*head, "enableIngress"), "opens a door to the outside")
    for pod in pods(manifests):
        for keys, container in pod.containers:
            for number, port in enumerate(container.get("ports", ())):
                if "hostPort" in port:
                    yield Finding(pod.manifest, (*keys, "ports", number, "hostPort"), "must not be set")


def policies(manifests: list[Manifest]) -> Iterator[Finding]:
    """A policy that denies by default, and others that select pods, name their peers and real ports."""
    every = list(of_kind(manifests, "NetworkPolicy"))
    if not any(_denies_all(policy) for policy in every):
        owner = (every or manifests)[0]
        yield Finding(owner, ("spec", "policyTypes"), "no policy denies all ingress and egress by default")
    for policy in every:
        targets = _selected(policy.at("spec", "podSelector"), manifests)
        if not targets:
            yield Finding(policy, ("spec", "podSelector"), "selects no pod")
        for direction, peers in _DIRECTIONS:
            for number, rule in enumerate(policy.at("spec", direction, default=())):
                keys = ("spec", direction, number)
                if not rule.get(peers):
                    yield Finding(policy, (*keys, peers), "missing: the rule opens the pod to everybody")
                    continue
                yield from _peers(policy, (*keys, peers), rule[peers], manifests)
                inside = targets if direction == "ingress" else _inside(rule[peers], manifests)
                if inside:
                    yield from _unknown_ports(policy, keys, rule, inside)


def admitted(manifests: list[Manifest]) -> Iterator[Finding]:
    """Ports of pods to which no policy lets anybody."""
    for pod in pods(manifests):
        rules = [
            rule
            for policy in of_kind(manifests, "NetworkPolicy")
            if _matches(policy.at("spec", "podSelector"), pod.labels)
            for rule in policy.at("spec", "ingress", default=())
        ]
        for keys, container in pod.containers:
            for number, port in enumerate(container.get("ports", ())):
                if not any(_lets_in(rule, port) for rule in rules):
                    place = (*keys, "ports", number, "containerPort")
                    message = f"no policy lets anybody to port {port['containerPort']}"
                    yield Finding(pod.manifest, place, message)


def disruption(manifests: list[Manifest]) -> Iterator[Finding]:
    """Every Ray cluster's head is protected from voluntary disruption."""
    budgets = list(of_kind(manifests, "PodDisruptionBudget"))
    for budget in budgets:
        if not _selected(budget.at("spec", "selector"), manifests):
            yield Finding(budget, ("spec", "selector"), "selects no pod")
    for one in of_kind(manifests, "RayCluster"):
        head = next(pod for pod in pods([one]) if pod.extra_labels["ray.io/node-type"] == "head")
        if not any(_matches(budget.at("spec", "selector"), head.labels) for budget in budgets):
            yield Finding(one, ("spec", "headGroupSpec"), "no PodDisruptionBudget protects the head")


def _denies_all(policy: Manifest) -> bool:
    spec = policy.at("spec", default={})
    both = set(spec.get("policyTypes", ())) == {"Ingress", "Egress"}
    return both and spec.get("podSelector") == {} and not spec.get("ingress") and not spec.get("egress")


def _peers(
    policy: Manifest, keys: Keys, peers: list[Mapping[str, Any]], manifests: list[Manifest]
) -> Iterator[Finding]:
    for number, peer in enumerate(peers):
        here = "podSelector" in peer and "namespaceSelector" not in peer
        if here and not _selected(peer["podSelector"], manifests):
            yield Finding(policy, (*keys, number, "podSelector"), "selects no pod")
        if not peer or peer.get("namespaceSelector") == {}:
            yield Finding(policy, (*keys, number), "is everybody")
        block = peer.get("ipBlock", {})
        if block.get("cidr") == "0.0.0.0/0" and "169.254.0.0/16" not in block.get("except", ()):
            yield Finding(
                policy, (*keys, number, "ipBlock"), "reaches the cloud's metadata: except 169.254.0.0/16"
            )


def _unknown_ports(
    policy: Manifest, keys: Keys, rule: Mapping[str, Any], targets: list[PodTemplate]
) -> Iterator[Finding]:
    known = {port for pod in targets for port in _ports(pod)}
    for number, port in enumerate(rule.get("ports", ())):
        if port.get("port") not in known:
            yield Finding(policy, (*keys, "ports", number, "port"), f"no pod has port {port.get('port')}")


def _ports(pod: PodTemplate) -> Iterator[int | str]:
    for _, container in pod.containers:
        for port in container.get("ports", ()):
            yield port["containerPort"]
            yield port.get("name", "")
    yield from (int(pod.start_parameters[key]) for key in _START_PARAMETERS if key in pod.start_parameters)


def _lets_in(rule: Mapping[str, Any], port: Mapping[str, Any]) -> bool:
    ports = rule.get("ports")
    return not ports or any(one.get("port") in (port["containerPort"], port.get("name")) for one in ports)


def _inside(peers: list[Mapping[str, Any]], manifests: list[Manifest]) -> list[PodTemplate]:
    """The pods of this namespace among the peers."""
    selectors = [
        peer["podSelector"] for peer in peers if "namespaceSelector" not in peer and "podSelector" in peer
    ]
    return [pod for selector in selectors for pod in _selected(selector, manifests)]


def _selected(selector: Mapping[str, Any] | None, manifests: list[Manifest]) -> list[PodTemplate]:
    return [pod for pod in pods(manifests) if _matches(selector, pod.labels)]


def _matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    selector = selector or {}
    for expression in selector.get("matchExpressions", ()):
        if (labels.get(expression["key"]) in expression.get("values", ())) != (
            expression["operator"] == "In"
        ):
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()
