"""Whoever can write to an artifact store can forge checksums too: what is loaded is judged, size by size."""

from __future__ import annotations

import json
import os
import random
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forged_bundles
import numpy as np
import pytest
import tiny_bundle
import yaml
from safetensors.numpy import load, save

from supreme import storage
from supreme.inference import bundle
from supreme.inference.bundle import files
from supreme.inference.bundle.layout import (
    CONFIG,
    MLMODEL,
    MODEL,
    QUERIES,
    RECORDINGS,
    VOCABULARY,
    BundleError,
)
from supreme.inference.query_model import EcgQueryModel

pytestmark = pytest.mark.unit

MUTANTS = 250


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("bundle")
    tiny_bundle.write(folder, trained_on=tiny_bundle.provenance())
    return dict(files.read(str(folder)).contents)


def write(folder: Path, contents: dict[str, bytes], changes: dict[str, bytes]) -> str:
    """A bundle with changes, and checksums that are right; its folder."""
    changed = {**contents, **changes}
    if MLMODEL not in changes:
        changed = forged_bundles.checksum(contents, changed)
    for name, content in changed.items():
        (folder / name).write_bytes(content)
    return str(folder)


def edited(content: bytes, edit: Callable[[Any], Any]) -> bytes:
    value = json.loads(content)
    edit(value)
    return json.dumps(value).encode()


def with_header(content: bytes, edit: Callable[[Any], Any]) -> bytes:
    size = int.from_bytes(content[:8], "little")
    header = edited(content[8 : 8 + size], edit)
    return struct.pack("<Q", len(header)) + header + content[8 + size :]


def test_mutants_with_right_checksums_are_loaded_or_bundle_errors(contents: dict[str, bytes]) -> None:
    refused, messages = 0, []
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in random.Random(0).sample(range(10**9), MUTANTS):
        try:
            forged_bundles.load(forged_bundles.mutant(contents, seed))
        except BundleError as error:
            refused += 1
            messages.append(str(error))
        except Exception as error:
            raise AssertionError(f"mutant {seed} raises {type(error).__name__}: {error}") from error
    assert refused > MUTANTS / 2
    assert not [message for message in messages if "\n" in message or len(message) > 1500]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_kb < 400_000


MODEL_CHANGES = {
    "width": 10**12,
    "depth": 10**9,
    "fusion_width": 10**6,
    "fusion_depth": 10**9,
    "fusion_heads": 10**9,
    "encoder": "vit1d_base",
    "query_self_attention": True,
}


@pytest.mark.parametrize("key", MODEL_CHANGES)
def test_a_small_config_that_asks_for_much_is_refused_at_once(
    contents: dict[str, bytes], tmp_path: Path, key: str
) -> None:
    def change(value: Any) -> None:
        value["model"][key] = MODEL_CHANGES[key]

    folder = write(tmp_path, contents, {CONFIG: edited(contents[CONFIG], change)})
    peak_kb, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(BundleError, match=r"config\.json|model\.safetensors"):
        EcgQueryModel.from_bundle(folder)
    assert time.monotonic() - start < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_kb < 100_000


def test_samples_and_dimensions_that_no_file_holds_are_refused(
    contents: dict[str, bytes], tmp_path: Path
) -> None:
    def samples(value: Any) -> None:
        value["samples"] = value["input"]["samples"] = 10**12

    def dimension(value: Any) -> None:
        value["text_dim"] = value["text"]["dim"] = 10**7

    for change in (samples, dimension):
        folder = write(tmp_path, contents, {CONFIG: edited(contents[CONFIG], change)})
        with pytest.raises(BundleError):
            EcgQueryModel.from_bundle(folder)


@pytest.mark.parametrize("name", [CONFIG, MLMODEL, VOCABULARY, MODEL, QUERIES, RECORDINGS])
@pytest.mark.parametrize("damage", ["empty", "NULs", "half", "brackets", "latin-1", "null"])
def test_a_damaged_file_is_named_with_the_remedy(
    contents: dict[str, bytes], tmp_path: Path, name: str, damage: str
) -> None:
    content = {
        "empty": b"",
        "NULs": bytes(500),
        "half": contents[name][: len(contents[name]) // 2],
        "brackets": b"[" * 100_000,
        "latin-1": b'{"a": "\xe9"}',
        "null": b"null",
    }[damage]
    folder = write(tmp_path, contents, {name: content})
    with pytest.raises(BundleError, match=rf"{name}.*(register|download)") as caught:
        EcgQueryModel.from_bundle(folder)
    assert len(str(caught.value)) < 1000


def _alias_bomb(depth: int = 12) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, depth)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        (MLMODEL, lambda c: _alias_bomb().encode() + b"\n" + c, "alias"),
        (MLMODEL, lambda c: c + b"flavors: {}\n", "twice"),
        (MLMODEL, lambda c: c.replace(b"supreme.registry", b"os"), "another loader"),
        (MLMODEL, lambda c: c.replace(b"    python_version", b"    code: code\n    python_version"), "code"),
        (MLMODEL, lambda c: c + b"#" * (4 * 2**20), "at most"),
        (CONFIG, lambda c: c.replace(b'"samples"', b'"samples": 3, "samples"', 1), "twice"),
        (CONFIG, lambda c: c.replace(b'"rate_hz": 100', b'"rate_hz": NaN'), "NaN is no number"),
        (CONFIG, lambda c: c.replace(b'"rate_hz": 100', b'"rate_hz": 1e999'), "rate_hz"),
        (CONFIG, lambda c: c + b" " * 2**20, "at most"),
        (CONFIG, lambda c: c.replace(b'"version": 2', b'"version": 3'), "version '3'.*requirements"),
        (CONFIG, lambda c: c.replace(b'"mV"', b'"uV"'), "unit"),
        (CONFIG, lambda c: c.replace(b'"aVR"', b'"aVX"'), "leads"),
        (VOCABULARY, lambda c: edited(c, lambda v: v.append(v[0])), "same id"),
        (VOCABULARY, lambda c: edited(c, lambda v: v.pop()), "phrasings of the 2 entities"),
        (VOCABULARY, lambda c: edited(c, lambda v: v[0].update(id="x" * 1000)), "is no name"),
        (VOCABULARY, lambda c: b"[" + b",".join([b"{}"] * 200_000) + b"]", "1 to 100,000 entities"),
        (VOCABULARY, lambda c: c.replace(b'"name": "', rb'"name": "\ud800', 1), "cannot be read"),
        (QUERIES, lambda c: struct.pack("<Q", 2**62) + c[8:], "cut off"),
        (
            QUERIES,
            lambda c: with_header(c, lambda h: h["embeddings"].update(shape=[2**40, 384])),
            "safetensors",
        ),
        (QUERIES, lambda c: with_header(c, lambda h: h.pop("__metadata__")), "phrasings"),
        (QUERIES, lambda c: save({**load(c), "more": np.zeros(2)}, {"texts": _texts(c)}), "knows nothing of"),
        (RECORDINGS, lambda c: save({**load(c), "0.keys": load(c)["0.keys"][:1]}), "are not those of config"),
        (RECORDINGS, lambda c: save({**load(c), "0.keys": np.zeros((3, 2))}), "instead of rows of 6 bytes"),
        (RECORDINGS, lambda c: save({"0.keys": load(c)["0.keys"]}), "0.fingerprints"),
        (CONFIG, lambda c: edited(c, lambda v: v.pop("trained_on")), "contradict"),
        (MODEL, lambda c: with_header(c, lambda h: h[sorted(h)[0]].update(dtype="F64")), "safetensors"),
        (
            MODEL,
            lambda c: save({k: v for k, v in load(c).items() if "score.2" not in k}),
            "no tensor fusion.score",
        ),
        (MODEL, lambda c: save({k: v.astype(np.float16) for k, v in load(c).items()}), "float16"),
        (MODEL, lambda c: save(_with(load(c), "fusion.norm.weight", np.nan)), "fusion.norm.weight holds NaN"),
        (MODEL, lambda c: save(_with(load(c), "encoder.stem.1.running_var", -1)), "negative variance"),
    ],
)
def test_what_is_wrong_is_said(
    contents: dict[str, bytes], tmp_path: Path, name: str, make: Callable[[bytes], bytes], reason: str
) -> None:
    changed = make(contents[name])
    assert changed != contents[name]
    folder = write(tmp_path, contents, {name: changed})
    start = time.monotonic()
    with pytest.raises(BundleError, match=reason) as caught:
        EcgQueryModel.from_bundle(folder)
    assert name in str(caught.value)
    assert time.monotonic() - start < 20


def _texts(content: bytes) -> str:
    size = int.from_bytes(content[:8], "little")
    return str(json.loads(content[8 : 8 + size])["__metadata__"]["texts"])


def _with(tensors: dict[str, np.ndarray], name: str, value: float) -> dict[str, np.ndarray]:
    tensors[name] = tensors[name].copy()
    tensors[name].flat[0] = value
    return tensors


@pytest.mark.parametrize("name", [MODEL, CONFIG, MLMODEL])
@pytest.mark.parametrize("kind", ["outside", "dangling", "inside", "loop", "pipe", "folder", "zero"])
def test_only_regular_files_are_read(
    contents: dict[str, bytes], tmp_path: Path, name: str, kind: str
) -> None:
    (tmp_path / "bundle").mkdir()
    folder = write(tmp_path / "bundle", contents, {})
    path = Path(folder, name)
    path.rename(tmp_path / "moved")
    if kind == "outside":
        path.symlink_to(tmp_path / "moved")
    elif kind == "dangling":
        path.symlink_to(tmp_path / "nothing")
    elif kind == "inside":
        path.symlink_to("README.md")
    elif kind == "loop":
        path.symlink_to(name)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(BundleError, match=rf"{name}.* (is a link|no regular file|is missing)"):
        EcgQueryModel.from_bundle(folder)


def test_a_link_beside_the_files_is_refused(contents: dict[str, bytes], tmp_path: Path) -> None:
    folder = write(tmp_path, contents, {})
    (tmp_path / "more").symlink_to("/nowhere")
    with pytest.raises(BundleError, match="refused because of more"):
        EcgQueryModel.from_bundle(folder)


def test_what_is_loaded_is_what_was_verified(
    contents: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that are replaced after they were verified change nothing."""
    folder = write(tmp_path, contents, {})
    expected = EcgQueryModel.from_bundle(folder).score(tiny_bundle.ecgs(1), 100, ["lbbb"])
    read = files.read

    def read_then_replace(place: str, digest: str = "") -> files.BundleFiles:
        verified = read(place, digest)
        for name in bundle.FILES:
            Path(place, name).write_bytes(b"replaced")
        return verified

    monkeypatch.setattr(files, "read", read_then_replace)
    scores = EcgQueryModel.from_bundle(folder).score(tiny_bundle.ecgs(1), 100, ["lbbb"])
    np.testing.assert_array_equal(scores, expected)


def test_a_bundle_of_before_the_version_still_loads(contents: dict[str, bytes], tmp_path: Path) -> None:
    """As it was written then: sections in `preprocessing`, no version, at first no head and objective."""
    new = json.loads(contents[CONFIG])
    old = {name: new[name] for name in ("model", "text_dim", "samples", "trained_on")}
    signal = {name: new["input"][name] for name in ("unit", "rate_hz", "samples")}
    old["preprocessing"] = {"signal": signal, "leads": new["input"]["leads"], "text": new["text"]}
    expected = forged_bundles.load(contents)
    for more in ({}, {"head": "fusion", "objective": "ked"}):
        folder = write(tmp_path, contents, {CONFIG: json.dumps(old | more).encode()})
        model = EcgQueryModel.from_bundle(folder)
        assert model.objective == more.get("objective", "supreme")
        assert model.convention == expected.config.input
        assert model.queries.spec == expected.config.text
    del old["preprocessing"]["signal"]
    folder = write(tmp_path, contents, {CONFIG: json.dumps(old).encode()})
    with pytest.raises(BundleError, match=r"config\.json: input: Field required"):
        EcgQueryModel.from_bundle(folder)


def test_the_fuzzer_forges_checksums(contents: dict[str, bytes]) -> None:
    changed = forged_bundles.checksum(contents, {**contents, CONFIG: b"{}"})
    assert yaml.safe_load(changed[MLMODEL])["metadata"]["sha256"][CONFIG] == storage.sha256(b"{}")
