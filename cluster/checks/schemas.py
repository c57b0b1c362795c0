"""Strict schemas: KubeRay's custom resources from its definitions, everything else from Kubernetes' own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from checks.manifests import Finding, Keys, Manifest, pods

#: The oldest Kubernetes that the manifests are for.
KUBERNETES = "1.30"
_FILES = {"RayCluster": "ray.io_rayclusters.yaml", "RayJob": "ray.io_rayjobs.yaml"}


def ray_objects(manifests: list[Manifest], definitions: Path) -> Iterator[Finding]:
    """What KubeRay's definitions do not know, or want in another form."""
    for one in manifests:
        if not str(one.body.get("apiVersion", "")).startswith("ray.io/"):
            continue
        if one.kind not in _FILES or one.body["apiVersion"] != "ray.io/v1":
            yield Finding(one, ("kind",), f"{one.body['apiVersion']} {one.kind} is not used here")
            continue
        for error in _validator(definitions, one.kind).iter_errors(one.body):
            yield _finding(one, (), error)


def core_objects(manifests: list[Manifest]) -> Iterator[Finding]:
    """What Kubernetes' schemas do not know, in objects and in the pod templates of Ray's."""
    for one in manifests:
        if not str(one.body.get("apiVersion", "")).startswith("ray.io/"):
            yield from _core(one, (), one.body)
    for pod in pods(manifests):
        if pod.manifest.kind in _FILES:
            body = {"apiVersion": "v1", "kind": "Pod", **pod.at()}
            yield from _core(pod.manifest, pod.keys, body)


def _core(manifest: Manifest, keys: Keys, body: Mapping[str, Any]) -> Iterator[Finding]:
    error = _core_error(json.dumps(body, sort_keys=True, default=str))
    if isinstance(error, str):
        yield Finding(manifest, (*keys, "kind"), error)
    elif error:
        yield _finding(manifest, keys, error)


@cache
def _core_error(body: str) -> Any:
    """The first error of an object; as text, so that equal ones are validated once: each takes 20 ms."""
    values = json.loads(body)
    try:
        kubernetes_validate.validate(values, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return error
    except kubernetes_validate.SchemaNotFoundError:
        return f"Kubernetes {KUBERNETES} has no {values.get('apiVersion')} {values.get('kind')}"
    return None


def _finding(manifest: Manifest, keys: Keys, error: Any) -> Finding:
    place = (*keys, *error.path)
    if error.validator == "additionalProperties" and isinstance(error.instance, Mapping):
        unknown = sorted(set(error.instance) - set(error.schema.get("properties", ())))
        return Finding(manifest, (*place, *unknown[:1]), "unknown key")
    return Finding(manifest, place, str(error.message)[:200])


@cache
def _validator(definitions: Path, kind: str) -> jsonschema.Draft202012Validator:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    definition = yaml.load((definitions / _FILES[kind]).read_text(), Loader=loader)
    versions = {version["name"]: version["schema"] for version in definition["spec"]["versions"]}
    return jsonschema.Draft202012Validator(_strict(versions["v1"]["openAPIV3Schema"]))


def _strict(schema: Any) -> Any:
    """The same schema, in which every object refuses keys that it does not list."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    result = {
        key: {name: _strict(one) for name, one in value.items()} if key == "properties" else _strict(value)
        for key, value in schema.items()
    }
    is_open = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and not is_open:
        result["additionalProperties"] = False
    return result
