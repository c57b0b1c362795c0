"""Bundles that were changed by somebody who could also change their checksums."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import yaml

from supreme import storage
from supreme.inference.bundle import files, loader
from supreme.inference.bundle.layout import (
    CONFIG,
    FILES,
    MLMODEL,
    MODEL,
    QUERIES,
    RECORDINGS,
    VOCABULARY,
    BundleError,
)

Contents = dict[str, bytes]

NUMBERS = (0, -1, 1, 2, 3, 7, 1e308, 2**31, 2**40, 2**63, 10**30, 0.5, True)
VALUES: tuple[Any, ...] = (*NUMBERS, None, "", "x", "\0", "vit1d", "a:b", [], {}, [[]], "é" * 50)


def checksum(contents: Contents, changed: Contents) -> Contents:
    """The changed files with checksums in ``MLmodel`` that are right."""
    described = changed[MLMODEL]
    for name in FILES:
        before, after = contents[name], changed[name]
        if name != MLMODEL and after is not before:
            described = described.replace(storage.sha256(before).encode(), storage.sha256(after).encode())
    return {**changed, MLMODEL: described}


def load(contents: Mapping[str, bytes]) -> loader.LoadedBundle:
    """What `EcgQueryModel.from_bundle` does after it has read the files."""
    recorded = files._recorded(contents[MLMODEL], MLMODEL)
    for name in FILES:
        if name != MLMODEL and recorded.get(name) != storage.sha256(contents[name]):
            raise BundleError(f"{name} was changed")
    return loader.load(files.BundleFiles("bundle", contents, ""))


def mutant(contents: Contents, seed: int) -> Contents:
    """One to three changes, drawn by the seed, with checksums that are right unless they are the change."""
    rng = random.Random(seed)
    changed = dict(contents)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        with suppress(Exception):  # of a file that the change before has damaged
            rng.choice(MUTATIONS)(changed, rng)
    if changed[MLMODEL] != contents[MLMODEL]:
        return changed
    return checksum(contents, changed)


def change_bytes(contents: Contents, rng: random.Random) -> None:
    """Flip, cut, blank, repeat or empty a piece of one file."""
    name = rng.choice((MODEL, CONFIG, VOCABULARY, QUERIES, RECORDINGS, MODEL, MLMODEL))
    content = bytearray(contents[name])
    # Headers and the first keys are where bytes mean most.
    start = rng.randrange(min(len(content), rng.choice((16, 300, 5000, len(content)))) or 1)
    end = min(len(content), start + rng.choice((1, 1, 1, 8, 100)))
    how = rng.randrange(7)
    if how == 0 and content:
        content[start] ^= 1 << rng.randrange(8)
    elif how == 1:
        del content[start:]
    elif how == 2:
        content[start:end] = bytes(end - start)
    elif how == 3:
        content[start:start] = content[start:end]
    elif how == 4:
        content = bytearray(rng.choice((b"", b"\0" * 100, b"null", b"[]", b"{}", b"\xff\xfe", b"[" * 10_000)))
    elif how == 5:
        content[start:end] = rng.randbytes(end - start)
    else:
        content += rng.randbytes(rng.choice((1, 8, 100)))
    contents[name] = bytes(content)


def change_value(contents: Contents, rng: random.Random) -> None:
    """Another value, no value or one more key anywhere in one of the JSON files."""
    name = rng.choice((CONFIG, CONFIG, CONFIG, VOCABULARY))
    value = json.loads(contents[name])
    _change_somewhere(value, rng)
    contents[name] = json.dumps(value).encode()


def change_header(contents: Contents, rng: random.Random) -> None:
    """Another value in the header of a safetensors file, whose size is then right again."""
    name = rng.choice((MODEL, QUERIES, RECORDINGS))
    size = int.from_bytes(contents[name][:8], "little")
    header = json.loads(contents[name][8 : 8 + size])
    if rng.random() < 0.2 and len(header) > 2:  # two tensors change places
        one, two = rng.sample([key for key in header if key != "__metadata__"], 2)
        header[one], header[two] = header[two], header[one]
    elif rng.random() < 0.2 and isinstance(header.get("__metadata__"), dict):
        texts = json.loads(header["__metadata__"]["texts"])
        _change_somewhere(texts, rng)
        header["__metadata__"]["texts"] = json.dumps(texts)
    else:
        _change_somewhere(header, rng)
    encoded = json.dumps(header).encode()
    contents[name] = struct.pack("<Q", len(encoded)) + encoded + contents[name][8 + size :]


def change_mlmodel(contents: Contents, rng: random.Random) -> None:
    """Another value in ``MLmodel``, which is then its own witness."""
    value = yaml.load(contents[MLMODEL], yaml.CSafeLoader)
    _change_somewhere(value, rng)
    contents[MLMODEL] = yaml.dump(value, Dumper=yaml.CSafeDumper).encode()


MUTATIONS: tuple[Callable[[Contents, random.Random], None], ...] = (
    *(change_bytes, change_value, change_value, change_header, change_mlmodel),
)


def _change_somewhere(value: Any, rng: random.Random) -> None:
    """Walk down at random and change what is there."""
    while isinstance(value, dict | list) and value:
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        if isinstance(value[key], dict | list) and value[key] and rng.random() < 0.8:
            value = value[key]
            continue
        how = rng.randrange(4)
        if how == 0:
            del value[key]
        elif how == 1 and isinstance(value, dict):
            value[rng.choice(("version", "model", "extra", "leads", "shape"))] = rng.choice(VALUES)
        elif how == 2 and isinstance(value[key], int) and not isinstance(value[key], bool):
            value[key] = rng.choice((value[key] + 1, value[key] - 1, value[key] * 1000, -value[key]))
        else:
            value[key] = rng.choice(VALUES)
        return
