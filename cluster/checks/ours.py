"""What only this project can know: its versions, its jobs, its recipes, its pools."""

from __future__ import annotations

import re
import shlex
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

from checks.manifests import Finding, Manifest, of_kind, pods, ray_clusters
from supreme import config

ROOT = Path(__file__).resolve().parents[2]
CODE, RECIPES = "/opt/supreme/", "/etc/supreme/"


def versions(manifests: list[Manifest]) -> Iterator[Finding]:
    """Image tag = `rayVersion` = constraints.txt, and the version of this project."""
    pins = re.findall(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    tag = f"{project['version']}-ray{pins[0]}"
    for one, keys in ray_clusters(manifests):
        if one.at(*keys, "rayVersion") != pins[0]:
            message = f"{one.at(*keys, 'rayVersion')} is not constraints.txt's ray=={pins[0]}"
            yield Finding(one, (*keys, "rayVersion"), message)
    for pod in pods(manifests):
        for keys, container in pod.containers:
            name, _, version = str(container.get("image", "")).rpartition("/")[2].partition(":")
            if name == "supreme" and version != tag:
                yield Finding(pod.manifest, (*keys, "image"), f"tag {version!r} is not {tag!r}")


def commands(manifests: list[Manifest]) -> Iterator[Finding]:
    """Jobs that exist, with recipes and keys that `config.load` takes."""
    recipes = {one.name: one for one in of_kind(manifests, "ConfigMap")}
    for job in of_kind(manifests, "RayJob"):
        place = ("spec", "entrypoint")
        program, *words = shlex.split(str(job.at(*place, default=""))) or [""]
        script = words.pop(0) if program == "python" and words else ""
        name = script.removeprefix(f"{CODE}jobs/")
        if name == script or not (ROOT / "jobs" / name).is_file():
            yield Finding(job, place, f"no job {script or program!r}: python {CODE}jobs/NAME.py ...")
            continue
        if "--config" not in words[:-1]:
            yield Finding(job, place, "no --config RECIPE")
            continue
        recipe = words.pop(words.index("--config") + 1)
        overrides = [word for word in words if not word.startswith("--")]
        yield from _recipe(job, recipes, recipe, overrides)


def pools(manifests: list[Manifest]) -> Iterator[Finding]:
    """Training workers that the pools can hold, and GPUs that the quota lets them have."""
    quota = next(of_kind(manifests, "ResourceQuota"), None)
    for one, keys in ray_clusters(manifests):
        gpus = 0
        for group in one.at(*keys, "workerGroupSpecs", default=()):
            limits = group["template"]["spec"]["containers"][0].get("resources", {}).get("limits", {})
            gpus += int(limits.get("nvidia.com/gpu", 0)) * int(group.get("maxReplicas") or 0)
        allowed = quota.at("spec", "hard", "requests.nvidia.com/gpu") if quota else None
        if quota and (allowed is None or int(allowed) < gpus):
            message = f"{allowed} is less than the {gpus} GPUs of the pools"
            yield Finding(quota, ("spec", "hard", "requests.nvidia.com/gpu"), message)
        for recipe in of_kind(manifests, "ConfigMap"):
            for file, text in recipe.at("data", default={}).items():
                training = _training(text) if file.endswith(".toml") else None
                if training and training.gpu and training.workers > gpus:
                    message = f"training.workers={training.workers}, but the pools have {gpus} GPUs"
                    yield Finding(recipe, ("data", file), message)
    if quota is None:
        yield Finding(manifests[0], ("kind",), "no ResourceQuota limits the namespace")
        return
    for key in ("services.loadbalancers", "services.nodeports"):
        if quota.at("spec", "hard", key) != "0":
            yield Finding(quota, ("spec", "hard", key), 'must be "0"')


def _training(text: str) -> config.Training | None:
    try:
        return config.parse(tomllib.loads(text)).training
    except ValueError:
        return None  # `commands` says what is wrong with it


def _recipe(
    job: Manifest, recipes: dict[str, Manifest], recipe: str, overrides: list[str]
) -> Iterator[Finding]:
    """Load a recipe as the job would; what is wrong without the overrides is the recipe's."""
    owner, keys = job, ("spec", "entrypoint")
    with tempfile.TemporaryDirectory() as folder:
        if recipe.startswith(RECIPES):
            file = recipe.removeprefix(RECIPES)
            source = recipes.get("recipe")
            if source is None or file not in source.at("data", default={}):
                yield Finding(job, keys, f"no {file} in the ConfigMap `recipe`")
                return
            path = Path(folder, file)
            path.write_text(source.at("data", file))
            recipe = str(path)
            try:
                config.load(recipe)
            except config.ConfigError as error:
                owner, keys, overrides = source, ("data", file), []
                yield Finding(owner, keys, str(error).replace(f"{folder}/", ""))
                return
        try:
            config.load(recipe, overrides)
        except config.ConfigError as error:
            yield Finding(owner, keys, str(error).replace(f"{folder}/", ""))
