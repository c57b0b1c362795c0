"""Exported programs for tests: honest ones, and such as somebody might plant."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

CONVENTION = """
[convention]
name = "{name}"
rate_hz = {rate_hz}
seconds = {seconds}
leads = [{leads}]
source = "test"
confidence = "confirmed"
"""


class Pooled(nn.Module):
    """Means and extremes of each lead, mixed: nothing depends on other records of the batch."""

    def __init__(self, leads: int = 12, width: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.conv = nn.Conv1d(leads, 8, 5, 2, 2)
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, width)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.randn(weight.shape, generator=generator))
        self.norm.running_mean = torch.randn(8, generator=generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.conv(x)).relu().mean(-1))


def export(
    file: Path,
    model: nn.Module,
    shape: tuple[int, int] = (12, 200),
    *,
    batch: int | None = None,
    toml: str = "",
    train: bool = False,
) -> str:
    """Write ``file`` and the TOML beside it; ``batch`` None leaves the batch dimension open."""
    model.train(train)
    example = (torch.randn(batch or 2, *shape),)
    dynamic = None if batch else ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(model, example, dynamic_shapes=dynamic), file)
    file.with_suffix(".toml").write_text(toml)
    return str(file)


def description(
    classes: tuple[str, ...] = (), *, rate_hz: int = 100, seconds: float = 2, leads: tuple[str, ...] = ()
) -> str:
    """A TOML file with its convention inside."""
    from supreme import ecg

    head = f'output = "scores"\nclasses = {json.dumps(classes)}\n' if classes else 'output = "embedding"\n'
    names = ", ".join(f'"{lead}"' for lead in leads or ecg.LEADS)
    return head + CONVENTION.format(name="test", rate_hz=rate_hz, seconds=seconds, leads=names)


def rewrite(
    file: Path, changes: dict[str, Callable[[bytes], bytes]], added: dict[str, bytes] | None = None
) -> None:
    """Replace the content of archive members whose name ends so, and add others."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    root = next(iter(members)).partition("/")[0]
    for ending, change in changes.items():
        for name in [name for name in members if name.endswith(ending)]:
            members[name] = change(members[name])
    members |= {f"{root}/{name}": content for name, content in (added or {}).items()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def with_json(change: Callable[[Any], None]) -> Callable[[bytes], bytes]:
    """A change of a JSON document in place."""

    def changed(content: bytes) -> bytes:
        document = json.loads(content)
        change(document)
        return json.dumps(document).encode()

    return changed


class Planted:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


def planted_pickle(marker: Path) -> bytes:
    """What `torch.load` would unpickle."""
    stream = io.BytesIO()
    torch.save(Planted(marker), stream, pickle_module=pickle)
    return stream.getvalue()
