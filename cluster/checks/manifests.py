"""Rendered objects, the pods in them, and what is wrong with one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

#: Keys and list positions from the root of an object.
Keys = tuple[str | int, ...]


@dataclass(frozen=True)
class Manifest:
    """One object, as `kubectl kustomize` renders it."""

    body: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """Such as ``RayCluster``."""
        return str(self.body.get("kind", ""))

    @property
    def name(self) -> str:
        """``metadata.name``."""
        return str(self.at("metadata", "name", default=""))

    def at(self, *keys: str | int, default: Any = None) -> Any:
        """The value below these keys, or the default."""
        return below(self.body, keys, default)


@dataclass(frozen=True)
class Finding:
    """Something wrong, with the place."""

    manifest: Manifest
    keys: Keys
    message: str
    file: str = ""
    """Of the source that set the value."""

    @property
    def key(self) -> str:
        """The place as text: ``spec.template.spec.containers.0.image``."""
        return ".".join(map(str, self.keys))

    def __str__(self) -> str:
        return f"{self.file}: {self.manifest.kind}/{self.manifest.name} {self.key}: {self.message}"


@dataclass(frozen=True)
class PodTemplate:
    """A pod that some object creates."""

    manifest: Manifest
    keys: Keys
    """Of the template in the object."""
    extra_labels: Mapping[str, str] = field(default_factory=dict)
    """Added by KubeRay's operator."""
    start_parameters: Mapping[str, str] = field(default_factory=dict)
    """``rayStartParams`` of a Ray pod."""

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels that policies and services select by."""
        return {**self.at("metadata", "labels", default={}), **self.extra_labels}

    @property
    def containers(self) -> Iterator[tuple[Keys, Mapping[str, Any]]]:
        """Every container with its place, init containers too."""
        for group in ("initContainers", "containers"):
            for number, container in enumerate(self.at("spec", group, default=())):
                yield (*self.keys, "spec", group, number), container

    def at(self, *keys: str | int, default: Any = None) -> Any:
        """The value below these keys of the template, or the default."""
        return self.manifest.at(*self.keys, *keys, default=default)


Rule = Callable[[list[Manifest]], Iterator[Finding]]


def below(value: Any, keys: Keys, default: Any = None) -> Any:
    """The value below ``keys`` in nested mappings and lists, or the default."""
    for key in keys:
        inside = isinstance(value, list) and isinstance(key, int) and key < len(value)
        if not inside and not (isinstance(value, Mapping) and key in value):
            return default
        value = value[key]
    return value


def of_kind(manifests: list[Manifest], *kinds: str) -> Iterator[Manifest]:
    """The objects of these kinds."""
    return (one for one in manifests if one.kind in kinds)


def pods(manifests: list[Manifest]) -> Iterator[PodTemplate]:
    """Every pod template, with the labels that KubeRay adds."""
    for one in manifests:
        if one.kind in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            yield PodTemplate(one, ("spec", "template"))
        elif one.kind == "CronJob":
            yield PodTemplate(one, ("spec", "jobTemplate", "spec", "template"))
        elif one.kind == "RayJob" and one.at("spec", "submitterPodTemplate"):
            yield PodTemplate(one, ("spec", "submitterPodTemplate"))
        yield from _ray_pods(one)


def ray_clusters(manifests: list[Manifest]) -> Iterator[tuple[Manifest, Keys]]:
    """Every specification of a Ray cluster with its place: of a RayCluster, or inside a RayJob."""
    for one in manifests:
        if one.kind == "RayCluster":
            yield one, ("spec",)
        elif one.kind == "RayJob" and one.at("spec", "rayClusterSpec"):
            yield one, ("spec", "rayClusterSpec")


def _ray_pods(one: Manifest) -> Iterator[PodTemplate]:
    for _, keys in ray_clusters([one]):
        common = {"ray.io/cluster": one.name, "ray.io/is-ray-node": "yes"}
        head = (*keys, "headGroupSpec")
        yield PodTemplate(
            one,
            (*head, "template"),
            {**common, "ray.io/node-type": "head", "ray.io/group": "headgroup"},
            one.at(*head, "rayStartParams", default={}),
        )
        for number, group in enumerate(one.at(*keys, "workerGroupSpecs", default=())):
            yield PodTemplate(
                one,
                (*keys, "workerGroupSpecs", number, "template"),
                {**common, "ray.io/node-type": "worker", "ray.io/group": str(group.get("groupName"))},
                group.get("rayStartParams") or {},
            )
