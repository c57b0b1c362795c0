"""Secrets and ConfigMaps that are referred to, and secrets where none belong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from checks.manifests import Finding, Keys, Manifest, of_kind, pods, ray_clusters

_SECRET_NAME = re.compile(r"(TOKEN|PASSWORD|PASSWD|SECRET|CREDENTIAL|API_?KEY|ACCESS_KEY)", re.I)
_LOGIN = re.compile(r"://[^/\s:@]+:[^/\s@]+@")
_KEY_FORMS = re.compile(
    r"\b(AKIA[0-9A-Z]{16}|gh[pousr]_\w{30,}|hf_\w{30,}|sk-[\w-]{20,})\b|-----BEGIN [A-Z ]*KEY"
)


def plain_secrets(manifests: list[Manifest]) -> Iterator[Finding]:
    """Secrets in the manifests: whoever reads the repository, the dashboard or the API server has them."""
    for one in manifests:
        if one.kind == "Secret":
            yield Finding(one, ("kind",), "a Secret in a file: create it with kubectl, README says how")
        for keys, text in _texts((), one.body):
            if _LOGIN.search(text) or _KEY_FORMS.search(text):
                yield Finding(one, keys, "holds a login or a key")
    for pod in pods(manifests):
        for keys, container in pod.containers:
            for number, variable in enumerate(container.get("env", ())):
                if _SECRET_NAME.search(variable["name"]) and "value" in variable:
                    yield Finding(pod.manifest, (*keys, "env", number, "value"), "a secret: use secretKeyRef")
    for one in of_kind(manifests, "ConfigMap"):
        for key in one.at("data", default={}):
            if _SECRET_NAME.search(key):
                yield Finding(one, ("data", key), "a secret in a ConfigMap: use a Secret")
    for one in of_kind(manifests, "RayJob"):
        if "env_vars" in str(one.at("spec", "runtimeEnvYAML", default="")):
            message = "env_vars are shown in dashboard and logs: set them in pods"
            yield Finding(one, ("spec", "runtimeEnvYAML"), message)


def existence(manifests: list[Manifest], readme: Path) -> Iterator[Finding]:
    """ConfigMaps that are not rendered, and Secrets that README does not say how to create."""
    maps = {one.name: set(one.at("data", default={})) for one in of_kind(manifests, "ConfigMap")}
    secrets = _described_secrets(readme)
    for one, keys, kind, name, key in _references(manifests):
        known = maps if kind == "ConfigMap" else secrets
        where = "the manifests" if kind == "ConfigMap" else readme.name
        if name not in known:
            yield Finding(one, keys, f"no {kind} {name!r} in {where}")
        elif key and key not in known[name]:
            yield Finding(one, keys, f"the {kind} {name!r} has no key {key!r} in {where}")


def _described_secrets(readme: Path) -> dict[str, set[str]]:
    """Names and keys of the Secrets in the ``kubectl create secret`` commands of a page."""
    text = readme.read_text().replace("\\\n", " ") if readme.exists() else ""
    commands = re.findall(r"create secret generic (\S+)([^\n]*)", text)
    return {name: set(re.findall(r"--from-(?:literal|file)=([\w.-]+)=", rest)) for name, rest in commands}


_Reference = tuple[Manifest, Keys, str, str, str]


def _references(manifests: list[Manifest]) -> Iterator[_Reference]:
    """Object, place, kind, name and key of every reference."""
    for pod in pods(manifests):
        for number, volume in enumerate(pod.at("spec", "volumes", default=())):
            keys = (*pod.keys, "spec", "volumes", number)
            if "configMap" in volume:
                yield (
                    pod.manifest,
                    (*keys, "configMap", "name"),
                    "ConfigMap",
                    volume["configMap"].get("name", ""),
                    "",
                )
            if "secret" in volume:
                yield (
                    pod.manifest,
                    (*keys, "secret", "secretName"),
                    "Secret",
                    volume["secret"].get("secretName", ""),
                    "",
                )
        for keys, container in pod.containers:
            yield from _of_container(pod.manifest, keys, container)
    for one, keys in ray_clusters(manifests):
        if name := one.at(*keys, "authOptions", "secretName"):
            yield one, (*keys, "authOptions", "secretName"), "Secret", name, "auth_token"


def _of_container(one: Manifest, keys: Keys, container: Mapping[str, Any]) -> Iterator[_Reference]:
    for number, source in enumerate(container.get("envFrom", ())):
        for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            if field in source:
                yield one, (*keys, "envFrom", number, field, "name"), kind, source[field]["name"], ""
    for number, variable in enumerate(container.get("env", ())):
        for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
            if field in variable.get("valueFrom", {}):
                reference = variable["valueFrom"][field]
                place = (*keys, "env", number, "valueFrom", field, "name")
                yield one, place, kind, reference["name"], reference["key"]


def _texts(keys: Keys, value: Any) -> Iterator[tuple[Keys, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _texts((*keys, key), item)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _texts((*keys, number), item)
    elif isinstance(value, str):
        yield keys, value
