"""What a pod may do and must say: privileges, resources, probes, images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from checks.manifests import Finding, Keys, Manifest, PodTemplate, pods, ray_clusters

_VOLUMES = frozenset(("emptyDir", "configMap", "secret", "persistentVolumeClaim", "projected"))


def privileges(manifests: list[Manifest]) -> Iterator[Finding]:
    """Pods that could do more than run as a user of their own with a read-only root."""
    for pod in pods(manifests):
        spec = (*pod.keys, "spec")
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.at("spec", key):
                yield Finding(pod.manifest, (*spec, key), "shares a name space with the node")
        context = pod.at("spec", "securityContext", default={})
        if context.get("runAsNonRoot") is not True:
            yield Finding(pod.manifest, (*spec, "securityContext", "runAsNonRoot"), "must be true")
        if context.get("runAsUser", 0) == 0:
            yield Finding(pod.manifest, (*spec, "securityContext", "runAsUser"), "must be a user but root")
        if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield Finding(pod.manifest, (*spec, "securityContext", "seccompProfile"), "RuntimeDefault")
        for number, volume in enumerate(pod.at("spec", "volumes", default=())):
            for kind in volume.keys() - {"name"} - _VOLUMES:
                yield Finding(pod.manifest, (*spec, "volumes", number, kind), "is no volume of the pod's own")
        if not _needs_api(pod) and pod.at("spec", "automountServiceAccountToken") is not False:
            place = (*spec, "automountServiceAccountToken")
            yield Finding(pod.manifest, place, "must be false: the pod asks the API server nothing")
        for keys, container in pod.containers:
            yield from _locked(pod.manifest, (*keys, "securityContext"), container.get("securityContext"))
    for one, keys in ray_clusters(manifests):
        if one.at(*keys, "enableInTreeAutoscaling"):
            place = (*keys, "autoscalerOptions", "securityContext")
            yield from _locked(one, place, one.at(*place))


def resources(manifests: list[Manifest]) -> Iterator[Finding]:
    """Containers without requests and limits, or with more memory than they asked for."""
    for pod in pods(manifests):
        for keys, container in pod.containers:
            yield from _resources(pod.manifest, (*keys, "resources"), container.get("resources") or {})
    for one, keys in ray_clusters(manifests):
        if one.at(*keys, "enableInTreeAutoscaling"):
            place = (*keys, "autoscalerOptions", "resources")
            yield from _resources(one, place, one.at(*place, default={}))


def probes(manifests: list[Manifest]) -> Iterator[Finding]:
    """Servers without a readiness and a liveness probe; init containers and submitters end by themselves."""
    for pod in pods(manifests):
        for keys, container in pod.containers:
            if pod.manifest.kind in ("RayJob", "Job", "CronJob") or keys[-2] == "initContainers":
                continue
            for probe in ("readinessProbe", "livenessProbe"):
                if probe not in container:
                    yield Finding(pod.manifest, (*keys, probe), "missing")


def images(manifests: list[Manifest]) -> Iterator[Finding]:
    """Images without a fixed version."""
    for pod in pods(manifests):
        for keys, container in pod.containers:
            image = str(container.get("image", ""))
            tag = image.rpartition("/")[2].partition(":")[2]
            if "@sha256:" not in image and tag in ("", "latest"):
                message = f"{image!r} has no fixed version: name a tag or a digest"
                yield Finding(pod.manifest, (*keys, "image"), message)


def _needs_api(pod: PodTemplate) -> bool:
    return pod.extra_labels.get("ray.io/node-type") == "head"


def _locked(manifest: Manifest, keys: Keys, context: Mapping[str, Any] | None) -> Iterator[Finding]:
    context = context or {}
    for key, value in (("allowPrivilegeEscalation", False), ("readOnlyRootFilesystem", True)):
        if context.get(key) is not value:
            yield Finding(manifest, (*keys, key), f"must be {str(value).lower()}")
    if context.get("privileged"):
        yield Finding(manifest, (*keys, "privileged"), "must not be set")
    if context.get("runAsNonRoot") is False or context.get("runAsUser") == 0:
        yield Finding(manifest, (*keys, "runAsNonRoot"), "the container would run as root")
    if context.get("capabilities", {}).get("drop") != ["ALL"]:
        yield Finding(manifest, (*keys, "capabilities", "drop"), "must be [ALL]")
    if context.get("capabilities", {}).get("add"):
        yield Finding(manifest, (*keys, "capabilities", "add"), "must not be set")


def _resources(manifest: Manifest, keys: Keys, values: Mapping[str, Any]) -> Iterator[Finding]:
    requests, limits = values.get("requests") or {}, values.get("limits") or {}
    for group, amounts in (("requests", requests), ("limits", limits)):
        for resource in ("cpu", "memory"):
            if resource not in amounts:
                yield Finding(manifest, (*keys, group, resource), "missing")
    for resource in ("memory", "nvidia.com/gpu"):
        if requests.get(resource) != limits.get(resource):
            place = (*keys, "limits", resource)
            yield Finding(
                manifest, place, f"{limits.get(resource)} is not requests ({requests.get(resource)})"
            )
