"""What KubeRay's operator refuses (v1.7, `utils/validation.go`) or would run otherwise than meant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from checks.manifests import Finding, Keys, Manifest, of_kind, ray_clusters

GATES = "supreme-ecg/feature-gates"
#: What is off in the operator by default -> its feature gate.
_GATED = {
    "tlsOptions": "RayClusterMTLS",
    "networkPolicy": "RayClusterNetworkPolicy",
    "historyServerOptions": "RayClusterHistoryServer",
}
_TLS = frozenset(("RAY_USE_TLS", "RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT"))
_REDIS = frozenset(("redisAddress", "redisUsername", "redisPassword", "externalStorageNamespace"))
_IN_START = frozenset(("num-cpus", "num-gpus", "memory", "resources"))


def authentication(manifests: list[Manifest]) -> Iterator[Finding]:
    """Every Ray cluster asks for a token, from a Secret of ours."""
    for one, keys in ray_clusters(manifests):
        options, place = one.at(*keys, "authOptions", default={}), (*keys, "authOptions")
        if options.get("mode") != "token":
            yield Finding(one, (*place, "mode"), "must be token: whoever reaches the cluster could run code")
        elif _version(one.at(*keys, "rayVersion")) < (2, 52):
            yield Finding(one, (*keys, "rayVersion"), "tokens need Ray 2.52")
        by_kubernetes = options.get("enableK8sTokenAuth")
        if by_kubernetes and (options.get("secretName") or one.kind == "RayJob"):
            message = "excludes secretName, and is refused for a RayJob"
            yield Finding(one, (*place, "enableK8sTokenAuth"), message)
        elif not by_kubernetes and not options.get("secretName"):
            yield Finding(one, (*place, "secretName"), "missing: the Secret that holds the token")


def gates(manifests: list[Manifest]) -> Iterator[Finding]:
    """What needs a feature gate says so in an annotation."""
    for one, keys in ray_clusters(manifests):
        stated = str(one.at("metadata", "annotations", GATES, default="")).split(",")
        needed = {(*keys, key): gate for key, gate in _GATED.items() if one.at(*keys, key) is not None}
        storage = (*keys, "gcsFaultToleranceOptions", "backend")
        if one.at(*storage) == "rocksdb":
            needed[storage] = "GCSFaultToleranceEmbeddedStorage"
            yield from _rocksdb(one, keys)
        for place, gate in needed.items():
            if gate not in stated:
                yield Finding(one, place, f"needs the operator's feature gate {gate}: name it in {GATES}")
        if one.at(*keys, "tlsOptions", "enabled"):
            yield from _own_tls(one, keys)
    for one in of_kind(manifests, "RayCronJob"):
        yield Finding(one, ("kind",), "needs the operator's feature gate RayCronJob")


def autoscaling(manifests: list[Manifest]) -> Iterator[Finding]:
    """Autoscaler v2 with bounds; no work on the head; resources named in one place."""
    for one, keys in ray_clusters(manifests):
        if one.at(*keys, "enableInTreeAutoscaling") is not True:
            yield Finding(one, (*keys, "enableInTreeAutoscaling"), "must be true: pools go to zero when idle")
        if one.at(*keys, "autoscalerOptions", "version") != "v2":
            yield Finding(one, (*keys, "autoscalerOptions", "version"), "must be v2")
        head = (*keys, "headGroupSpec")
        if one.at(*head, "rayStartParams", "num-cpus") != "0":
            place = (*head, "rayStartParams", "num-cpus")
            yield Finding(one, place, 'must be "0": work on the head could take the cluster down')
        groups = [
            (*keys, "workerGroupSpecs", n) for n in range(len(one.at(*keys, "workerGroupSpecs", default=())))
        ]
        for group in (head, *groups):
            policy = (*group, "template", "spec", "restartPolicy")
            if one.at(*policy, default="Never") != "Never":
                yield Finding(one, policy, "must be Never with autoscaler v2")
            if (
                one.at(*group, "resources")
                and _IN_START & one.at(*group, "rayStartParams", default={}).keys()
            ):
                yield Finding(one, (*group, "resources"), "is also in rayStartParams: use one")
        for group in groups:
            least, most = one.at(*group, "minReplicas", default=0), one.at(*group, "maxReplicas")
            if not isinstance(most, int) or not 0 <= least <= most:
                place = (*group, "maxReplicas")
                yield Finding(one, place, f"{most} is no upper bound of minReplicas={least}")


def jobs(manifests: list[Manifest]) -> Iterator[Finding]:
    """Every RayJob ends by itself, is deleted after a while, and names a cluster that is there."""
    clusters = {one.name for one in of_kind(manifests, "RayCluster")}
    for one in of_kind(manifests, "RayJob"):
        if (one.at("spec", "activeDeadlineSeconds") or 0) <= 0:
            yield Finding(
                one, ("spec", "activeDeadlineSeconds"), "missing: the job could wait or hang for ever"
            )
        selector = one.at("spec", "clusterSelector", default={})
        name = selector.get("ray.io/cluster")
        if selector and name not in clusters:
            yield Finding(one, ("spec", "clusterSelector", "ray.io/cluster"), f"no RayCluster {name!r}")
        if not selector and not one.at("spec", "rayClusterSpec"):
            yield Finding(one, ("spec", "clusterSelector"), "neither this nor rayClusterSpec is set")
        if selector and one.at("spec", "backoffLimit"):
            yield Finding(
                one, ("spec", "backoffLimit"), "is refused with clusterSelector: use submitterConfig"
            )
        if one.at("spec", "submissionMode") == "SidecarMode":
            for key in ("clusterSelector", "submitterPodTemplate", "submitterConfig"):
                if one.at("spec", key):
                    yield Finding(one, ("spec", key), "is refused in SidecarMode")
        yield from _deletion(one, bool(selector))


def _deletion(one: Manifest, selected: bool) -> Iterator[Finding]:
    keys = ("spec", "deletionStrategy", "deletionRules")
    rules, seen = one.at(*keys, default=()), set()
    if rules and one.at("spec", "shutdownAfterJobFinishes"):
        yield Finding(one, ("spec", "shutdownAfterJobFinishes"), "excludes deletionRules")
    for number, rule in enumerate(rules):
        condition = rule.get("condition", {})
        if len({"jobStatus", "jobDeploymentStatus"} & condition.keys()) != 1:
            yield Finding(
                one, (*keys, number, "condition"), "names exactly one of jobStatus, jobDeploymentStatus"
            )
        if condition.get("ttlSeconds", 0) <= 0:
            yield Finding(
                one, (*keys, number, "condition", "ttlSeconds"), "missing: the log would be gone at once"
            )
        if selected and rule.get("policy") in ("DeleteCluster", "DeleteWorkers"):
            yield Finding(one, (*keys, number, "policy"), f"{rule['policy']} is refused with clusterSelector")
        pair = (condition.get("jobStatus"), condition.get("jobDeploymentStatus"), rule.get("policy"))
        if pair in seen:
            yield Finding(one, (*keys, number), "is there twice")
        seen.add(pair)
    for status in ("SUCCEEDED", "FAILED"):
        if not any(rule.get("condition", {}).get("jobStatus") == status for rule in rules):
            yield Finding(one, keys, f"no rule deletes a job that has {status}")


def _rocksdb(one: Manifest, keys: Keys) -> Iterator[Finding]:
    place = (*keys, "gcsFaultToleranceOptions")
    if _version(one.at(*keys, "rayVersion")) < (2, 57):
        yield Finding(one, (*keys, "rayVersion"), "the control store on RocksDB needs Ray 2.57")
    for key in sorted(_REDIS & one.at(*place).keys()):
        yield Finding(one, (*place, key), "is for Redis, not for rocksdb")


def _own_tls(one: Manifest, keys: Keys) -> Iterator[Finding]:
    templates = [(*keys, "headGroupSpec", "template")]
    count = len(one.at(*keys, "workerGroupSpecs", default=()))
    templates += [(*keys, "workerGroupSpecs", number, "template") for number in range(count)]
    for template in templates:
        variables: list[Any] = one.at(*template, "spec", "containers", 0, "env", default=[])
        for number, variable in enumerate(variables):
            if variable["name"] in _TLS:
                place = (*template, "spec", "containers", 0, "env", number, "name")
                yield Finding(one, place, "is set by the operator with tlsOptions")


def _version(text: Any) -> tuple[int, ...]:
    return tuple(int(part) for part in str(text).split(".")[:2] if part.isdigit()) or (0,)
